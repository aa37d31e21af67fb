"""What every table of a `.toml` file of ours is: strict, and nothing in it is ignored."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?")


class Table(BaseModel):
    """Unknown keys, values of another type, infinity and NaN are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def is_host_name(text: str) -> bool:
    """Whether a text can be a host's name: labels with dots between them."""
    return all(map(_LABEL.fullmatch, text.split(".")))


def _path(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(f"{text!r} is no path of a file")
    return text


PathText = Annotated[str, AfterValidator(_path)]
