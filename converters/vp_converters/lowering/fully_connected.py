"""FULLY_CONNECTED (TFLM: kernels/fully_connected_common.cc)."""

from __future__ import annotations

import numpy as np

from vp_converters.ir import Graph, Op
from vp_converters.lowering.step import Step, int8_array
from vp_converters.lowering.tensors import (
    MAX_PRODUCTS,
    activation,
    bias_of,
    output_stage,
    tensors_of,
    weights_of,
)


def lower_fully_connected(graph: Graph, op: Op) -> Step:
    """A fully_connected step over `input size / depth` vectors."""
    (source, weights), target = tensors_of(graph, op, 2, optional=1)
    input_scale, zero_point = activation(source)
    output_scale, _ = activation(target)
    data, scales = weights_of(weights, rank=2, axis=0)
    channels, depth = data.shape
    rows = source.size // depth
    if source.size % depth or target.size != rows * channels or target.shape[-1:] != (channels,):
        raise ValueError(f"weights {list(data.shape)} do not fit the input and output shapes")
    if depth > MAX_PRODUCTS:
        raise ValueError(f"{depth} products per output; at most {MAX_PRODUCTS} are supported")
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="fully_connected",
        parameters={
            "vectors": rows,
            "depth": depth,
            "output_channels": channels,
            "weights": int8_array("weights", data),
            "output": output_stage(
                op,
                target,
                _ratios(graph, op, input_scale, scales, output_scale),
                bias_of(graph, op, channels),
                data.sum(axis=1, dtype=np.int64),
                zero_point,
            ),
        },
        inputs=(source.index,),
        output=target.index,
        macs=rows * channels * depth,
    )


def _ratios(
    graph: Graph, op: Op, input_scale: float, scales: list[float], output_scale: float
) -> list[float]:
    if len(scales) > 1:
        return [input_scale * scale / output_scale for scale in scales]
    # With one scale for all channels TFLM multiplies in float32 and refuses an unrelated bias.
    with np.errstate(over="ignore", under="ignore"):
        product = float(np.float32(input_scale) * np.float32(scales[0]))
    bias = graph.tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    if bias is not None:
        bias_scale = bias.quantization.scales[0] if bias.quantization is not None else 0.0
        if not abs(input_scale * scales[0] - bias_scale) / output_scale <= 0.02:
            raise ValueError(f"bias scale {bias_scale:g} is not input scale * weight scale")
    return [product / output_scale]
