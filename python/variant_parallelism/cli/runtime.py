"""The options of commands that run models on one of two runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from variant_parallelism.firmware.tflm_checkout import TflmCheckout

Runtime = Annotated[
    Literal["compiled", "tflm"],
    typer.Option(help="What runs the models: their own C, or TensorFlow Lite Micro."),
]
TflmPath = Annotated[
    Path | None,
    typer.Option(help="Your checkout of TensorFlow Lite Micro, for --runtime tflm."),
]


def open_tflm(runtime: str, path: Path | None) -> TflmCheckout | None:
    """The checkout for the tflm runtime, None for the compiled one; VpError if they do not fit."""
    from variant_parallelism.firmware.tflm_checkout import open_checkout

    if runtime == "tflm":
        return open_checkout(path)
    if path is not None:
        raise VpError("--tflm-path is for --runtime tflm")
    return None
