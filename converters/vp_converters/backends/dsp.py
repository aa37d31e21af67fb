"""Armv7E-M with the DSP extension (Cortex-M4, M7, M33): firmware/nn/dsp.

Two layouts beside NHWC pass between these kernels, as vp/nn_dsp.h describes them: PLANAR16 from a
convolution to the depthwise ones that read it, TILE16 from a depthwise convolution to 1x1 ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from vp_converters.backends.dsp_addition import linear_addition
from vp_converters.backends.dsp_layouts import (
    NHWC,
    Planar16,
    Rows,
    Tile16,
    choose_layouts,
    is_fast_depthwise,
    output_of,
    planes_for,
    window_of,
    with_planes,
)
from vp_converters.backends.dsp_pixel import pixel
from vp_converters.backends.dsp_records import (
    filter_weights,
    filters,
    number_of,
    packed_records,
    padded,
    tiled_order,
)
from vp_converters.backends.dsp_scaling import Weights, is_linear, records
from vp_converters.lowering.step import (
    ConstantArray,
    Joined,
    Program,
    Step,
    Value,
    int8_array,
)

_RUN_BYTES = 1536
"""Scratch for the pixels that are worked on at a time, whose channels are then set up once."""

_LARGE_RUN_BYTES = 4096
"""The same for as few as 8 pixels; beyond it there are 4, and setting up hardly counts."""

_SAME_PARAMETERS = ("max_pool_2d", "global_max_pool")


def apply(program: Program) -> Program:
    """The program on the kernels of firmware/nn/dsp, wherever their arithmetic is proven exact;
    everything else stays as it is."""
    program = replace(program, steps=tuple(_as_convolution(step) for step in program.steps))
    program, made = with_planes(program, [_is_proven(step) for step in program.steps])
    proven = [_is_proven(step) for step in program.steps]
    rows: dict[int, Planar16 | Tile16] = {**choose_layouts(program, proven), **made}
    steps = []
    for step, fits in zip(program.steps, proven, strict=True):
        if step.kernel == "add":
            steps.append(_add(step) or step)
        elif step.kernel in _SAME_PARAMETERS:
            steps.append(replace(step, kernel=f"dsp_{step.kernel}"))
        elif fits:
            single = pixel(step, rows) if program.calls(step) == 1 else None
            steps.append(single or _BUILDERS[step.kernel](step, rows))
        else:
            steps.append(step)
    layouts = {tensor: row.layout for tensor, row in rows.items()}
    return replace(program, steps=tuple(steps), layouts={**program.layouts, **layouts})


def _is_proven(step: Step) -> bool:
    if step.kernel not in _BUILDERS:
        return False
    if "window" in step.parameters and window_of(step)["dilation_width"] != 1:
        return False
    if step.parameters.get("groups", 1) != 1:
        return False
    weights = filter_weights(step)
    return records(output_of(step), weights, weights) is not None


def _as_convolution(step: Step) -> Step:
    """A depthwise convolution of a single channel is a convolution."""
    if step.kernel != "depthwise_conv_2d_multiplied" or window_of(step)["input_channels"] != 1:
        return step
    channels = window_of(step)["output_channels"]
    weights = cast(ConstantArray, step.parameters["weights"]).data.reshape(-1, channels).T
    changed = replace(
        step,
        kernel="conv_2d",
        type="",
        parameters={**step.parameters, "groups": 1, "weights": int8_array("weights", weights)},
    )
    return changed if _is_proven(changed) else step


def _conv_1x1(step: Step, rows: Mapping[int, Rows]) -> Step:
    source, target = rows.get(step.inputs[0], NHWC), rows.get(step.output, NHWC)
    weights = filter_weights(step)
    width = number_of(step, "output_width")
    if isinstance(source, Tile16):
        return replace(
            step,
            kernel="dsp_conv_1x1_tiled",
            type="",
            joined=None,
            parameters={"filters": filters(step, target, tiled_order(weights)), "width": width},
        )
    depth = number_of(step, "input_channels")
    return _pixels(
        step,
        "dsp_conv_1x1",
        target,
        width,
        {
            "input_channels": depth,
            "row_stride": number_of(step, "row_step"),
            "column_stride": number_of(step, "column_step") // depth,
        },
    )


def _fully_connected(step: Step, rows: Mapping[int, Rows]) -> Step:
    fields = {"input_channels": number_of(step, "depth"), "row_stride": 1, "column_stride": 1}
    vectors = number_of(step, "vectors")
    return _pixels(step, "dsp_fully_connected", NHWC, vectors, fields)


def _pixels(step: Step, kernel: str, target: Rows, width: int, fields: dict[str, int]) -> Step:
    stored = padded(filter_weights(step))
    depth = stored.shape[1]
    run = _run(depth)
    joined = step.joined
    if joined is not None:
        pixels = cast(int, joined.parameters["output_width"])
        fields_then: dict[str, Value] = {"width": pixels, "column_stride": 1}
        joined = Joined(fields_then, min(run + 2, pixels) * depth * 2)
    return replace(
        step,
        kernel=kernel,
        type="dsp_conv_1x1",
        parameters={
            "filters": filters(step, target, stored),
            "width": width,
            "run": run,
            **fields,
        },
        scratch=min(run + 2, width) * depth * 2,
        joined=joined,
    )


def _conv_2d(step: Step, rows: Mapping[int, Rows]) -> Step:
    window = window_of(step)
    line = window["kernel_width"] * window["input_channels"]
    stored = padded(_by_words(filter_weights(step), line))
    run = _run(stored.shape[1])
    tile_bytes = min(run + 2, window["output_width"]) * stored.shape[1] * 2
    return replace(
        step,
        kernel="dsp_conv_2d",
        type="",
        parameters={
            "filters": filters(step, rows.get(step.output, NHWC), stored),
            "window": dict(window),
            "input_zero_point": number_of(step, "input_zero_point"),
            "run": run,
            "tile_bytes": tile_bytes,
        },
        scratch=4 * window["kernel_height"]
        + tile_bytes
        + 5 * window["stride_width"] * window["input_channels"]
        + line,
    )


def _run(depth: int) -> int:
    """Pixels of int16 that are worked on at a time."""
    size = 2 * depth
    return max(_RUN_BYTES // size // 4 * 4, 8 if 8 * size <= _LARGE_RUN_BYTES else 4)


def _by_words(weights: Weights, line: int) -> Weights:
    """The whole groups of four of each line of the window, then the rest of the lines."""
    lines = weights.reshape(len(weights), -1, line)
    whole = line // 4 * 4
    parts = (lines[:, :, :whole], lines[:, :, whole:])
    return np.hstack([part.reshape(len(weights), -1) for part in parts])


def _depthwise(step: Step, rows: Mapping[int, Rows]) -> Step:
    output, window, planes = output_of(step), window_of(step), planes_for(step)
    tiled = isinstance(rows.get(step.output, NHWC), Tile16)
    weights = filter_weights(step)
    common: dict[str, Value] = {
        "plane": planes.plane,
        "padding_bytes": planes.read,
        "input_zero_point": step.parameters["input_zero_point"],
        "zero_point": output["zero_point"],
    }
    if tiled and is_fast_depthwise(step):
        return replace(
            step,
            kernel="dsp_depthwise_3x3",
            type="",
            parameters={
                "records": packed_records(step, _overlapping_pairs(weights)),
                "input_height": window["input_height"],
                "width": window["output_width"],
                "channels": window["output_channels"],
                "row_stride": window["stride_height"],
                "column_stride": window["stride_width"],
                "pad_top": window["pad_top"],
                **common,
            },
            scratch=planes.read,
        )
    return replace(
        step,
        kernel="dsp_depthwise_conv_2d",
        type="",
        parameters={
            "records": packed_records(step, _even_lines(weights, window["kernel_width"])),
            "window": dict(window),
            **common,
            "linear": int(is_linear(output)),
            "tiled": int(tiled),
            "min": output["min"],
            "max": output["max"],
        },
        scratch=4 * window["kernel_height"] + planes.read,
    )


def _overlapping_pairs(weights: Weights) -> Weights:
    """The lines of a 3x3 window as w0, w1, w1, w2."""
    return weights.reshape(-1, 3, 3)[:, :, [0, 1, 1, 2]].reshape(-1, 12)


def _even_lines(weights: Weights, width: int) -> Weights:
    """The lines of a window as int16, an even number each."""
    lines = weights.reshape(len(weights), -1, width).astype("<i2")
    even = np.pad(lines, ((0, 0), (0, 0), (0, width % 2)))
    return np.ascontiguousarray(even).reshape(len(weights), -1).view(np.int8)


def _add(step: Step) -> Step | None:
    form = linear_addition(step.parameters)
    if form is None:
        return None
    same = {name: step.parameters[name] for name in ("row_size", "min", "max")}
    fields: dict[str, Value] = {**vars(form), **same}
    return replace(step, kernel="dsp_add", type="", parameters=fields)


_BUILDERS: Mapping[str, Callable[[Step, Mapping[int, Rows]], Step]] = {
    "conv_1x1": _conv_1x1,
    "conv_2d": _conv_2d,
    "depthwise_conv_2d": _depthwise,
    "fully_connected": _fully_connected,
}
