"""The compiler's view of a model: immutable, checked for structure, free of flatbuffers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import numpy.typing as npt

from vp_converters.errors import ConversionError

Array = npt.NDArray[np.generic]

_MOST_NAMED = 8


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point), one pair per tensor or one per slice along ``axis``.

    Scales are the file's float32 values, held exactly in Python floats.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True, eq=False)
class Tensor:
    """An activation (``data`` is None) or a constant.

    ``dtype`` is "int8", "int32" or another TFLite type's name, which no operator here accepts; a
    constant of such a type is its raw bytes.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
    data: Array | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Padding:
    """Rows above and below, columns to the left and to the right."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class Window:
    """A sliding window over the two spatial dimensions; pairs are (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding


@dataclass(frozen=True)
class Attributes:
    """What an operator's options hold: one class for all, each operator reads its own fields."""

    window: Window | None = None
    activation: str = "NONE"
    depth_multiplier: int = 1
    axis: int = 0
    beta: float = 1.0
    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0


@dataclass(frozen=True)
class Op:
    """One operator. ``index`` is its place in the file; -1 in ``inputs`` is an omitted input."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: Attributes = field(default_factory=Attributes)


@dataclass(frozen=True, eq=False)
class Graph:
    """Operators in execution order. ``tensors`` is indexed by tensor index."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    input: int
    output: int

    def constant(self, index: int) -> Array | None:
        """The data of tensor ``index``, None for an activation or an omitted input."""
        return self.tensors[index].data if index >= 0 else None

    def reader_counts(self) -> Counter[int]:
        """How many operators read each tensor, by tensor index."""
        return Counter(index for op in self.ops for index in set(op.inputs))

    def error(self, op: Op, reason: str) -> ConversionError:
        """An error that names the operator, its index and its tensors."""

        def label(index: int) -> str:
            if index < 0:
                return "-"
            tensor = self.tensors[index]
            return f"{index} {one_line(tensor.name)!r} {list(tensor.shape)} {tensor.dtype}"

        def labels(indices: tuple[int, ...]) -> str:
            more = len(indices) - _MOST_NAMED
            named = [label(index) for index in indices[:_MOST_NAMED]]
            return ", ".join([*named, f"{more} more"] if more > 0 else named)

        inputs, outputs = labels(op.inputs), labels(op.outputs)
        return ConversionError(f"operator {op.index} {op.kind} ({inputs} -> {outputs}): {reason}")

    def with_ops(self, ops: list[Op]) -> Graph:
        """The same graph with other operators."""
        return replace(self, ops=tuple(ops))

    def with_constants(self, values: Mapping[int, Array]) -> Graph:
        """The same graph with the constant ``values`` of tensors, by tensor index."""
        tensors = list(self.tensors)
        for index, data in values.items():
            tensors[index] = replace(tensors[index], data=data, shape=tuple(data.shape))
        return replace(self, tensors=tuple(tensors))


def one_line(text: str, limit: int = 60) -> str:
    """``text`` without line breaks, cut to ``limit`` characters from the right end."""
    kept = text if len(text) <= limit else text[-(limit - 3) :]
    flat = "".join(c if c.isprintable() else "?" for c in kept)
    return flat if len(text) <= limit else f"...{flat}"
