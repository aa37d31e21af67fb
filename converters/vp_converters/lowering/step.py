"""What lowering produces: kernel calls with their constant parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vp_converters.ir import Graph


@dataclass(frozen=True, eq=False)
class ConstantArray:
    """A constant array in flash; ``name`` is unique within its step."""

    name: str
    data: npt.NDArray[Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.data.nbytes)


Value: TypeAlias = "int | ConstantArray | Sequence[int] | Mapping[str, Value]"
"""A C initialiser: number, array's address, array of numbers, or struct with field names."""


@dataclass(frozen=True, eq=False)
class Step:
    """One call ``vp_nn_<kernel>_run(&parameters, inputs..., [scratch,] output)``.

    Attributes:
        kernel: names the parameter struct ``vp_nn_<type>``, the function and the source file.
        type: the parameter struct, where it differs from ``kernel``.
        inputs: tensors in the order of the kernel's arguments.
        scratch: bytes of working memory, 0 for a kernel without that argument.
        in_place: positions in ``inputs`` whose memory the output may take over.
        macs: multiplications of the operator itself, for reports.
    """

    op_index: int
    operator: str
    kernel: str
    parameters: Mapping[str, Value]
    inputs: tuple[int, ...]
    output: int
    type: str = ""
    scratch: int = 0
    in_place: tuple[int, ...] = ()
    macs: int = 0

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
    """The steps that compute a graph, in order."""

    graph: Graph
    steps: tuple[Step, ...]
    aliases: tuple[Alias, ...]

    @property
    def constant_bytes(self) -> int:
        """Bytes of weights, biases, multipliers and shifts."""
        return sum(array.size for step in self.steps for array in step.arrays())


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
