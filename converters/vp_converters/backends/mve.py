"""Armv8.1-M with MVE (Cortex-M55, M85): firmware/nn/mve.

All tensors stay NHWC; constants are packed as vp/nn_mve.h says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt

from vp_converters.lowering.step import (
    ConstantArray,
    Program,
    Step,
    Value,
    int8_array,
    int32_array,
)

_MAX_CHANNELS = 2**14
_SLACK = 16
_VECTOR = 16
_TILE = 4
_STRIP_COLUMN = 64
_STRIP_SIDE = 4
_LARGE_KERNEL = 12
_NARROW = 8
_HALF = 2**30
_RELU, _LINEAR, _CLAMPED = range(3)


def apply(program: Program) -> Program:
    """The program with every step that has one on its MVE kernel."""
    return replace(program, steps=tuple(_rewritten(step) for step in program.steps))


def _rewritten(step: Step) -> Step:
    builder = _BUILDERS.get(step.kernel)
    return (builder(step) if builder is not None else None) or step


def _number(fields: Mapping[str, Value], name: str) -> int:
    return cast(int, fields[name])


def _fields(step: Step, name: str) -> Mapping[str, Value]:
    return cast(Mapping[str, Value], step.parameters[name])


def _array(fields: Mapping[str, Value], name: str) -> npt.NDArray[np.int32]:
    return cast(ConstantArray, fields[name]).data.astype(np.int32)


def _output(step: Step) -> dict[str, Value] | None:
    """Fields of vp_nn_mve_output, None where the kernels do not cover them."""
    output = _fields(step, "output")
    bias = _array(output, "bias")
    multiplier = np.broadcast_to(_array(output, "multiplier"), bias.shape)
    shift = np.broadcast_to(_array(output, "shift"), bias.shape)
    if not 2 <= bias.size <= _MAX_CHANNELS or shift.max() > 0:
        return None
    # The zero point is added with saturation, where TensorFlow Lite Micro wraps: only sums that are
    # not shifted to the right come near.
    weights = _array(step.parameters, "weights").astype(np.int64)
    largest = int(np.abs(bias.astype(np.int64)).max() + 128 * np.abs(weights).sum())
    if shift.max() == 0 and largest >= 2**31 - 256:
        return None
    zero_point, low, high = (_number(output, name) for name in ("zero_point", "min", "max"))
    kind = _CLAMPED
    if (low, high) == (-128, 127):
        kind = _RELU if zero_point == low else _LINEAR
    return {
        "scale": int32_array("scale", np.stack([bias, multiplier], axis=1)),
        "shift": int8_array("shift", shift),
        "zero_point": zero_point,
        "min": low,
        "max": high,
        "kind": kind,
    }


def _matrix(weights: npt.NDArray[np.int32]) -> ConstantArray:
    return int8_array("weights", np.pad(weights.reshape(-1), (0, _SLACK)))


def _dense(step: Step) -> Step | None:
    """conv_1x1 and fully_connected: the same weights in the same order."""
    output = _output(step)
    if output is None:
        return None
    weights = _matrix(_array(step.parameters, "weights"))
    return replace(
        step,
        kernel=f"mve_{step.kernel}",
        parameters={**step.parameters, "weights": weights, "output": output},
    )


def _conv_2d(step: Step) -> Step | None:
    output = _output(step)
    window = _fields(step, "window")
    if output is None or step.parameters["groups"] != 1 or window["dilation_width"] != 1:
        return None
    height, width = _number(window, "kernel_height"), _number(window, "kernel_width")
    depth, channels = _number(window, "input_channels"), _number(window, "output_channels")
    columns = (_number(window, "output_width") - 1) * _number(window, "stride_width") + width
    weights = _array(step.parameters, "weights").reshape(channels, height, width, depth)
    turned = weights.transpose(0, 2, 1, 3)
    overlaps = (
        width == 3
        and window["stride_width"] == 1
        and _number(window, "output_width") >= 3
        and channels % 2 == 0
        and height * depth % _VECTOR == 0
    )
    if overlaps:
        turned = turned.reshape(channels // 2, 2, width, -1, _VECTOR).transpose(0, 3, 1, 2, 4)
    return replace(
        step,
        kernel="mve_conv_2d_3_columns" if overlaps else "mve_conv_2d",
        type="mve_conv_2d",
        parameters={
            "window": window,
            "input_zero_point": step.parameters["input_zero_point"],
            "columns": columns,
            "weights": _matrix(turned),
            "output": output,
        },
        scratch=columns * height * depth,
    )


def _depthwise_conv_2d(step: Step) -> Step | None:
    output = _output(step)
    window = _fields(step, "window")
    height, width = _number(window, "kernel_height"), _number(window, "kernel_width")
    channels = _number(window, "output_channels")
    touched = -(-_number(window, "output_width") // _TILE) * _TILE
    parts = -(-height // _STRIP_SIDE)
    loaded = -(-width // _STRIP_SIDE) * _STRIP_SIDE
    columns = (
        (touched - 1) * _number(window, "stride_width")
        + (loaded - 1) * _number(window, "dilation_width")
        + 1
    )
    if (
        output is None
        or channels % 2
        or max(height, width) > _LARGE_KERNEL
        or _number(window, "pad_left") >= columns
    ):
        return None
    kernel = "mve_depthwise_conv_2d"
    if max(height, width) > _STRIP_SIDE:
        kernel += "_large"
    elif (
        touched <= _NARROW
        and _number(window, "stride_width") <= 2
        and window["dilation_width"] == 1
    ):
        kernel += "_narrow"
    weights = _array(step.parameters, "weights").reshape(height, width, channels)
    packed = np.pad(weights.transpose(2, 1, 0).reshape(channels, -1), ((0, 0), (0, 1)))
    return replace(
        step,
        kernel=kernel,
        type="mve_depthwise_conv_2d",
        parameters={
            "window": window,
            "input_zero_point": step.parameters["input_zero_point"],
            "columns": columns,
            "weights": int8_array("weights", packed),
            "output": output,
        },
        scratch=parts * columns * _STRIP_COLUMN,
    )


def _add(step: Step) -> Step | None:
    operands = [_fields(step, name) for name in ("a", "b")]
    halves = [o["multiplier"] == _HALF and o["shift"] == 0 for o in operands]
    if not any(halves) or _number(step.parameters, "shift") == 0:
        return None
    order = (0, 1) if halves[1] else (1, 0)
    a, b = (operands[i] for i in order)
    return replace(
        step,
        kernel="mve_add",
        type="",
        parameters={
            "a_zero_point": a["zero_point"],
            "a_multiplier": a["multiplier"],
            "a_shift": a["shift"],
            "b_zero_point": b["zero_point"],
            **{
                name: step.parameters[name]
                for name in ("multiplier", "shift", "zero_point", "min", "max", "row_size")
            },
        },
        inputs=tuple(step.inputs[i] for i in order),
    )


def _pool(step: Step) -> Step:
    """The same parameters."""
    return replace(step, kernel=f"mve_{step.kernel}", type=step.type or step.kernel)


def _single_channel(step: Step) -> Step | None:
    """A depthwise convolution of one channel is a convolution of depth 1."""
    window = _fields(step, "window")
    if window["input_channels"] != 1:
        return None
    channels = _number(window, "output_channels")
    weights = _array(step.parameters, "weights").reshape(-1, channels).T
    parameters = {**step.parameters, "weights": int8_array("weights", weights), "groups": 1}
    return _conv_2d(replace(step, parameters=parameters))


_BUILDERS: Mapping[str, Callable[[Step], Step | None]] = {
    "add": _add,
    "average_pool_2d": _pool,
    "conv_1x1": _dense,
    "conv_2d": _conv_2d,
    "depthwise_conv_2d": _depthwise_conv_2d,
    "depthwise_conv_2d_multiplied": _single_channel,
    "fully_connected": _dense,
    "global_average_pool": _pool,
    "global_max_pool": _pool,
    "global_mean": _pool,
    "max_pool_2d": _pool,
}
