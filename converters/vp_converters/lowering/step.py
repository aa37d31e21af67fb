"""What lowering produces: steps, that is kernels with their constant parameters.

A tensor is a sequence of rows: one of the shape (1, H, W, C) has H of W * C bytes, any other has a
single one. A step's kernel is called once for each row that it makes, or once for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vp_converters.ir import Graph, Tensor, Window


@dataclass(frozen=True, eq=False)
class ConstantArray:
    """A constant array in flash; ``name`` is unique within its step."""

    name: str
    data: npt.NDArray[Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.data.nbytes)


MAX_ROWS = 65535
"""Most rows that an inference counts in a tensor, and highest image of a convolution or pool."""

Value: TypeAlias = "int | ConstantArray | Sequence[int] | Mapping[str, Value]"
"""A C initialiser: number, array's address, array of numbers, or struct with field names."""


@dataclass(frozen=True)
class Reach:
    """The rows of an input that a call reads: call c reads the ``extent`` rows from row
    c * stride - before on, as far as they exist."""

    stride: int = 1
    before: int = 0
    extent: int = 1

    def rows(self, call: int, height: int) -> range:
        """Those rows of an input of ``height`` rows."""
        first = call * self.stride - self.before
        return range(max(first, 0), min(first + self.extent, height))

    @classmethod
    def of(cls, window: Window) -> Reach:
        """What a window reads for one row of its output."""
        extent = (window.kernel[0] - 1) * window.dilation[0] + 1
        return cls(window.stride[0], window.padding.top, extent)


@dataclass(frozen=True)
class Layout:
    """How a row of a tensor stands in the arena.

    Attributes:
        row_bytes: bytes from one row to the next.
        name: "nhwc" for dense int8, or what the kernels on both sides agree on.
    """

    row_bytes: int
    name: str = "nhwc"


@dataclass(frozen=True)
class Joined:
    """How a kernel makes all rows of its output in one call, as if they were a single long one.

    Attributes:
        parameters: those that have another value then.
        scratch: bytes of scratch memory.
    """

    parameters: Mapping[str, Value]
    scratch: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """A kernel with the tensors it works on.

    With ``reach`` it is called as ``vp_nn_<kernel>_row(&parameters, row, &rows of each input...,
    [state,] [scratch,] output row)``, for each row of the output; without, once and with whole
    tensors as ``vp_nn_<kernel>_run(&parameters, inputs..., [scratch,] output)``.

    Attributes:
        kernel: names the parameter struct ``vp_nn_<type>``, the function and the source file.
        type: the parameter struct, where it differs from ``kernel``.
        inputs: tensors in the order of the kernel's arguments.
        reach: what a call reads of each input; None for a kernel that takes whole tensors.
        accumulates: called for each row of the first input instead; the output, a single row, is
            complete after the last call.
        state: bytes of memory that outlast a call, 0 for a kernel without that argument.
        scratch: bytes of memory that a call may overwrite, 0 for a kernel without that argument.
        in_place: positions in ``inputs`` whose memory the output may take over.
        macs: multiplications of the operator itself, for reports.
        joined: for a kernel with ``reach`` that can make all rows at once where its tensors are
            whole and dense.
        is_joined: it does so: ``reach`` is None, and the kernel is called once, for row 0.
    """

    op_index: int
    operator: str
    kernel: str
    parameters: Mapping[str, Value]
    inputs: tuple[int, ...]
    output: int
    type: str = ""
    reach: tuple[Reach, ...] | None = None
    accumulates: bool = False
    state: int = 0
    scratch: int = 0
    in_place: tuple[int, ...] = ()
    macs: int = 0
    joined: Joined | None = None
    is_joined: bool = False

    @property
    def parameter_type(self) -> str:
        """C type of the parameters."""
        return f"vp_nn_{self.type or self.kernel}"

    def arrays(self) -> Iterator[ConstantArray]:
        """The constant arrays among the parameters."""
        yield from _arrays(self.parameters)


@dataclass(frozen=True)
class Alias:
    """Tensor ``output`` is tensor ``input`` under another shape."""

    input: int
    output: int


@dataclass(frozen=True, eq=False)
class Program:
    """The steps that compute a graph, in an order in which they may run.

    Attributes:
        layouts: rows of the tensors that are not dense int8, by tensor index.
    """

    graph: Graph
    steps: tuple[Step, ...]
    aliases: tuple[Alias, ...]
    layouts: Mapping[int, Layout] = field(default_factory=dict)

    @property
    def constant_bytes(self) -> int:
        """Bytes of weights, biases, multipliers and shifts."""
        return sum(array.size for step in self.steps for array in step.arrays())

    def height(self, tensor: int) -> int:
        """Rows of a tensor."""
        return height_of(self.graph.tensors[tensor])

    def layout(self, tensor: int) -> Layout:
        """The rows of a tensor."""
        found = self.layouts.get(tensor)
        return found or Layout(self.graph.tensors[tensor].size // self.height(tensor))

    def calls(self, step: Step) -> int:
        """How often the step's kernel is called."""
        if step.reach is None:
            return 1
        return self.height(step.inputs[0] if step.accumulates else step.output)

    def joined(self, step: Step) -> Step | None:
        """The step with all its calls in one; None if it cannot have that or has a single call."""
        new = step.joined
        if (
            new is None
            or self.calls(step) == 1
            or not new.parameters.keys() <= step.parameters.keys()
        ):
            return None
        if not all(self._is_dense(tensor) for tensor in (*step.inputs, step.output)):
            return None
        parameters = {**step.parameters, **new.parameters}
        return replace(step, parameters=parameters, reach=None, scratch=new.scratch, is_joined=True)

    def with_joined(self, numbers: Collection[int]) -> Program:
        """The program with the calls of some steps joined, by step number."""
        steps = [
            (self.joined(step) if number in numbers else None) or step
            for number, step in enumerate(self.steps)
        ]
        return replace(self, steps=tuple(steps))

    def _is_dense(self, tensor: int) -> bool:
        root = self.root(tensor)
        dense = Layout(self.graph.tensors[root].size // self.height(root))
        return self.layout(root) == dense

    def root(self, tensor: int) -> int:
        """The tensor whose memory ``tensor`` is another view of."""
        sources = {alias.output: alias.input for alias in self.aliases}
        while tensor in sources:
            tensor = sources[tensor]
        return tensor


def height_of(tensor: Tensor) -> int:
    """Rows of a tensor: the second dimension of (1, H, W, C) up to MAX_ROWS, otherwise 1."""
    shape = tensor.shape
    return shape[1] if len(shape) == 4 and shape[0] == 1 and shape[1] <= MAX_ROWS else 1


def _arrays(value: Value) -> Iterator[ConstantArray]:
    if isinstance(value, ConstantArray):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _arrays(item)


def int8_array(name: str, values: npt.ArrayLike) -> ConstantArray:
    """A flat int8 array."""
    return ConstantArray(name, np.asarray(values, dtype=np.int8).reshape(-1))


def int32_array(name: str, values: npt.ArrayLike) -> ConstantArray:
    """A flat int32 array."""
    return ConstantArray(name, np.asarray(values, dtype=np.int32).reshape(-1))
