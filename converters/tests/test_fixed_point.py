"""Scales as fixed-point numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vp_converters.fixed_point import (
    activation_range,
    quantize_multiplier,
    quantize_multiplier_below_one,
    round_half_away,
    wrap_int32,
)


@given(st.floats(2.0**-31, 2.0**30 - 1))
def test_a_multiplier_is_within_half_a_unit(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert -31 <= shift <= 30
    assert abs(math.ldexp(multiplier, shift - 31) - real) <= math.ldexp(0.5, shift - 31)


def test_multipliers_at_the_ends() -> None:
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(1.0) == (2**30, 1)
    assert quantize_multiplier(math.nextafter(1.0, 0.0)) == (2**30, 1)
    assert quantize_multiplier(2.0**-32) == (2**30, -31)
    assert quantize_multiplier(2.0**-33) == (0, 0)
    for real in (2.0**30, math.inf, math.nan, -1.0):
        with pytest.raises(ValueError, match="scale ratio"):
            quantize_multiplier(real)


@pytest.mark.parametrize("real", [0.0, 1.0, 1.5, math.nextafter(1.0, 0.0)])
def test_below_one_means_after_rounding_too(real: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        quantize_multiplier_below_one(real)


def test_rounding_is_away_from_zero() -> None:
    assert [round_half_away(x) for x in (-2.5, -0.5, -0.4, 0.5, 1.5, 2.4)] == [-3, -1, 0, 1, 2, 2]


def test_activation_ranges() -> None:
    assert activation_range("NONE", 0.1, 5) == (-128, 127)
    assert activation_range("RELU", 0.1, -20) == (-20, 127)
    assert activation_range("RELU6", 0.1, -20) == (-20, 40)
    assert activation_range("RELU6", 1e-3, -20) == (-20, 127)
    assert activation_range("RELU_N1_TO_1", 0.1, -20) == (-30, -10)
    with pytest.raises(ValueError, match="TANH"):
        activation_range("TANH", 0.1, 0)
    with pytest.raises(ValueError, match="too small"):
        activation_range("RELU6", 1e-38, 0)


@given(st.integers(-(2**40), 2**40))
def test_wrapping(value: int) -> None:
    assert -(2**31) <= wrap_int32(value) < 2**31
    assert (wrap_int32(value) - value) % 2**32 == 0
