"""Compares what a board answered with what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vp_converters.host import Int8Array

OUTPUT = "output"
BEFORE_SOFTMAX = "before the softmax"


@dataclass(frozen=True)
class Comparison:
    """Outcome.

    Attributes:
        compared: the names of what was compared.
        mismatches: inputs for which any value differs.
        difference: how the first of them differs, in what was named first.
    """

    compared: tuple[str, ...]
    mismatches: int
    difference: str | None


def compare(parts: Sequence[tuple[str, Int8Array, Int8Array]]) -> Comparison:
    """Compares each part: its name, what came out (one flat row an input), what was expected."""
    wrong = np.zeros(len(parts[0][1]), dtype=bool)
    difference = None
    for name, got, want in parts:
        differs = (got != want).any(axis=1)
        wrong |= differs
        if difference is None and differs.any():
            number = int(np.argmax(differs))
            off = np.abs(got[number].astype(int) - want[number])
            difference = (
                f"input {number}, {name}: {int(np.count_nonzero(off))} of {off.size} values differ "
                f"by up to {int(off.max())}"
            )
    names = tuple(dict.fromkeys(name for name, _, _ in parts))
    return Comparison(names, int(np.count_nonzero(wrong)), difference)
