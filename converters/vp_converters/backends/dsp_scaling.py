"""Requantisation in two instructions, for the channels for which it is proven exact.

TensorFlow Lite Micro rounds twice: x = floor(sum * m / 2^31 + 1/2), then x / 2^n to nearest with
ties away from zero. For x >= 0 that is floor((sum * m / 2^31 + 1/2 + 2^(n-1)) / 2^n), because
nested floors collapse, and with k = 17 - n it is the upper half of

    (sum << k) * m / 2^32 + 2^15 + 2^(k-2)

for any n from 1 to 15, as long as sum << k fits an int32. For x < 0 the constant is 2^(k-1) less.
Where an activation clamps to the zero point anyway, negative x need no care: they end there with
either constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from vp_converters.fixed_point import wrap_int32
from vp_converters.lowering.step import ConstantArray, Value

HEAD = 8
"""Bytes of constants ahead of a channel's weights."""

_BIAS_LIMIT = 2**26
_SMALLEST_K = 2

Weights = npt.NDArray[np.int8]


def records(
    output: Mapping[str, Value], sums: Weights, stored: Weights
) -> npt.NDArray[np.int8] | None:
    """Each channel's constants with its weights behind them: [bias << 5 | k][multiplier][weights].

    Args:
        output: the fields of a vp_nn_output.
        sums: the weights of each channel whose products are summed, [channels][products].
        stored: the same as the kernel reads them, [channels][a multiple of 4].

    Returns:
        int8 [channels][bytes], or None if the scaling of a channel cannot be shown to be exact.
    """
    wide = sums.astype(np.int64)
    rises, falls = np.where(wide > 0, wide, 0).sum(axis=1), np.where(wide < 0, wide, 0).sum(axis=1)
    words = []
    for channel, (up, down) in enumerate(zip(rises.tolist(), falls.tolist(), strict=True)):
        bias, multiplier, shift = _constants(output, channel)
        low, high = bias - 128 * up + 127 * down, bias + 127 * up - 128 * down
        scale = _scale(low, high, multiplier, shift)
        if scale is None or not -_BIAS_LIMIT <= bias < _BIAS_LIMIT:
            return None
        words.append((wrap_int32(bias << 5 | scale[0]), scale[1]))
    heads = np.asarray(words, dtype="<i4").view(np.int8).reshape(len(words), HEAD)
    return np.hstack([heads, stored])


def is_linear(output: Mapping[str, Value]) -> bool:
    """Whether results below the zero point count."""
    return _number(output, "min") < _number(output, "zero_point")


def is_clamped(output: Mapping[str, Value]) -> bool:
    """Whether an activation clamps more than saturation to int8 does."""
    return (_number(output, "min"), _number(output, "max")) != (-128, 127)


def _scale(low: int, high: int, multiplier: int, shift: int) -> tuple[int, int] | None:
    """(k, multiplier) for sums from ``low`` to ``high``."""
    largest = max(-low, high)
    k = 17 + shift
    if not multiplier or (largest * multiplier >> 31) + 1 < 2 ** (-shift - 1):
        return _SMALLEST_K, 0  # every result is the zero point
    if not _SMALLEST_K <= k <= 16 or largest << k >= 2**31:
        return None
    return k, multiplier


def _constants(output: Mapping[str, Value], channel: int) -> tuple[int, int, int]:
    """(bias, multiplier, shift) of a channel."""
    index = channel if _number(output, "per_channel") else 0
    return (
        _entry(output, "bias", channel),
        _entry(output, "multiplier", index),
        _entry(output, "shift", index),
    )


def _entry(output: Mapping[str, Value], name: str, index: int) -> int:
    return int(cast(ConstantArray, output[name]).data[index])


def _number(output: Mapping[str, Any], name: str) -> int:
    return int(output[name])
