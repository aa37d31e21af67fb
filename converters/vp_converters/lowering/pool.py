"""AVERAGE_POOL_2D and MAX_POOL_2D (TFLM: kernels/pooling_common.cc)."""

from __future__ import annotations

from vp_converters.fixed_point import activation_range
from vp_converters.ir import Graph, Op
from vp_converters.lowering.step import Step
from vp_converters.lowering.tensors import (
    activation,
    same_quantization,
    tensors_of,
    window_fields,
)

_SCALE_TOLERANCE = 1e-6


def lower_pool_2d(graph: Graph, op: Op) -> Step:
    """An average_pool_2d or a max_pool_2d step."""
    (source,), target = tensors_of(graph, op, 1)
    activation(source)
    scale, zero_point = activation(target)
    if not same_quantization(source, target, _SCALE_TOLERANCE):
        raise ValueError("input and output must have the same scale and zero point")
    if source.shape[3] != target.shape[3]:
        raise ValueError("input and output must have the same channels")
    window = op.attributes.window
    if window is None:
        raise ValueError("has no window")
    low, high = activation_range(op.attributes.activation, scale, zero_point)
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel=op.kind.lower(),
        type="pool_2d",
        parameters={"window": window_fields(window, source, target), "min": low, "max": high},
        inputs=(source.index,),
        output=target.index,
    )
