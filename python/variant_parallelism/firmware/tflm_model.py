"""A .tflite file as the model's part of a program on TensorFlow Lite Micro."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from variant_parallelism.errors import VpError
from variant_parallelism.firmware.tflm_checkout import TflmCheckout
from variant_parallelism.manifest import MODEL_HASH_SIZE

if TYPE_CHECKING:
    from vp_converters.ir import Graph, Op, Tensor

_HEADER = """\
/* Model {name} on TensorFlow Lite Micro: written by vp build. Sizes in bytes. */
#ifndef {macro}_H
#define {macro}_H

#include "vp/model.h"

#define {macro}_ARENA_SIZE {arena}u
#define {macro}_INPUT_SIZE {input_size}u
#define {macro}_OUTPUT_SIZE {output_size}u

extern const vp_model {name};

#endif
"""

_SOURCE = """\
#include "{name}.h"

const vp_model {name} = {{
    .name = "{name}",
    .hash = {{{hash}}},
    .arena_size = {macro}_ARENA_SIZE,
    .input = {input},
    .output = {output},
    .input_row_size = {row_size}u,
}};
"""

_TENSOR = (
    "{{.size = {size}u, .dims = {{{dims}}}, .dim_count = {rank}u, "
    ".scale = {scale}f, .zero_point = {zero_point}}}"
)

_OPERATORS = """\
#include <new>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "vp_tflm.h"

const tflite::MicroOpResolver *vp_tflm_operators()
{{
    using Operators = tflite::MicroMutableOpResolver<{count}>;
    alignas(Operators) static unsigned char memory[sizeof(Operators)];
    auto *operators = new (memory) Operators;
    const bool all = {calls};
    return all ? operators : nullptr;
}}
"""

_FILE = """\
    .section .rodata.vp_tflm_file, "a"
    .balign 16
    .global vp_tflm_file
vp_tflm_file:
    .incbin "{tflite}"
"""


@dataclass(frozen=True)
class TflmOperator:
    """One operator of a model.

    Attributes:
        kind: its TFLite name; "CUSTOM <name>" for a custom one.
        input: its first input, a tensor's index; -1 if it has none.
        shape: of its first output.
        int8: its tensors are int8, but for a bias of int32.
        macs: multiplications; 0 for all but convolutions and matrix products.
    """

    index: int
    kind: str
    input: int
    shape: tuple[int, ...]
    int8: bool
    macs: int


@dataclass(frozen=True, eq=False)
class TflmModel:
    """A model that TensorFlow Lite Micro runs: one int8 input and one int8 output.

    Attributes:
        name: C identifier.
        data: the .tflite file.
        operators: in the order in which they run.
    """

    name: str
    data: bytes
    input: Tensor
    output: Tensor
    operators: tuple[TflmOperator, ...]

    @property
    def kinds(self) -> list[str]:
        """Its operators' names, each once, sorted."""
        return sorted({operator.kind for operator in self.operators})

    @property
    def hash(self) -> bytes:
        """As in vp_model.hash."""
        return hashlib.blake2s(self.data).digest()[:MODEL_HASH_SIZE]

    def before_softmax(self) -> TflmModel | None:
        """The model without the softmax that it ends with, which would hide differences; None if it
        ends with something else."""
        from vp_converters.oracle import cut
        from vp_converters.reader import read_graph

        last = self.operators[-1]
        if last.kind != "SOFTMAX":
            return None
        data = cut(self.data, last.index, last.input)
        return _model(data, read_graph(data, attributes=False), self.name)

    def write(self, folder: Path, checkout: TflmCheckout, arena: int) -> None:
        """Write <name>.h, <name>.c, operators.cc, file.S and model.tflite into `folder`.

        Args:
            arena: bytes, as measured.

        Raises:
            VpError: the checkout does not know an operator of the model.
        """
        macro = self.name.upper()
        shape = self.input.shape
        texts = {
            f"{self.name}.h": _HEADER.format(
                name=self.name,
                macro=macro,
                arena=arena,
                input_size=self.input.size,
                output_size=self.output.size,
            ),
            f"{self.name}.c": _SOURCE.format(
                name=self.name,
                macro=macro,
                hash=", ".join(f"0x{byte:02x}" for byte in self.hash),
                input=_tensor(self.input),
                output=_tensor(self.output),
                row_size=prod(shape[2:]) if len(shape) == 4 else self.input.size,
            ),
            "operators.cc": self._operators(checkout),
            "file.S": _FILE.format(tflite="model.tflite"),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "model.tflite").write_bytes(self.data)

    def _operators(self, checkout: TflmCheckout) -> str:
        missing = [kind for kind in self.kinds if kind not in checkout.operators]
        if missing:
            raise VpError(
                f"TensorFlow Lite Micro in {checkout.root} has no operator "
                f"{' and no '.join(missing)}, which the model needs"
            )
        wide = {operator.kind for operator in self.operators if not operator.int8}
        calls = []
        for kind in self.kinds:
            method = checkout.operators[kind]
            argument = "" if kind in wide else method.int8
            calls.append(f"operators->{method.name}({argument}) == kTfLiteOk")
        return _OPERATORS.format(count=len(calls), calls=" &&\n        ".join(calls))


def read_tflm_model(tflite: Path, name: str) -> TflmModel:
    """Read a model for the tflm runtime, which takes what the compiler's operators do not cover.

    VpError if the file is damaged, or has not exactly one int8 input and one int8 output.
    """
    try:
        from vp_converters import ConversionError
        from vp_converters.reader import read_file
    except ImportError as error:
        raise VpError(
            f"reading models needs {error.name}: pip install 'variant-parallelism[convert]'"
        ) from None
    try:
        return _model(*read_file(tflite, attributes=False), name)
    except ConversionError as error:
        raise VpError(str(error)) from None


def _model(data: bytes, graph: Graph, name: str) -> TflmModel:
    from vp_converters.reader import check_activation

    for index in (graph.input, graph.output):
        check_activation(graph.tensors[index])
    return TflmModel(
        name=name,
        data=data,
        input=graph.tensors[graph.input],
        output=graph.tensors[graph.output],
        operators=tuple(_operator(graph, op) for op in graph.ops),
    )


def _operator(graph: Graph, op: Op) -> TflmOperator:
    first = op.inputs[0] if op.inputs else -1
    tensors = [graph.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0]
    int8 = all(
        t.dtype == "int8" or (number == 2 and t.dtype == "int32")
        for number, t in enumerate(tensors)
    )
    shape = graph.tensors[op.outputs[0]].shape
    return TflmOperator(op.index, op.kind, first, shape, int8, _macs(graph, op))


def quantization(tensor: Tensor) -> tuple[float, int]:
    """(scale, zero point) of a border tensor of a read model."""
    assert tensor.quantization is not None
    return tensor.quantization.scales[0], tensor.quantization.zero_points[0]


def _macs(graph: Graph, op: Op) -> int:
    """Multiplications of the operators that spend nearly all of a network's time; 0 for others."""
    if len(op.inputs) < 2 or op.inputs[1] < 0:
        return 0
    weights, outputs = graph.tensors[op.inputs[1]], graph.tensors[op.outputs[0]].size
    if op.kind in ("CONV_2D", "FULLY_CONNECTED"):
        return outputs * prod(weights.shape[1:])
    if op.kind == "DEPTHWISE_CONV_2D":
        return outputs * prod(weights.shape[1:-1])
    if op.kind == "TRANSPOSE_CONV" and len(op.inputs) > 2:
        return graph.tensors[op.inputs[2]].size * prod(weights.shape[:-1])
    return 0


def _tensor(tensor: Tensor) -> str:
    scale, zero_point = quantization(tensor)
    text = repr(scale)
    dims = (*tensor.shape, 1, 1, 1)[:4]
    return _TENSOR.format(
        size=tensor.size,
        dims=", ".join(f"{size}u" for size in dims),
        rank=len(tensor.shape),
        scale=text if set(text) & set(".e") else f"{text}.0",
        zero_point=zero_point,
    )
