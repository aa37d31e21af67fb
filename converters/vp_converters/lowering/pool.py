"""AVERAGE_POOL_2D and MAX_POOL_2D (TFLM: kernels/pooling_common.cc)."""

from __future__ import annotations

from vp_converters.fixed_point import activation_range
from vp_converters.ir import Graph, Op, Tensor, Window
from vp_converters.lowering.step import Reach, Step, Value, height_of
from vp_converters.lowering.tensors import (
    activation,
    same_quantization,
    tensors_of,
    window_fields,
)

_SCALE_TOLERANCE = 1e-6

# The sum of a window and half its size for rounding stay below 2^31.
_MAX_AVERAGED = 2**24 - 2**16


def lower_pool_2d(graph: Graph, op: Op) -> Step:
    """An average_pool_2d or a max_pool_2d step, or the one for a whole image."""
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
    inside = min(window.kernel[0], source.shape[1]) * min(window.kernel[1], source.shape[2])
    if inside > _MAX_AVERAGED:
        raise ValueError(f"{inside} pixels in a window; at most {_MAX_AVERAGED} are supported")
    low, high = activation_range(op.attributes.activation, scale, zero_point)
    if _covers(window, source, target):
        return global_pool(op, source, target, low, high)
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel=op.kind.lower(),
        type="pool_2d",
        parameters={"window": window_fields(window, source, target), "min": low, "max": high},
        inputs=(source.index,),
        output=target.index,
        reach=(Reach.of(window),),
    )


def global_pool(op: Op, source: Tensor, target: Tensor, low: int, high: int) -> Step:
    """A global_average_pool or global_max_pool step over source (1, H, W, C)."""
    average = op.kind == "AVERAGE_POOL_2D"
    parameters: dict[str, Value] = {
        "height": height_of(source),
        "width": source.shape[2],
        "channels": source.shape[3],
        "min": low,
        "max": high,
    }
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="global_average_pool" if average else "global_max_pool",
        type="global_pool",
        parameters=parameters,
        inputs=(source.index,),
        output=target.index,
        reach=(Reach(),),
        accumulates=True,
        state=4 * source.shape[3] if average else 0,
    )


def _covers(window: Window, source: Tensor, target: Tensor) -> bool:
    """Whether the only position of the window holds the whole image."""
    return target.shape[1:3] == (1, 1) and all(
        size - before >= side
        for size, before, side in zip(
            window.kernel,
            (window.padding.top, window.padding.left),
            source.shape[1:3],
            strict=True,
        )
    )
