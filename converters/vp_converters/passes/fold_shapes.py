"""Computes SHAPE, STRIDED_SLICE, PACK and RESHAPE of constants.

All shapes are fixed, so the chain by which a converter works out the target of a Flatten (SHAPE,
STRIDED_SLICE, PACK, then RESHAPE) is a constant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vp_converters.ir import Array, Graph, Op

# More than any shape holds; a damaged file may pack the packed again and again.
_MAX_PACKED = 2**12


def fold_shapes(graph: Graph) -> Graph:
    """``graph`` with the results of foldable operators as constants and the operators removed.

    Raises:
        ConversionError: an operator of the chain contradicts the shape of its output.
    """
    values = {t.index: t.data for t in graph.tensors if t.data is not None}
    folded: dict[int, Array] = {}
    kept: list[Op] = []
    for op in graph.ops:
        value = _Fold(graph, op, values).value()
        if value is None:
            kept.append(op)
            continue
        index = op.outputs[0]
        if tuple(value.shape) != graph.tensors[index].shape:
            raise graph.error(op, f"computes shape {list(value.shape)}, its output has another")
        values[index] = folded[index] = value
    return graph.with_constants(folded).with_ops(kept)


class _Fold:
    """One operator with the constants known so far."""

    def __init__(self, graph: Graph, op: Op, values: dict[int, Array]) -> None:
        self._graph = graph
        self._op = op
        self._values = values

    def value(self) -> Array | None:
        """The operator's result, None where it is not constant."""
        folds: dict[str, Callable[[], Array | None]] = {
            "SHAPE": self._shape,
            "STRIDED_SLICE": self._strided_slice,
            "PACK": self._pack,
            "RESHAPE": self._reshape,
        }
        fold = folds.get(self._op.kind)
        if fold is None or len(self._op.outputs) != 1:
            return None
        return fold()

    def _constant(self, position: int, dtype: str | None = None) -> Array | None:
        """An input's value if it has the type, by default that of the output."""
        index = self._op.inputs[position]
        tensors = self._graph.tensors
        wanted = dtype or tensors[self._op.outputs[0]].dtype
        if index < 0 or tensors[index].dtype != wanted or wanted not in ("int8", "int32"):
            return None
        return self._values.get(index)

    def _shape(self) -> Array | None:
        source, target = self._op.inputs, self._graph.tensors[self._op.outputs[0]]
        if target.dtype != "int32" or len(source) != 1 or source[0] < 0:
            return None
        return np.asarray(self._graph.tensors[source[0]].shape, dtype=np.int32)

    def _strided_slice(self) -> Array | None:
        op, attributes = self._op, self._op.attributes
        if len(op.inputs) != 4 or attributes.ellipsis_mask or attributes.new_axis_mask:
            return None
        source = self._constant(0)
        begin, end, strides = (self._constant(i, "int32") for i in (1, 2, 3))
        if source is None or begin is None or end is None or strides is None or source.ndim != 1:
            return None
        if not begin.size == end.size == strides.size == 1:
            return None
        step = int(strides.reshape(-1)[0])
        first = None if attributes.begin_mask & 1 else int(begin.reshape(-1)[0])
        if step == 0:
            raise self._graph.error(op, "stride 0")
        if attributes.shrink_axis_mask & 1:
            if first is None:
                return None
            position = first + source.size if first < 0 else first
            if not 0 <= position < source.size:
                raise self._graph.error(op, f"index {first} is outside a vector of {source.size}")
            return np.asarray(source[position])
        stop = None if attributes.end_mask & 1 else int(end.reshape(-1)[0])
        return np.asarray(source[first:stop:step])

    def _pack(self) -> Array | None:
        op = self._op
        values = [self._constant(position) for position in range(len(op.inputs))]
        found = [value for value in values if value is not None]
        if not found or len(found) < len(values):
            return None
        if any(value.shape != found[0].shape for value in found):
            return None
        size = found[0].size * len(found)
        if size > _MAX_PACKED:
            raise self._graph.error(
                op, f"makes {size} numbers; at most {_MAX_PACKED} are supported"
            )
        if not -found[0].ndim - 1 <= op.attributes.axis <= found[0].ndim:
            raise self._graph.error(op, f"axis {op.attributes.axis}")
        return np.stack(found, axis=op.attributes.axis)

    def _reshape(self) -> Array | None:
        source = self._constant(0) if self._op.inputs else None
        target = self._graph.tensors[self._op.outputs[0]]
        if source is None or source.size != target.size:
            return None
        return source.reshape(target.shape)
