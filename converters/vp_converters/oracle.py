"""TensorFlow Lite Micro's Python runtime: by definition what a model computes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from vp_converters.errors import ConversionError
from vp_converters.reader import MALFORMED, read_graph

Int8Array = npt.NDArray[np.int8]


class Oracle:
    """A model in the tflite_micro interpreter.

    Args:
        data: the .tflite file's bytes, already accepted by read_graph: the interpreter ends the
            process on some files that it refuses.

    Raises:
        ConversionError: tflite_micro is not installed or refuses the model.
    """

    def __init__(self, data: bytes) -> None:
        try:
            from tflite_micro import runtime
        except ImportError:
            raise ConversionError(
                "the tflite_micro package is missing: pip install --pre tflite-micro"
            ) from None
        try:
            self._interpreter: Any = runtime.Interpreter.from_bytes(
                data, arena_size=_arena_size(data)
            )
        except (RuntimeError, *MALFORMED) as error:
            raise ConversionError("tflite_micro refuses the model") from error

    def run(self, value: npt.ArrayLike) -> Int8Array:
        """The output (int8) for one input (int8) of the model's shape."""
        self._interpreter.set_input(np.ascontiguousarray(value), 0)
        self._interpreter.invoke()
        return np.array(self._interpreter.get_output(0), dtype=np.int8)


def _arena_size(data: bytes) -> int:
    """Room enough: the interpreter's own structures, and every activation at a place of its own."""
    graph = read_graph(data, attributes=False)
    activations = sum(tensor.size for tensor in graph.tensors if tensor.data is None)
    return 2**20 + 10 * len(data) + 5 * activations


def cut(data: bytes, op_count: int, output: int) -> bytes:
    """The model that ends early: its first ``op_count`` operators, tensor ``output`` as the output.

    Used to compare layer by layer, before a softmax above all.
    """
    model = tflite.Model.GetRootAs(data, 0)
    subgraph = model.Subgraphs(0)
    result = bytearray(data)
    table = subgraph._tab
    # Vectors start with their length; both edits keep every offset as it is.
    operators = table.Vector(table.Offset(10)) - 4
    outputs = table.Vector(table.Offset(8))
    struct.pack_into("<I", result, operators, op_count)
    struct.pack_into("<i", result, outputs, output)
    return bytes(result)
