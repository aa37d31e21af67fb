"""Where in a TOML file a value stands, so that an error can name its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from variant_parallelism.errors import VpError
from variant_parallelism.text_files import read_text

_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\-]+)\s*\]\]?")
_KEY = re.compile(r"^\s*\"?([A-Za-z0-9_\-]+)\"?\s*=")

Location = Sequence[str | int]
T = TypeVar("T", bound=BaseModel)


def find_line(text: str, location: Location) -> int | None:
    """1-based line of `location`, as pydantic gives it: ("nodes", 2, "udp"), ("gateway", "listen").

    Falls back to the line of the table or array element that would hold the value.
    """
    names = [part for part in location if isinstance(part, str)]
    index = next((part for part in location if isinstance(part, int)), None)
    table: list[str] = []
    inside = bool(names)
    elements = -1
    fallback: int | None = None
    fallback_depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = header.group(2).split(".")
            if table == names[:1] and header.group(1) == "[[":
                elements += 1
            inside = table == names[: len(table)] and (index is None or elements in (-1, index))
            if inside and len(table) > fallback_depth:
                fallback, fallback_depth = number, len(table)
            continue
        name = _KEY.match(line)
        if name and inside and name.group(1) in names[len(table) : len(table) + 1]:
            return number
    return fallback


def load_toml(path: Path, model: type[T]) -> tuple[T, str]:
    """Read a TOML file into a pydantic model; returns the model and the file's text.

    VpError names the file, the line and the key of the first thing that is wrong.
    """
    text = read_text(path)
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or Python's own for an endless number.
        raise VpError(f"{path}: {error}") from None
    except RecursionError:
        raise VpError(f"{path}: its arrays or tables are nested too deeply") from None
    try:
        return model.model_validate(data), text
    except ValidationError as error:
        first = error.errors()[0]
        raise located_error(path, text, first["loc"], _plain(first)) from None


def located_error(path: Path, text: str, location: Location, message: str) -> VpError:
    """A VpError that reads `file:line: key: message`."""
    line = find_line(text, location)
    where = f"{path}:{line}" if line else str(path)
    key = ".".join(str(part) for part in location if isinstance(part, str))
    if not key.isprintable():
        key = repr(key)
    return VpError(f"{where}: {key}: {message}" if key else f"{where}: {message}")


def _plain(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "this key is missing"
    return str(error["msg"]).removeprefix("Value error, ")
