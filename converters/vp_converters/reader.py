"""A .tflite file becomes a Graph. Everything the file claims is checked before it is believed."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tflite

from vp_converters.errors import ConversionError
from vp_converters.ir import Array, Graph, Op, Quantization, Tensor, one_line
from vp_converters.options import read_attributes

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_MAX_RANK = 6
_MAX_ELEMENTS = 2**28
_BUILTIN_CODE_SLOT = 10
_MAX_FILE_BYTES = 2**26
_MAX_TENSORS = 2**15
_MAX_OPERATORS = 2**12

# What the flatbuffers bindings raise when an offset leads astray.
MALFORMED = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)

_TYPE_NAMES: dict[int, str] = {
    value: name.lower() for name, value in vars(tflite.TensorType).items() if isinstance(value, int)
}
_OPERATOR_NAMES: dict[int, str] = {
    value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)
}
_CONSTANT_TYPES: dict[str, np.dtype[Any]] = {
    "int8": np.dtype("<i1"),
    "int32": np.dtype("<i4"),
}

_T = TypeVar("_T")


def read_file(path: str | Path, attributes: bool = True) -> tuple[bytes, Graph]:
    """The file's bytes and its graph.

    Args:
        attributes: as for read_graph.

    Raises:
        ConversionError: the file is missing, unreadable or not a model this package understands.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConversionError(f"{path}: {error.strerror or error}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConversionError(f"{path}: larger than {_MAX_FILE_BYTES >> 20} MiB")
    try:
        return data, read_graph(data, attributes)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None


def read_graph(data: bytes, attributes: bool = True) -> Graph:
    """The graph of a .tflite file's bytes.

    Args:
        attributes: read the operators' options. Without, operators with options that this package
            does not know are accepted too, and all have the default ones.

    Raises:
        ConversionError: the bytes are not a .tflite file, are damaged, or hold something that a
            Graph cannot (several subgraphs, inputs or outputs; tensors used before they are made).
    """
    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise ConversionError("not a .tflite file (no TFL3 identifier)")
    try:
        return _Reader(data, attributes).graph()
    except ConversionError:
        raise
    except MALFORMED as error:
        raise ConversionError("damaged .tflite file (an offset leads outside it)") from error


class _Reader:
    def __init__(self, data: bytes, attributes: bool) -> None:
        self._data = data
        self._attributes = attributes
        # The vectors and names of a sound file do not overlap, and each entry takes at least four
        # bytes; a damaged file may use the same bytes again and again.
        self._entries_left = len(data) // 4
        self._model = tflite.Model.GetRootAs(data, 0)

    def graph(self) -> Graph:
        if self._model.Version() != _SCHEMA_VERSION:
            raise ConversionError(f"schema version {self._model.Version()}, not {_SCHEMA_VERSION}")
        count = self._model.SubgraphsLength()
        if count != 1:
            raise ConversionError(f"{count} subgraphs; exactly one is supported")
        subgraph = self._model.Subgraphs(0)
        for what, number, limit in (
            ("tensors", subgraph.TensorsLength(), _MAX_TENSORS),
            ("operators", subgraph.OperatorsLength(), _MAX_OPERATORS),
        ):
            if number > limit:
                raise ConversionError(f"{number} {what}; at most {limit} are supported")
        tensors = self._all(
            subgraph.TensorsLength(), lambda i: self._tensor(i, subgraph.Tensors(i))
        )
        kinds = self._all(self._model.OperatorCodesLength(), self._operator_name)
        ops = self._all(
            subgraph.OperatorsLength(),
            lambda i: self._op(i, subgraph.Operators(i), kinds, tensors),
        )
        if not ops:
            raise ConversionError("no operators")
        graph = Graph(
            tensors=tuple(tensors),
            ops=tuple(ops),
            input=self._single(subgraph.InputsLength(), subgraph.Inputs, "input", len(tensors)),
            output=self._single(subgraph.OutputsLength(), subgraph.Outputs, "output", len(tensors)),
        )
        _check_order(graph)
        _check_border(graph, graph.tensors[graph.input], "input")
        _check_border(graph, graph.tensors[graph.output], "output")
        return graph

    def _all(self, count: int, read: Callable[[int], _T]) -> list[_T]:
        self._take(count)
        return [read(i) for i in range(count)]

    def _text(self, raw: bytes | None) -> str:
        self._take(len(raw or b"") // 4)
        return (raw or b"").decode("utf-8", "replace")

    def _take(self, entries: int) -> None:
        self._entries_left -= entries
        if self._entries_left < 0:
            raise ConversionError("damaged .tflite file (its vectors are longer than the file)")

    def _single(self, count: int, get: Callable[[int], int], what: str, limit: int) -> int:
        if count != 1:
            raise ConversionError(f"{count} {what}s; exactly one is supported")
        index = get(0)
        if not 0 <= index < limit:
            raise ConversionError(f"{what} tensor {index} does not exist")
        return index

    def _operator_name(self, index: int) -> str:
        code = self._model.OperatorCodes(index)
        number = max(self._builtin_code(code._tab), int(code.DeprecatedBuiltinCode()))
        name = _OPERATOR_NAMES.get(number, f"operator code {number}")
        if name == "CUSTOM" and code.CustomCode() is not None:
            name = f"CUSTOM {one_line(self._text(code.CustomCode()))}"
        return name

    def _builtin_code(self, table: Any) -> int:
        """The field itself: the bindings' accessor hides numbers below 127."""
        place = table.Offset(_BUILTIN_CODE_SLOT)
        return int(struct.unpack_from("<i", self._data, table.Pos + place)[0]) if place else 0

    def _tensor(self, index: int, table: Any) -> Tensor:
        name = self._text(table.Name())
        where = f"tensor {index} {one_line(name)!r}"
        rank = table.ShapeLength()
        if rank > _MAX_RANK:
            raise ConversionError(
                f"{where} has {rank} dimensions; at most {_MAX_RANK} are supported"
            )
        shape = tuple(self._all(rank, table.Shape))
        if any(size < 1 for size in shape):
            raise ConversionError(f"{where} has shape {list(shape)}; every dimension must be fixed")
        if math.prod(shape) > _MAX_ELEMENTS:
            raise ConversionError(f"{where} has {math.prod(shape)} elements")
        dtype = _TYPE_NAMES.get(table.Type(), f"type {table.Type()}")
        if table.IsVariable():
            raise ConversionError(f"{where} is a variable tensor, which is not supported")
        if table.Sparsity() is not None:
            raise ConversionError(f"{where} is sparse, which is not supported")
        return Tensor(
            index=index,
            name=name,
            shape=shape,
            dtype=dtype,
            quantization=self._quantization(where, table.Quantization()),
            data=self._constant(where, table.Buffer(), shape, dtype),
        )

    def _quantization(self, where: str, table: Any) -> Quantization | None:
        if table is None or table.ScaleLength() == 0 or table.ZeroPointLength() == 0:
            return None
        scales = tuple(float(s) for s in self._all(table.ScaleLength(), table.Scale))
        zero_points = tuple(self._all(table.ZeroPointLength(), table.ZeroPoint))
        if len(zero_points) not in (1, len(scales)):
            raise ConversionError(
                f"{where} has {len(scales)} scales and {len(zero_points)} zero points"
            )
        return Quantization(scales, zero_points, table.QuantizedDimension())

    def _constant(
        self, where: str, buffer: int, shape: tuple[int, ...], dtype: str
    ) -> Array | None:
        if not 0 <= buffer < self._model.BuffersLength():
            raise ConversionError(f"{where} refers to buffer {buffer}, which does not exist")
        table = self._model.Buffers(buffer)
        if table.Offset() > 1:
            raise ConversionError(
                f"{where} keeps its data outside the model, which is not supported"
            )
        size = table.DataLength()
        if size == 0:
            return None
        if size > len(self._data):
            raise ConversionError(f"{where} claims {size} bytes of data; the file is shorter")
        raw: Array = table.DataAsNumpy()
        numpy_type = _CONSTANT_TYPES.get(dtype)
        if numpy_type is None:
            return raw
        expected = math.prod(shape) * numpy_type.itemsize
        if size != expected:
            raise ConversionError(f"{where} has {size} bytes of data; its shape needs {expected}")
        return raw.view(numpy_type).reshape(shape)

    def _op(self, index: int, table: Any, kinds: list[str], tensors: list[Tensor]) -> Op:
        code = table.OpcodeIndex()
        if not 0 <= code < len(kinds):
            raise ConversionError(
                f"operator {index} has operator code {code}, which does not exist"
            )
        kind = kinds[code]
        inputs = tuple(self._all(table.InputsLength(), table.Inputs))
        outputs = tuple(self._all(table.OutputsLength(), table.Outputs))
        for number in (*inputs, *outputs):
            if not -1 <= number < len(tensors):
                raise ConversionError(
                    f"operator {index} {kind} uses tensor {number}, which does not exist"
                )
        if not outputs or -1 in outputs:
            raise ConversionError(f"operator {index} {kind} has no output")
        op = Op(index, kind, inputs, outputs)
        if not self._attributes:
            return op
        try:
            kind_of_table = table.BuiltinOptionsType()
            return read_attributes(op, kind_of_table, table.BuiltinOptions(), tensors)
        except ConversionError as error:
            graph = Graph(tuple(tensors), (op,), 0, 0)
            raise graph.error(op, str(error)) from None


def _check_order(graph: Graph) -> None:
    if graph.tensors[graph.input].data is not None:
        raise ConversionError("the model's input is a constant")
    ready = {t.index for t in graph.tensors if t.data is not None} | {graph.input}
    for op in graph.ops:
        for index in op.inputs:
            if index >= 0 and index not in ready:
                raise graph.error(op, f"tensor {index} is read before any operator has written it")
        for index in op.outputs:
            if index in ready:
                raise graph.error(op, f"tensor {index} is written twice or is a constant")
            ready.add(index)
    if graph.output not in ready:
        raise ConversionError(f"no operator writes the model's output, tensor {graph.output}")


def _check_border(graph: Graph, tensor: Tensor, what: str) -> None:
    where = f"the model's {what} {one_line(tensor.name)!r}"
    if tensor.dtype != "int8":
        raise ConversionError(
            f"{where} is {tensor.dtype}, not int8: quantize the model fully, input and output too"
        )
    if not 1 <= len(tensor.shape) <= 4:
        raise ConversionError(f"{where} has {len(tensor.shape)} dimensions, not 1 to 4")
    if len(tensor.shape) > 1 and tensor.shape[0] != 1:
        raise ConversionError(f"{where} has batch size {tensor.shape[0]}, not 1")
    check_activation(tensor)


def check_activation(tensor: Tensor) -> tuple[float, int]:
    """(scale, zero point) of an int8 tensor quantized as a whole.

    Raises:
        ConversionError: it is not one.
    """
    where = f"tensor {tensor.index} {one_line(tensor.name)!r}"
    quantization = tensor.quantization
    if tensor.dtype != "int8":
        raise ConversionError(f"{where} is {tensor.dtype}, not int8")
    if quantization is None or len(quantization.scales) != 1:
        raise ConversionError(f"{where} needs one scale and one zero point")
    scale, zero_point = quantization.scales[0], quantization.zero_points[0]
    if not (math.isfinite(scale) and scale > 0):
        raise ConversionError(f"{where} has scale {scale:g}")
    if not -128 <= zero_point <= 127:
        raise ConversionError(f"{where} has zero point {zero_point}, outside int8")
    return scale, zero_point
