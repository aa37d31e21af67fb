"""Builds variants for several boards, and goes on where one does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from variant_parallelism.firmware.build import (
    DEFAULT_OUT,
    Image,
    TooLargeError,
    build_images,
    progress_bar,
)

if TYPE_CHECKING:
    from rich.console import Console

    from variant_parallelism.firmware.tflm_checkout import TflmCheckout


@dataclass(frozen=True)
class Misfit:
    """A variant whose image is too large for a board; `reason` is one line with the numbers."""

    variant: str
    board: str
    reason: str

    def as_json(self) -> dict[str, str]:
        """For `vp build --json`."""
        return dict(vars(self))


def build_pairs(
    manifest_path: Path,
    pairs: Sequence[tuple[str, str]],
    out_dir: Path = DEFAULT_OUT,
    console: Console | None = None,
    tflm: TflmCheckout | None = None,
    ram: int | None = None,
) -> list[Image | Misfit]:
    """Build variants of a manifest, each for a board: pairs of names. Else as build_images."""
    results: list[Image | Misfit] = []
    with progress_bar(console, len(pairs)) as advance:
        for variant, board in pairs:
            advance(f"{variant} for {board}", 0)
            try:
                results += build_images(manifest_path, [variant], board, out_dir, None, tflm, ram)
            except TooLargeError as error:
                results.append(Misfit(variant, board, str(error)))
            advance(f"{variant} for {board}", 1)
    return results
