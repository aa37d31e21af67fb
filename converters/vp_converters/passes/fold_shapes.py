"""Computes SHAPE, STRIDED_SLICE, PACK and RESHAPE of constants.

All shapes are fixed, so the chain by which a converter works out the target of a Flatten (SHAPE,
STRIDED_SLICE, PACK, then RESHAPE) is a constant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vp_converters.ir import Array, Graph, Op


def fold_shapes(graph: Graph) -> Graph:
    """``graph`` with the results of foldable operators as constants and the operators removed.

    Raises:
        ConversionError: an operator of the chain contradicts the shape of its output.
    """
    kept: list[Op] = []
    for op in graph.ops:
        value = _evaluate(graph, op)
        if value is None:
            kept.append(op)
            continue
        index = op.outputs[0]
        if tuple(value.shape) != graph.tensors[index].shape:
            raise graph.error(op, f"computes shape {list(value.shape)}, its output has another")
        graph = graph.with_constant(index, value)
    return graph.with_ops(kept)


def _evaluate(graph: Graph, op: Op) -> Array | None:
    fold = _FOLDS.get(op.kind)
    if fold is None or len(op.outputs) != 1:
        return None
    if graph.tensors[op.outputs[0]].dtype not in ("int32", "int8"):
        return None
    return fold(graph, op)


def _shape(graph: Graph, op: Op) -> Array | None:
    if graph.tensors[op.outputs[0]].dtype != "int32" or len(op.inputs) != 1 or op.inputs[0] < 0:
        return None
    return np.asarray(graph.tensors[op.inputs[0]].shape, dtype=np.int32)


def _constants(graph: Graph, op: Op) -> list[Array] | None:
    values = [graph.constant(index) for index in op.inputs]
    found = [value for value in values if value is not None]
    return found if len(found) == len(values) else None


def _strided_slice(graph: Graph, op: Op) -> Array | None:
    values = _constants(graph, op)
    if values is None or len(values) != 4:
        return None
    source, begin, end, strides = values
    attributes = op.attributes
    if attributes.ellipsis_mask or attributes.new_axis_mask or source.ndim != 1:
        return None
    if not begin.size == end.size == strides.size == 1:
        return None
    step = int(strides.reshape(-1)[0])
    first = int(begin.reshape(-1)[0])
    if attributes.shrink_axis_mask & 1:
        position = first + source.size if first < 0 else first
        if not 0 <= position < source.size:
            raise graph.error(op, f"index {first} is outside a vector of {source.size}")
        return np.asarray(source[position])
    if step == 0:
        raise graph.error(op, "stride 0")
    start = None if attributes.begin_mask & 1 else first
    stop = None if attributes.end_mask & 1 else int(end.reshape(-1)[0])
    return np.asarray(source[start:stop:step])


def _pack(graph: Graph, op: Op) -> Array | None:
    values = _constants(graph, op)
    if not values or any(value.shape != values[0].shape for value in values):
        return None
    if not -values[0].ndim - 1 <= op.attributes.axis <= values[0].ndim:
        raise graph.error(op, f"axis {op.attributes.axis}")
    return np.stack(values, axis=op.attributes.axis)


def _reshape(graph: Graph, op: Op) -> Array | None:
    source = graph.constant(op.inputs[0]) if op.inputs else None
    target = graph.tensors[op.outputs[0]]
    if source is None or source.size != target.size:
        return None
    return source.reshape(target.shape)


_FOLDS: dict[str, Callable[[Graph, Op], Array | None]] = {
    "SHAPE": _shape,
    "STRIDED_SLICE": _strided_slice,
    "PACK": _pack,
    "RESHAPE": _reshape,
}
