"""ADD (TFLM: kernels/add_common.cc)."""

from __future__ import annotations

import math

import numpy as np

from vp_converters.fixed_point import (
    activation_range,
    quantize_multiplier_below_one,
)
from vp_converters.ir import Graph, Op, Tensor
from vp_converters.lowering.step import Joined, Reach, Step, Value, height_of
from vp_converters.lowering.tensors import activation, tensors_of
from vp_converters.reader import check_activation

_ADD_LEFT_SHIFT = 20
_MAX_BROADCAST_DIMS = 4


def lower_add(graph: Graph, op: Op) -> Step:
    """An add step for operands with the same rows, else an add_broadcast step. Either may be a
    constant."""
    (a, b), target = tensors_of(graph, op, 2)
    parameters = _add_fields(op, a, b, target)
    if _broadcast_shape(a.shape, b.shape) != target.shape:
        raise ValueError("the output's shape is not that of the operands combined")
    height = height_of(target)
    if a.size == b.size == target.size and height_of(a) == height_of(b) == height:
        return Step(
            op_index=op.index,
            operator=op.kind,
            kernel="add",
            parameters=parameters,
            inputs=(a.index, b.index),
            output=target.index,
            reach=(Reach(), Reach()),
            in_place=(0, 1),
            joined=Joined({"row_size": target.size}),
        )
    dims, strides_a, strides_b = _broadcast_strides(a.shape, b.shape)
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="add_broadcast",
        parameters={
            "add": parameters,
            "dims": dims,
            "a_strides": strides_a,
            "b_strides": strides_b,
        },
        inputs=(a.index, b.index),
        output=target.index,
    )


def _add_fields(op: Op, a: Tensor, b: Tensor, target: Tensor) -> dict[str, Value]:
    scale_a, zero_a = check_activation(a)
    scale_b, zero_b = check_activation(b)
    scale, zero_point = activation(target)
    twice_max = 2 * max(scale_a, scale_b)
    multiplier, shift = quantize_multiplier_below_one(twice_max / (2**_ADD_LEFT_SHIFT * scale))
    low, high = activation_range(op.attributes.activation, scale, zero_point)
    return {
        "a": _add_operand(scale_a / twice_max, zero_a),
        "b": _add_operand(scale_b / twice_max, zero_b),
        "multiplier": multiplier,
        "shift": shift,
        "zero_point": zero_point,
        "min": low,
        "max": high,
        "row_size": target.size // height_of(target),
    }


def _add_operand(ratio: float, zero_point: int) -> dict[str, Value]:
    multiplier, shift = quantize_multiplier_below_one(ratio)
    return {"zero_point": zero_point, "multiplier": multiplier, "shift": shift}


def _broadcast_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(size) for size in np.broadcast_shapes(a, b))


def _broadcast_strides(
    a: tuple[int, ...], b: tuple[int, ...]
) -> tuple[list[int], list[int], list[int]]:
    """(dims, strides of a, strides of b), four of each, neighbouring dimensions merged."""
    rank = max(len(a), len(b))
    full_a = (1,) * (rank - len(a)) + a
    full_b = (1,) * (rank - len(b)) + b
    merged: list[tuple[int, int]] = []
    for pair in zip(full_a, full_b, strict=True):
        if pair == (1, 1):
            continue
        if merged and _same_pattern(merged[-1], pair):
            merged[-1] = (merged[-1][0] * pair[0], merged[-1][1] * pair[1])
        else:
            merged.append(pair)
    if len(merged) > _MAX_BROADCAST_DIMS:
        raise ValueError(f"operands alternate over more than {_MAX_BROADCAST_DIMS} dimensions")
    merged = [(1, 1)] * (_MAX_BROADCAST_DIMS - len(merged)) + merged
    dims = [max(pair) for pair in merged]
    return dims, _strides([p[0] for p in merged]), _strides([p[1] for p in merged])


def _same_pattern(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return [side == 1 for side in a] == [side == 1 for side in b]


def _strides(dims: list[int]) -> list[int]:
    return [0 if size == 1 else math.prod(dims[i + 1 :]) for i, size in enumerate(dims)]
