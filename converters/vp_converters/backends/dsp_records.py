"""Constants of convolutions as the kernels of firmware/nn/dsp read them."""

from __future__ import annotations

from typing import cast

import numpy as np

from vp_converters.backends.dsp_layouts import Planar16, Rows, output_of
from vp_converters.backends.dsp_scaling import Weights, is_linear, records
from vp_converters.lowering.step import ConstantArray, Step, Value, int8_array

# enum vp_nn_dsp_mode
_PLANAR16, _NHWC, _LINEAR = range(3)


def filter_weights(step: Step) -> Weights:
    """The weights as [output channels][products]."""
    flat = cast(ConstantArray, step.parameters["weights"]).data.astype(np.int8)
    channels = cast(ConstantArray, output_of(step)["bias"]).data.size
    if step.kernel == "depthwise_conv_2d":
        return flat.reshape(-1, channels).T
    return flat.reshape(channels, -1)


def number_of(step: Step, name: str) -> int:
    """A parameter."""
    return cast(int, step.parameters[name])


def filters(step: Step, target: Rows, stored: Weights) -> dict[str, Value]:
    """Fields of vp_nn_dsp_filters."""
    output = output_of(step)
    planar = isinstance(target, Planar16)
    return {
        "records": packed_records(step, stored),
        "depth": stored.shape[1],
        "channels": stored.shape[0],
        "zero_point": output["zero_point"],
        "mode": _PLANAR16 if planar else _LINEAR if is_linear(output) else _NHWC,
        "channel_step": target.plane if isinstance(target, Planar16) else 1,
        "pixel_step": 2 if planar else stored.shape[0],
        "lead": target.lead if isinstance(target, Planar16) else 0,
        "min": output["min"],
        "max": output["max"],
    }


def padded(weights: Weights) -> Weights:
    """With zeros up to a multiple of 4 products."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4)))


def tiled_order(weights: Weights) -> Weights:
    """Groups of four in the order in which TILE16 pairs channels: w, w + 1, of both halves."""
    rows = padded(weights)
    half = rows.shape[1] // 2
    low, high = rows[:, :half], rows[:, half:]
    groups = np.stack([low[:, 0::2], low[:, 1::2], high[:, 0::2], high[:, 1::2]], axis=2)
    return groups.reshape(rows.shape)


def packed_records(step: Step, stored: Weights) -> ConstantArray:
    """The records of a step that is proven."""
    packed = records(output_of(step), filter_weights(step), stored)
    if packed is None:
        raise AssertionError(f"operator {step.op_index} is not proven")
    return int8_array("records", packed)
