"""Writes a planned program as C99."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from vp_converters.ir import Tensor, one_line
from vp_converters.kernels import kernel_files
from vp_converters.lowering.step import ConstantArray, Program, Step, Value
from vp_converters.planner import Buffer, Plan
from vp_converters.reader import check_activation
from vp_converters.schedule import INPUT

_LINE_WIDTH = 100
_NAME_WIDTH = 40
_C_TYPES = {"int8": "int8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t"}
_STAGE_BITS = 10

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)


def emit(name: str, digest: bytes, program: Program, plan: Plan) -> dict[str, str]:
    """The files of a self-contained folder: path within it -> text.

    Args:
        name: C identifier of the model.
        digest: the 8 bytes that name it in vp_model.hash.
    """
    copies = {
        target: path.read_text(encoding="utf-8")
        for target, path in kernel_files(step.kernel for step in program.steps).items()
    }
    graph = program.graph
    context: dict[str, Any] = {
        "name": name,
        "macro": name.upper(),
        "hash": ", ".join(f"0x{byte:02x}" for byte in digest),
        "hash_text": digest.hex(),
        "plan": plan,
        "program": program,
        "input": _border(graph.tensors[graph.input], plan),
        "output": _border(graph.tensors[graph.output], plan),
        "input_rows": plan.rows[graph.input],
        "schedule": array_text(name, _schedule(plan)),
        "headers": sorted(f for f in copies if f.startswith("vp/nn")),
        "steps": [
            _step(name, number, step, program, plan) for number, step in enumerate(program.steps)
        ],
        "sources": sorted(f for f in copies if f.endswith(".c")),
    }
    rendered = {
        f"{name}.c": "model.c.j2",
        f"{name}.h": "model.h.j2",
        "CMakeLists.txt": "CMakeLists.txt.j2",
    }
    texts = {path: _TEMPLATES.get_template(file).render(context) for path, file in rendered.items()}
    return {**texts, **copies}


@dataclass(frozen=True)
class _Border:
    offset: int
    size: int
    dims: tuple[int, ...]
    scale: str
    zero_point: int
    shape: str
    real: str


def _border(tensor: Tensor, plan: Plan) -> _Border:
    scale, zero_point = check_activation(tensor)
    return _Border(
        offset=plan.rows[tensor.index].offset,
        size=tensor.size,
        dims=tensor.shape,
        scale=_float(scale),
        zero_point=zero_point,
        shape=" x ".join(map(str, tensor.shape)),
        real=f"{_float(scale)} * (q {'-' if zero_point >= 0 else '+'} {abs(zero_point)})",
    )


def _float(value: float) -> str:
    """The shortest literal that is the same float32."""
    text = str(np.float32(value))
    return f"{text}f" if any(c in text for c in ".e") else f"{text}.0f"


@dataclass(frozen=True)
class _StepText:
    number: int
    comment: str
    arrays: tuple[str, ...]
    parameters: str
    call: str


def _step(name: str, number: int, step: Step, program: Program, plan: Plan) -> _StepText:
    prefix = f"{name}_{number}"
    constants = {
        tensor: ConstantArray(f"input_{position}", data.astype(np.int8).reshape(-1))
        for position, tensor in enumerate(step.inputs)
        if (data := program.graph.tensors[tensor].data) is not None
    }
    arrays = [*step.arrays(), *constants.values()]
    sources = [
        _Source(f"{prefix}_{constants[t].name}", *_natural_rows(program, t))
        if t in constants
        else _Source(_address(plan.rows[t].offset), *_kept_rows(program, plan, t))
        for t in step.inputs
    ]
    if step.reach is None and not step.is_joined:
        head, pointers = "run(", [source.address for source in sources]
    else:
        head, pointers = "row(", ["row", *map(str, sources)]
    if number in plan.state:
        pointers.append(f"(int32_t *)(void *)({_address(plan.state[number])})")
    if number in plan.scratch:
        pointers.append(_address(plan.scratch[number]))
    pointers.append(_made(program, step, plan.rows[step.output]))
    target = program.graph.tensors[step.output]
    shape = " x ".join(map(str, target.shape))
    return _StepText(
        number=number,
        comment=f"{step.operator} (operator {step.op_index}), {shape}: {_comment(target.name)}",
        arrays=tuple(array_text(prefix, array) for array in arrays),
        parameters=f"static const {step.parameter_type} {prefix} = "
        f"{_initializer(prefix, step.parameters, 0)};",
        call=_call(f"vp_nn_{step.kernel}_{head}", [f"&{prefix}", *pointers]),
    )


@dataclass(frozen=True)
class _Source:
    """An input of a row kernel: prints as a vp_nn_rows."""

    address: str
    stride: int
    ring: int

    def __str__(self) -> str:
        return f"&(vp_nn_rows){{{self.address}, {self.stride}, {self.ring}}}"


def _natural_rows(program: Program, tensor: int) -> tuple[int, int]:
    return program.layout(tensor).row_bytes, program.height(tensor)


def _kept_rows(program: Program, plan: Plan, tensor: int) -> tuple[int, int]:
    """A view of another tensor, which is whole then, has rows of its own."""
    if program.root(tensor) != tensor:
        return _natural_rows(program, tensor)
    return plan.rows[tensor].row_bytes, plan.rows[tensor].rows


def _made(program: Program, step: Step, buffer: Buffer) -> str:
    """Where the row that a call makes goes."""
    address = _address(buffer.offset)
    if step.reach is None or step.accumulates or buffer.rows == 1:
        return address
    row = "row" if buffer.rows == program.height(step.output) else f"row % {buffer.rows}"
    return f"{address} + {row} * {buffer.row_bytes}"


def _call(head: str, arguments: list[str]) -> str:
    """A call, broken into lines."""
    indent = " " * 12
    lines = [indent[4:] + head]
    for number, argument in enumerate(arguments):
        text = argument + (");" if number == len(arguments) - 1 else ",")
        if len(lines[-1]) + len(text) + 1 > _LINE_WIDTH:
            lines.append(indent + text)
        else:
            lines[-1] += text if lines[-1].endswith("(") else f" {text}"
    return "\n".join(lines).lstrip()


def _schedule(plan: Plan) -> ConstantArray:
    """Runs of calls of one step, as vp_model.schedule holds them: the input is stage 0."""
    entries = [
        (0 if step == INPUT else step + 1) | (calls - 1) << _STAGE_BITS
        for step, calls in plan.schedule.runs
    ]
    return ConstantArray("schedule", np.asarray(entries, dtype=np.uint16))


def _comment(text: str) -> str:
    """``text`` made safe inside a C comment."""
    safe = "".join(c if c.isascii() and c not in "\\*?" else "_" for c in text)
    return one_line(safe, _NAME_WIDTH)


def _address(offset: int) -> str:
    return f"memory + {offset}" if offset else "memory"


def array_text(prefix: str, array: ConstantArray) -> str:
    data = array.data
    widest = max(len(_literal(int(data.min()))), len(_literal(int(data.max()))))
    columns = (_LINE_WIDTH - len("   ")) // (widest + len(" ,"))
    lines = [
        "    " + ", ".join(map(_literal, data[first : first + columns].tolist())) + ","
        for first in range(0, data.size, columns)
    ]
    kind = _C_TYPES[str(array.data.dtype)]
    head = f"static const {kind} {prefix}_{array.name}[{array.data.size}] VP_NN_ALIGNED = {{"
    return "\n".join([head, *lines, "};"])


def _literal(value: int) -> str:
    return "INT32_MIN" if value == -(2**31) else str(value)


def _initializer(prefix: str, value: Value, depth: int) -> str:
    if isinstance(value, ConstantArray):
        return f"{prefix}_{value.name}"
    if isinstance(value, int):
        return _literal(value)
    if not isinstance(value, Mapping):
        return "{" + ", ".join(map(_literal, value)) + "}"
    indent = "    " * (depth + 1)
    fields = [
        f"{indent}.{key} = {_initializer(prefix, item, depth + 1)}," for key, item in value.items()
    ]
    return "\n".join(["{", *fields, "    " * depth + "}"])
