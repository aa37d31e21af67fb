"""ADD as one linear form, for the operands' scales for which that is exact."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from vp_converters.lowering.step import Value

FRACTION_BITS = 21
_GROWTH_BITS = 20  # VP_NN_ADD_LEFT_SHIFT
_VALUES = np.arange(-128, 128, dtype=np.int64)
_LIMIT = 2**31

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LinearAddition:
    """saturated((offset + (a * 256 * a_factor >> 16) + (b * 256 * b_factor >> 16)) >> 21)"""

    a_factor: int
    b_factor: int
    offset: int


def linear_addition(add: Mapping[str, Value]) -> LinearAddition | None:
    """What gives the result of vp_nn_add ahead of its activation for each of the 65,536 pairs of
    operands, None if nothing close to the ratios of the scales does.

    Args:
        add: the fields of a vp_nn_add.
    """
    wanted = _results(add)
    factors = [_factor(add, operand) for operand in ("a", "b")]
    for nudge in itertools.product((0, 1, -1), repeat=2):
        found = _with_factors(wanted, factors[0] + nudge[0], factors[1] + nudge[1])
        if found is not None:
            return found
    return None


def _with_factors(wanted: Numbers, a_factor: int, b_factor: int) -> LinearAddition | None:
    if max(a_factor, b_factor) >= _LIMIT:
        return None
    a = _VALUES * 256 * a_factor >> 16
    b = _VALUES * 256 * b_factor >> 16
    sums = a[:, None] + b
    low = np.where(wanted > -128, (wanted << FRACTION_BITS) - sums, -_LIMIT).max()
    high = np.where(wanted < 127, (wanted + 1 << FRACTION_BITS) - 1 - sums, _LIMIT).min()
    offset = int(low + high) // 2
    reach = max(int(abs(part).max()) for part in (a + offset, sums + offset))
    if low > high or max(reach, abs(offset)) >= _LIMIT:
        return None
    return LinearAddition(a_factor, b_factor, offset)


def _factor(add: Mapping[str, Value], operand: str) -> int:
    part = cast(Mapping[str, int], add[operand])
    total = cast(int, add["multiplier"])
    bits = part["shift"] + cast(int, add["shift"]) + _GROWTH_BITS - 62 + FRACTION_BITS + 8
    product = part["multiplier"] * total
    return product << bits if bits >= 0 else (product + (1 << -bits - 1)) >> -bits


def _results(add: Mapping[str, Value]) -> Numbers:
    """vp_nn_add of all pairs without its activation, [a][b]."""
    a, b = (_scaled(cast(Mapping[str, int], add[operand])) for operand in ("a", "b"))
    total = _rounded_shift(
        _high_product(a[:, None] + b, cast(int, add["multiplier"])), cast(int, add["shift"])
    )
    return np.clip(total + cast(int, add["zero_point"]), -128, 127)


def _scaled(operand: Mapping[str, int]) -> Numbers:
    real = (_VALUES - operand["zero_point"]) << _GROWTH_BITS
    return _rounded_shift(_high_product(real, operand["multiplier"]), operand["shift"])


def _high_product(values: Numbers, multiplier: int) -> Numbers:
    return values * multiplier + 2**30 >> 31


def _rounded_shift(values: Numbers, shift: int) -> Numbers:
    """values * 2^shift, to nearest, ties away from zero; shift 0 or negative."""
    if not shift:
        return values
    half = 1 << -shift - 1
    return np.where(values >= 0, values + half, values + half - 1) >> -shift
