"""Scales as fixed-point numbers, exactly as TensorFlow Lite Micro prepares them.

Sources: tensorflow/lite/kernels/internal/quantization_util.cc and kernels/kernel_util.cc.
"""

from __future__ import annotations

import math

import numpy as np

MAX_LEFT_SHIFT = 30
MIN_SHIFT = -31


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real ~ multiplier / 2^31 * 2^shift (QuantizeMultiplier).

    Multiplier is 0 or 2^30 .. 2^31 - 1. Ratios below about 2^-32 become (0, 0).

    Raises:
        ValueError: the ratio is negative, not finite or needs a shift above MAX_LEFT_SHIFT.
    """
    if not math.isfinite(real) or real < 0:
        raise ValueError(f"scale ratio {real:g} is not a finite positive number")
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    # The product is exact, so rounding half up is rounding half away from zero.
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < MIN_SHIFT:
        return 0, 0
    if shift > MAX_LEFT_SHIFT:
        raise ValueError(f"scale ratio {real:g} is too large")
    return multiplier, shift


def quantize_multiplier_below_one(real: float) -> tuple[int, int]:
    """Like quantize_multiplier for 0 < real < 1 (QuantizeMultiplierSmallerThanOneExp).

    Raises:
        ValueError: the ratio is not in that range once rounded.
    """
    multiplier, shift = quantize_multiplier(real)
    if not 0 < real < 1 or shift > 0:
        raise ValueError(f"scale ratio {real:g} is not between 0 and 1")
    return multiplier, shift


def round_half_away(value: float) -> int:
    """C's round()."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def activation_range(activation: str, scale: float, zero_point: int) -> tuple[int, int]:
    """(min, max) of an int8 output under a fused activation (CalculateActivationRangeQuantized).

    Raises:
        ValueError: the activation is unknown, or its bounds overflow in units of ``scale``.
    """

    def quantized(real: float) -> int:
        with np.errstate(over="ignore"):
            steps = np.float32(real) / np.float32(scale)
        if not abs(steps) <= 2**31:
            raise ValueError(f"scale {scale:g} is too small for activation {activation}")
        return zero_point + round_half_away(float(steps))

    match activation:
        case "NONE":
            return -128, 127
        case "RELU":
            return max(-128, quantized(0.0)), 127
        case "RELU6":
            return max(-128, quantized(0.0)), min(127, quantized(6.0))
        case "RELU_N1_TO_1":
            return max(-128, quantized(-1.0)), min(127, quantized(1.0))
    raise ValueError(f"fused activation {activation} is not supported")


def wrap_int32(value: int) -> int:
    """``value`` modulo 2^32 as a signed number: what int32 arithmetic leaves of it."""
    return (value + 2**31) % 2**32 - 2**31
