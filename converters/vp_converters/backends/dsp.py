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
from vp_converters.backends.dsp_layouts import NHWC, Planar16, Rows, Tile16, choose_layouts
from vp_converters.backends.dsp_scaling import Weights, is_linear, records
from vp_converters.lowering.step import ConstantArray, Program, Step, Value, int8_array

_RUN_BYTES = 1024
_LARGE_RUN_BYTES = 4096


def apply(program: Program) -> Program:
    """The program on the kernels of firmware/nn/dsp, wherever their arithmetic is proven exact;
    everything else stays as it is."""
    proven = [_is_proven(step) for step in program.steps]
    rows = choose_layouts(program, proven)
    steps = []
    for step, fits in zip(program.steps, proven, strict=True):
        if step.kernel == "add":
            built = _add(step)
        else:
            built = _BUILDERS[step.kernel](step, rows) if fits else None
        steps.append(built or step)
    layouts = {tensor: row.layout for tensor, row in rows.items()}
    return replace(program, steps=tuple(steps), layouts={**program.layouts, **layouts})


def _is_proven(step: Step) -> bool:
    if step.kernel not in _BUILDERS:
        return False
    if step.kernel == "conv_2d":
        if step.parameters["groups"] != 1 or _window(step)["dilation_width"] != 1:
            return False
    weights = filter_weights(step)
    return records(_output(step), weights, weights) is not None


def filter_weights(step: Step) -> Weights:
    """The weights as [output channels][products]."""
    flat = cast(ConstantArray, step.parameters["weights"]).data.astype(np.int8)
    channels = cast(ConstantArray, _output(step)["bias"]).data.size
    if step.kernel == "depthwise_conv_2d":
        return flat.reshape(-1, channels).T
    return flat.reshape(channels, -1)


def _output(step: Step) -> Mapping[str, Value]:
    return cast(Mapping[str, Value], step.parameters["output"])


def _window(step: Step) -> dict[str, int]:
    return cast(dict[str, int], step.parameters["window"])


def _number(step: Step, name: str) -> int:
    return cast(int, step.parameters[name])


def _filters(step: Step, target: Rows, stored: Weights) -> dict[str, Value]:
    """Fields of vp_nn_dsp_filters."""
    output = _output(step)
    weights = filter_weights(step)
    packed = records(output, weights, stored)
    if packed is None:
        raise AssertionError("choose_layouts passed on a step that is not proven")
    planar = isinstance(target, Planar16)
    return {
        "records": int8_array("records", packed),
        "depth": stored.shape[1],
        "channels": stored.shape[0],
        "zero_point": output["zero_point"],
        "linear": int(is_linear(output)),
        "planar": int(planar),
        "channel_step": target.plane if isinstance(target, Planar16) else 1,
        "pixel_step": 2 if planar else stored.shape[0],
        "lead": target.lead if isinstance(target, Planar16) else 0,
        "min": output["min"],
        "max": output["max"],
    }


def _padded(weights: Weights) -> Weights:
    """With zeros up to a multiple of 4 products."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4)))


def _tiled_order(weights: Weights) -> Weights:
    """Groups of four in the order in which TILE16 pairs channels: w, w + 1, of both halves."""
    padded = _padded(weights)
    half = padded.shape[1] // 2
    low, high = padded[:, :half], padded[:, half:]
    return np.stack([low[:, 0::2], low[:, 1::2], high[:, 0::2], high[:, 1::2]], axis=2).reshape(
        padded.shape
    )


def _conv_1x1(step: Step, rows: Mapping[int, Rows]) -> Step:
    source, target = rows.get(step.inputs[0], NHWC), rows.get(step.output, NHWC)
    weights = filter_weights(step)
    width = _number(step, "output_width")
    if isinstance(source, Tile16):
        return replace(
            step,
            kernel="dsp_conv_1x1_tiled",
            type="",
            parameters={"filters": _filters(step, target, _tiled_order(weights)), "width": width},
        )
    depth = _number(step, "input_channels")
    return _pixels(
        step,
        "dsp_conv_1x1",
        target,
        width,
        {
            "input_channels": depth,
            "row_stride": _number(step, "row_step"),
            "column_stride": _number(step, "column_step") // depth,
        },
    )


def _fully_connected(step: Step, rows: Mapping[int, Rows]) -> Step:
    fields = {"input_channels": _number(step, "depth"), "row_stride": 1, "column_stride": 1}
    vectors = _number(step, "vectors")
    return _pixels(step, "dsp_fully_connected", NHWC, vectors, fields)


def _pixels(step: Step, kernel: str, target: Rows, width: int, fields: dict[str, int]) -> Step:
    stored = _padded(filter_weights(step))
    depth = stored.shape[1]
    run = _run(depth)
    return replace(
        step,
        kernel=kernel,
        type="dsp_conv_1x1",
        parameters={
            "filters": _filters(step, target, stored),
            "width": width,
            "run": run,
            **fields,
        },
        scratch=min(run + 2, width) * depth * 2,
    )


def _conv_2d(step: Step, rows: Mapping[int, Rows]) -> Step:
    window = _window(step)
    line = window["kernel_width"] * window["input_channels"]
    stored = _padded(_by_words(filter_weights(step), line))
    run = _run(stored.shape[1])
    tile_bytes = min(run + 2, window["output_width"]) * stored.shape[1] * 2
    return replace(
        step,
        kernel="dsp_conv_2d",
        type="",
        parameters={
            "filters": _filters(step, rows.get(step.output, NHWC), stored),
            "window": dict(window),
            "input_zero_point": _number(step, "input_zero_point"),
            "run": run,
            "tile_bytes": tile_bytes,
        },
        scratch=4 * window["kernel_height"]
        + tile_bytes
        + 5 * window["stride_width"] * window["input_channels"]
        + line,
    )


def _run(depth: int) -> int:
    """Pixels of int16 that are worked on at a time: each channel is set up once for all of them."""
    size = 2 * depth
    return max(_RUN_BYTES // size // 4 * 4, 8 if 8 * size <= _LARGE_RUN_BYTES else 4)


def _by_words(weights: Weights, line: int) -> Weights:
    """The whole groups of four of each line of the window, then the rest of the lines."""
    lines = weights.reshape(len(weights), -1, line)
    whole = line // 4 * 4
    parts = (lines[:, :, :whole], lines[:, :, whole:])
    return np.hstack([part.reshape(len(weights), -1) for part in parts])


def _depthwise(step: Step, rows: Mapping[int, Rows]) -> Step | None:
    source = rows.get(step.inputs[0], NHWC)
    if not isinstance(source, Planar16) or not isinstance(rows.get(step.output, NHWC), Tile16):
        return None
    window = _window(step)
    weights = filter_weights(step)
    stored = weights.reshape(-1, 3, 3)[:, :, [0, 1, 1, 2]].reshape(-1, 12)
    packed = records(_output(step), weights, stored)
    if packed is None:
        raise AssertionError("choose_layouts passed on a step that is not proven")
    return replace(
        step,
        kernel="dsp_depthwise_3x3",
        type="",
        parameters={
            "records": int8_array("records", packed),
            "input_height": window["input_height"],
            "width": window["output_width"],
            "channels": window["output_channels"],
            "row_stride": window["stride_height"],
            "column_stride": window["stride_width"],
            "pad_top": window["pad_top"],
            "plane": source.plane,
            "input_zero_point": _number(step, "input_zero_point"),
            "zero_point": _output(step)["zero_point"],
        },
        scratch=2 * (window["output_width"] * window["stride_width"] + 10),
    )


def _add(step: Step) -> Step | None:
    form = linear_addition(step.parameters)
    if form is None:
        return None
    fields: dict[str, Value] = {**vars(form), "row_size": step.parameters["row_size"]}
    return replace(step, kernel="dsp_add", type="", parameters=fields)


_BUILDERS: Mapping[str, Callable[[Step, Mapping[int, Rows]], Step | None]] = {
    "conv_1x1": _conv_1x1,
    "conv_2d": _conv_2d,
    "depthwise_conv_2d": _depthwise,
    "fully_connected": _fully_connected,
}
