"""Writes small .tflite files without TensorFlow, for tests that need any corner of the format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

TYPES = {"int8": tflite.TensorType.INT8, "int32": tflite.TensorType.INT32}
TYPES |= {"float32": tflite.TensorType.FLOAT32, "uint8": tflite.TensorType.UINT8}
TYPES |= {"int16": tflite.TensorType.INT16, "int4": tflite.TensorType.INT4}

OPTIONS = {
    "ADD": "Add",
    "AVERAGE_POOL_2D": "Pool2D",
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "FULLY_CONNECTED": "FullyConnected",
    "MAX_POOL_2D": "Pool2D",
    "MEAN": "Reducer",
    "PACK": "Pack",
    "PAD": "Pad",
    "PADV2": "PadV2",
    "REDUCE_MAX": "Reducer",
    "RESHAPE": "Reshape",
    "SHAPE": "Shape",
    "SOFTMAX": "Softmax",
    "STRIDED_SLICE": "StridedSlice",
}
# Every option table that an operator may be written with.
OPTION_TABLES = tuple(sorted(set(OPTIONS.values())))
ENUMS = {
    "Padding": tflite.Padding,
    "FusedActivationFunction": tflite.ActivationFunctionType,
    "OutType": tflite.TensorType,
}


@dataclass
class TensorSpec:
    """One tensor; data makes it a constant."""

    shape: tuple[int, ...]
    dtype: str = "int8"
    scales: Sequence[float] = ()
    zero_points: Sequence[int] = ()
    axis: int = 0
    data: npt.NDArray[Any] | None = None
    name: str = ""
    variable: bool = False
    sparse: bool = False
    buffer: int | None = None
    outside: int = 0
    """``buffer`` replaces the number of the tensor's own buffer; ``outside`` is where behind the
    model its data stands."""


@dataclass
class OpSpec:
    """One operator; options by the names of the schema's fields in CamelCase."""

    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: dict[str, Any]
    table: str | None = None
    """The option table it is written with, "" for none; by default the kind's own."""


class ModelBuilder:
    """Collects tensors and operators, then writes them."""

    def __init__(self) -> None:
        self.tensors: list[TensorSpec] = []
        self.ops: list[OpSpec] = []

    def activation(
        self, shape: Sequence[int], scale: float = 1.0, zero_point: int = 0, dtype: str = "int8"
    ) -> int:
        """An int8 tensor that the model computes, or its input."""
        spec = TensorSpec(tuple(shape), dtype, [scale], [zero_point])
        return self._add(spec)

    def constant(
        self,
        data: npt.ArrayLike,
        dtype: str = "int8",
        scales: Sequence[float] = (),
        zero_points: Sequence[int] | None = None,
        axis: int = 0,
    ) -> int:
        """A tensor with data."""
        array = np.asarray(data, dtype=dtype)
        points = [0] * len(scales) if zero_points is None else zero_points
        return self._add(TensorSpec(array.shape, dtype, scales, points, axis, array))

    def computed_int32(self, shape: Sequence[int]) -> int:
        """An int32 tensor that an operator computes."""
        return self._add(TensorSpec(tuple(shape), "int32"))

    def op(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any
    ) -> OpSpec:
        """An operator; enum options by name, such as Padding="SAME"."""
        spec = OpSpec(kind, inputs, outputs, options)
        self.ops.append(spec)
        return spec

    def spec(self, index: int) -> TensorSpec:
        """The tensor with that index."""
        return self.tensors[index]

    def build(self, inputs: Sequence[int], outputs: Sequence[int], subgraphs: int = 1) -> bytes:
        """The file's bytes, with the same subgraph once or more often."""
        return _Writer(self.tensors, self.ops).write(inputs, outputs, subgraphs)

    def _add(self, spec: TensorSpec) -> int:
        spec.name = f"t{len(self.tensors)}"
        self.tensors.append(spec)
        return len(self.tensors) - 1


class _Writer:
    def __init__(self, tensors: list[TensorSpec], ops: list[OpSpec]) -> None:
        self._b = flatbuffers.Builder(1024)
        self._tensors = tensors
        self._ops = ops

    def write(self, inputs: Sequence[int], outputs: Sequence[int], subgraphs: int) -> bytes:
        b = self._b
        buffers = [self._buffer(None)]
        tensors = []
        for spec in self._tensors:
            number = 0
            if spec.data is not None:
                number = len(buffers)
                buffers.append(self._buffer(spec.data, spec.outside))
            tensors.append(self._tensor(spec, number if spec.buffer is None else spec.buffer))
        kinds = sorted({op.kind for op in self._ops})
        codes = [self._code(kind) for kind in kinds]
        ops = [self._op(op, kinds.index(op.kind)) for op in self._ops]
        tensor_vector = self._offsets(tensors, tflite.SubGraphStartTensorsVector)
        op_vector = self._offsets(ops, tflite.SubGraphStartOperatorsVector)
        input_vector = self._int32(inputs)
        output_vector = self._int32(outputs)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensor_vector)
        tflite.SubGraphAddInputs(b, input_vector)
        tflite.SubGraphAddOutputs(b, output_vector)
        tflite.SubGraphAddOperators(b, op_vector)
        subgraph = tflite.SubGraphEnd(b)
        subgraph_vector = self._offsets([subgraph] * subgraphs, tflite.ModelStartSubgraphsVector)
        code_vector = self._offsets(codes, tflite.ModelStartOperatorCodesVector)
        buffer_vector = self._offsets(buffers, tflite.ModelStartBuffersVector)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, code_vector)
        tflite.ModelAddSubgraphs(b, subgraph_vector)
        tflite.ModelAddBuffers(b, buffer_vector)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _offsets(self, offsets: list[int], start: Any) -> int:
        start(self._b, len(offsets))
        for offset in reversed(offsets):
            self._b.PrependUOffsetTRelative(offset)
        return int(self._b.EndVector())

    def _int32(self, values: Sequence[int]) -> int:
        return int(self._b.CreateNumpyVector(np.asarray(values, dtype=np.int32)))

    def _buffer(self, data: npt.NDArray[Any] | None, outside: int = 0) -> int:
        raw = None
        if data is not None:
            self._b.StartVector(1, data.nbytes, 16)
            self._b.head -= data.nbytes
            self._b.Bytes[self._b.head : self._b.head + data.nbytes] = data.tobytes()
            raw = self._b.EndVector()
        tflite.BufferStart(self._b)
        if raw is not None:
            tflite.BufferAddData(self._b, raw)
        if outside:
            tflite.BufferAddOffset(self._b, outside)
        return int(tflite.BufferEnd(self._b))

    def _quantization(self, spec: TensorSpec) -> int:
        b = self._b
        scales = b.CreateNumpyVector(np.asarray(spec.scales, dtype=np.float32))
        zero_points = b.CreateNumpyVector(np.asarray(spec.zero_points, dtype=np.int64))
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scales)
        tflite.QuantizationParametersAddZeroPoint(b, zero_points)
        tflite.QuantizationParametersAddQuantizedDimension(b, spec.axis)
        return int(tflite.QuantizationParametersEnd(b))

    def _tensor(self, spec: TensorSpec, buffer: int) -> int:
        b = self._b
        quantized = len(spec.scales) or len(spec.zero_points)
        quantization = self._quantization(spec) if quantized else None
        name = b.CreateString(spec.name)
        shape = self._int32(spec.shape)
        sparsity = None
        if spec.sparse:
            tflite.SparsityParametersStart(b)
            sparsity = tflite.SparsityParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, TYPES[spec.dtype])
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        if sparsity is not None:
            tflite.TensorAddSparsity(b, sparsity)
        tflite.TensorAddIsVariable(b, spec.variable)
        return int(tflite.TensorEnd(b))

    def _code(self, kind: str) -> int:
        number = getattr(tflite.BuiltinOperator, kind)
        custom = self._b.CreateString("a custom operator") if kind == "CUSTOM" else None
        tflite.OperatorCodeStart(self._b)
        if custom is not None:
            tflite.OperatorCodeAddCustomCode(self._b, custom)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self._b, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(self._b, number)
        tflite.OperatorCodeAddVersion(self._b, 1)
        return int(tflite.OperatorCodeEnd(self._b))

    def _options(self, op: OpSpec, table: str) -> int:
        prefix = f"{table}Options"
        getattr(tflite, f"{prefix}Start")(self._b)
        for field, value in op.options.items():
            if isinstance(value, str):
                value = getattr(ENUMS[field], value)
            # A foreign table has only some of the fields.
            if table == OPTIONS.get(op.kind) or hasattr(tflite, f"{prefix}Add{field}"):
                getattr(tflite, f"{prefix}Add{field}")(self._b, value)
        return int(getattr(tflite, f"{prefix}End")(self._b))

    def _op(self, op: OpSpec, code: int) -> int:
        b = self._b
        table = OPTIONS.get(op.kind, "") if op.table is None else op.table
        options = self._options(op, table) if table else None
        inputs, outputs = self._int32(op.inputs), self._int32(op.outputs)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, code)
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        if options is not None:
            kind = getattr(tflite.BuiltinOptions, f"{table}Options")
            tflite.OperatorAddBuiltinOptionsType(b, kind)
            tflite.OperatorAddBuiltinOptions(b, options)
        return int(tflite.OperatorEnd(b))
