"""CONV_2D and DEPTHWISE_CONV_2D (TFLM: kernels/conv_common.cc, depthwise_conv_common.cc)."""

from __future__ import annotations

import numpy as np

from vp_converters.ir import Graph, Op, Padding, Tensor, Window
from vp_converters.lowering.step import Joined, Reach, Step, Value, int8_array
from vp_converters.lowering.tensors import (
    MAX_PRODUCTS,
    activation,
    bias_of,
    output_stage,
    tensors_of,
    weights_of,
    window_fields,
)


def lower_conv_2d(graph: Graph, op: Op) -> Step:
    """A conv_1x1 step where the kernel is one pixel, else a conv_2d step."""
    (source, weights), target = tensors_of(graph, op, 2, optional=1)
    window = _window(op)
    input_scale, zero_point = activation(source)
    data, scales = weights_of(weights, rank=4, axis=0)
    channels, depth = data.shape[0], data.shape[3]
    if target.shape[3] != channels:
        raise ValueError(f"{channels} filters, but the output has {target.shape[3]} channels")
    groups = source.shape[3] // depth
    if groups < 1 or source.shape[3] % depth or channels % groups:
        raise ValueError(f"filters of depth {depth} do not divide {source.shape[3]} input channels")
    products = data[0].size
    if products > MAX_PRODUCTS:
        raise ValueError(f"{products} products per output; at most {MAX_PRODUCTS} are supported")
    output = output_stage(
        op,
        target,
        _ratios(input_scale, scales, activation(target)[0]),
        bias_of(graph, op, channels),
        data.sum(axis=(1, 2, 3), dtype=np.int64),
        zero_point,
    )
    macs = products * target.size
    fields = window_fields(window, source, target)
    if data.shape[1:3] == (1, 1) and groups == 1 and window.padding == Padding():
        return Step(
            op_index=op.index,
            operator=op.kind,
            kernel="conv_1x1",
            parameters={
                "output_width": target.shape[2],
                "input_channels": depth,
                "output_channels": channels,
                "row_step": window.stride[0],
                "column_step": window.stride[1] * depth if target.shape[2] > 1 else 0,
                "weights": int8_array("weights", data),
                "output": output,
            },
            inputs=(source.index,),
            output=target.index,
            reach=(Reach.of(window),),
            macs=macs,
            joined=_joined(window, target, depth),
        )
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="conv_2d",
        parameters={
            "window": fields,
            "groups": groups,
            "input_zero_point": zero_point,
            "weights": int8_array("weights", data),
            "output": output,
        },
        inputs=(source.index,),
        output=target.index,
        reach=(Reach.of(window),),
        scratch=products,
        macs=macs,
    )


def lower_depthwise_conv_2d(graph: Graph, op: Op) -> Step:
    """A depthwise_conv_2d step; with a depth multiplier above 1 the slower general kernel."""
    (source, weights), target = tensors_of(graph, op, 2, optional=1)
    window = _window(op)
    input_scale, zero_point = activation(source)
    data, scales = weights_of(weights, rank=4, axis=3)
    channels = data.shape[3]
    multiplier = op.attributes.depth_multiplier
    if data.shape[0] != 1 or not channels == target.shape[3] == source.shape[3] * multiplier:
        raise ValueError(
            f"weights {list(data.shape)} and depth multiplier {multiplier} do not fit "
            f"{source.shape[3]} input and {target.shape[3]} output channels"
        )
    products = data.shape[1] * data.shape[2]
    if products > MAX_PRODUCTS:
        raise ValueError(f"{products} products per output; at most {MAX_PRODUCTS} are supported")
    parameters: dict[str, Value] = {
        "window": window_fields(window, source, target),
        "input_zero_point": zero_point,
        "weights": int8_array("weights", data),
        "output": output_stage(
            op,
            target,
            _ratios(input_scale, scales, activation(target)[0]),
            bias_of(graph, op, channels),
            data.sum(axis=(0, 1, 2), dtype=np.int64),
            zero_point,
        ),
    }
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="depthwise_conv_2d" if multiplier == 1 else "depthwise_conv_2d_multiplied",
        type="depthwise_conv_2d",
        parameters=parameters,
        inputs=(source.index,),
        output=target.index,
        reach=(Reach.of(window),),
        macs=products * target.size,
    )


def _joined(window: Window, target: Tensor, depth: int) -> Joined | None:
    if window.stride != (1, 1):
        return None
    pixels = target.shape[1] * target.shape[2]
    return Joined({"output_width": pixels, "column_step": depth})


def _window(op: Op) -> Window:
    if op.attributes.window is None:
        raise ValueError("has no window")
    return op.attributes.window


def _ratios(input_scale: float, scales: list[float], output_scale: float) -> list[float]:
    return [input_scale * scale / output_scale for scale in scales]
