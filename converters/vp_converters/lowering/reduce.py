"""MEAN and REDUCE_MAX (TFLM: kernels/reduce_common.cc, internal/reference/reduce.h)."""

from __future__ import annotations

import math

from vp_converters.fixed_point import MIN_SHIFT, quantize_multiplier, wrap_int32
from vp_converters.ir import Graph, Op, Tensor
from vp_converters.lowering.pool import global_pool
from vp_converters.lowering.step import Reach, Step, Value, height_of
from vp_converters.lowering.tensors import activation, same_quantization, tensors_of

_MAX_REDUCED = 2**24
_MAX_AXES = 16


def lower_mean(graph: Graph, op: Op) -> Step:
    """A mean step, or a global_mean step over a whole image."""
    (source, axes), target = tensors_of(graph, op, 2)
    input_scale, input_zero_point = activation(source)
    output_scale, zero_point = activation(target)
    shape = _reduction(source, axes, target)
    reduced = shape["reduced"]
    multiplier, shift = quantize_multiplier(input_scale / output_scale)
    # The division by the number of elements goes into the multiplier, as far as its shift allows.
    extra = min(reduced.bit_length() - 1, 32, shift - MIN_SHIFT)
    fields: dict[str, Value] = dict(shape)
    parameters: dict[str, Value] = {
        "shape": fields,
        "bias": wrap_int32(-input_zero_point * reduced),
        "multiplier": (multiplier << extra) // reduced,
        "shift": shift - extra,
        "zero_point": zero_point,
    }
    if _is_global(source, shape):
        return Step(
            op_index=op.index,
            operator=op.kind,
            kernel="global_mean",
            parameters={
                "height": height_of(source),
                "width": source.shape[2],
                "mean": parameters,
            },
            inputs=(source.index,),
            output=target.index,
            reach=(Reach(),),
            accumulates=True,
            state=4 * source.shape[3],
        )
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="mean",
        parameters=parameters,
        inputs=(source.index,),
        output=target.index,
    )


def lower_reduce_max(graph: Graph, op: Op) -> Step:
    """A reduce_max step, or a global_max_pool step over a whole image."""
    (source, axes), target = tensors_of(graph, op, 2)
    activation(source)
    activation(target)
    if not same_quantization(source, target, 0.0):
        raise ValueError("input and output must have the same scale and zero point")
    shape = _reduction(source, axes, target)
    if _is_global(source, shape):
        return global_pool(op, source, target, -128, 127)
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="reduce_max",
        type="reduction",
        parameters=dict(shape),
        inputs=(source.index,),
        output=target.index,
    )


def _is_global(source: Tensor, shape: dict[str, int]) -> bool:
    """Whether one pixel remains of source (1, H, W, C) that is taken row by row."""
    return (
        len(source.shape) == 4
        and source.shape[0] == 1
        and source.shape[1] == height_of(source)
        and shape["outer"] == 1
        and shape["inner"] == source.shape[3]
    )


def _reduction(source: Tensor, axes: Tensor, target: Tensor) -> dict[str, int]:
    """Fields of vp_nn_reduction: reduced axes must be neighbours, apart from axes of size 1."""
    if axes.data is None or axes.dtype != "int32":
        raise ValueError("the axes are not constant int32")
    rank = len(source.shape)
    if axes.size > _MAX_AXES:
        raise ValueError(f"{axes.size} axes; at most {_MAX_AXES} are supported")
    wanted = [int(axis) for axis in axes.data.reshape(-1)]
    if any(not -rank <= axis < rank for axis in wanted):
        raise ValueError(f"axes {wanted} do not exist")
    reduced = {axis % rank for axis in wanted}
    kept = [size for axis, size in enumerate(source.shape) if axis not in reduced]
    if target.size != math.prod(kept):
        raise ValueError("the output's size is not that of the axes which remain")
    wide = [axis for axis in range(rank) if source.shape[axis] > 1]
    places = [place for place, axis in enumerate(wide) if axis in reduced]
    if places and places[-1] - places[0] + 1 != len(places):
        raise ValueError(f"axes {wanted} are not neighbours")
    count = math.prod(source.shape[axis] for axis in reduced)
    if count > _MAX_REDUCED:
        raise ValueError(f"{count} elements per output; at most {_MAX_REDUCED} are supported")
    outer = math.prod(source.shape[axis] for axis in wide[: places[0]]) if places else target.size
    return {"outer": outer, "reduced": count, "inner": target.size // outer}
