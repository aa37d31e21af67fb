"""From a .tflite file to a folder of C."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vp_converters.backends import for_kernels
from vp_converters.emit import emit
from vp_converters.errors import ConversionError
from vp_converters.files import write_folder
from vp_converters.lowering import lower
from vp_converters.lowering.step import Program
from vp_converters.names import check_identifier, identifier_from
from vp_converters.passes import Change, run_and_report
from vp_converters.planner import Plan, plan_memory
from vp_converters.reader import check_activation, read_file

HASH_SIZE = 8


@dataclass(frozen=True)
class StepInfo:
    """One kernel call, as reports and layer-by-layer comparisons see it.

    Attributes:
        op_index: the operator's place in the .tflite file.
        operator: its TFLite name.
        output: its output tensor's index in the file.
        calls: how often the kernel runs in one inference.
        group: number of the group of steps which run together, row by row.
        offset, rows: the ring in the arena that holds the output, and the rows it keeps.
        shape, scale, zero_point: of the output.
        macs: multiplications.
        weights: bytes of constants.
        scratch: bytes of scratch memory and state.
    """

    op_index: int
    operator: str
    kernel: str
    output: int
    name: str
    calls: int
    group: int
    offset: int
    rows: int
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    macs: int
    weights: int
    scratch: int


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A model planned and ready to be written.

    Attributes:
        name: C identifier.
        kernels: "portable", "dsp" or "mve".
        hash: the first 8 bytes of BLAKE2s-256 over the .tflite file, as in vp_model.hash.
        data: the .tflite file.
        changes: what the graph passes did.
    """

    name: str
    kernels: str
    hash: bytes
    data: bytes
    plan: Plan
    changes: tuple[Change, ...] = ()

    @property
    def program(self) -> Program:
        """What runs."""
        return self.plan.program

    @property
    def arena_size(self) -> int:
        """Bytes of working memory."""
        return self.plan.arena_size

    @property
    def weight_bytes(self) -> int:
        """Bytes of constants in flash: weights, biases, multipliers, shifts."""
        return self.program.constant_bytes

    @property
    def macs(self) -> int:
        """Multiplications of one inference."""
        return sum(step.macs for step in self.program.steps)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the int8 input."""
        return self.program.graph.tensors[self.program.graph.input].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the int8 output."""
        return self.program.graph.tensors[self.program.graph.output].shape

    def steps(self) -> list[StepInfo]:
        """The kernel calls in order."""
        result = []
        groups = {n: g for g, group in enumerate(self.plan.schedule.groups) for n in group}
        calls = Counter(call.step for call in self.plan.schedule.calls)
        for number, step in enumerate(self.program.steps):
            tensor = self.program.graph.tensors[step.output]
            scale, zero_point = check_activation(tensor)
            result.append(
                StepInfo(
                    op_index=step.op_index,
                    operator=step.operator,
                    kernel=step.kernel,
                    output=step.output,
                    name=tensor.name,
                    calls=calls[number],
                    group=groups[number],
                    offset=self.plan.rows[step.output].offset,
                    rows=self.plan.rows[step.output].rows,
                    shape=tensor.shape,
                    scale=scale,
                    zero_point=zero_point,
                    macs=step.macs,
                    weights=sum(array.size for array in step.arrays()),
                    scratch=step.scratch + step.state,
                )
            )
        return result

    def files(self) -> dict[str, str]:
        """The generated folder: path within it -> text."""
        texts = emit(self.name, self.hash, self.program, self.plan)
        texts["plan.json"] = json.dumps(self.report(), indent=2) + "\n"
        return texts

    def report(self) -> dict[str, Any]:
        """What `vp compile --json` prints and plan.json holds."""
        return {
            "name": self.name,
            "hash": self.hash.hex(),
            "kernels": self.kernels,
            "input": _border(self.program, self.program.graph.input),
            "output": _border(self.program, self.program.graph.output),
            "arena_bytes": self.arena_size,
            "weight_bytes": self.weight_bytes,
            "macs": self.macs,
            "steps": [vars(step) | {"shape": list(step.shape)} for step in self.steps()],
            "buffers": [
                vars(b) | {"tensors": list(b.tensors), "steps": list(b.steps)}
                for b in self.plan.buffers
            ],
        }

    def write(self, out_dir: str | Path) -> Path:
        """Writes the folder and returns it; files of an earlier run are replaced one by one.

        Raises:
            ConversionError: the folder cannot be written.
        """
        folder = Path(out_dir)
        try:
            write_folder(folder, self.files())
        except OSError as error:
            raise ConversionError(f"{folder}: {error.strerror or error}") from error
        return folder


def _border(program: Program, index: int) -> dict[str, Any]:
    tensor = program.graph.tensors[index]
    scale, zero_point = check_activation(tensor)
    return {"shape": list(tensor.shape), "scale": scale, "zero_point": zero_point}


def load_model(
    tflite_path: str | Path,
    name: str | None = None,
    kernels: str = "portable",
    ram: int | None = None,
) -> CompiledModel:
    """Reads, optimises and plans a model without writing anything.

    Args:
        tflite_path: an int8 .tflite file.
        name: C identifier; by default made from the file's name.
        kernels: "portable" C99, "dsp" for Armv7E-M, "mve" for Armv8.1-M.
        ram: bytes that the arena may take: the plan is then the one that needs the fewest
            instructions; by default it is the one with the smallest arena.

    Raises:
        ConversionError: the file cannot be read or compiled, the name is not an identifier, or
            ``ram`` is too little.
    """
    path = Path(tflite_path)
    identifier = identifier_from(path.stem) if name is None else check_identifier(name)
    data, graph = read_file(path)
    try:
        graph, changes = run_and_report(graph)
        plan = plan_memory(for_kernels(lower(graph), kernels), ram)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None
    return CompiledModel(
        name=identifier,
        kernels=kernels,
        hash=hashlib.blake2s(data).digest()[:HASH_SIZE],
        data=data,
        plan=plan,
        changes=changes,
    )


def compile_model(
    tflite_path: str | Path,
    out_dir: str | Path,
    name: str | None = None,
    kernels: str = "portable",
    ram: int | None = None,
) -> CompiledModel:
    """Compiles a model into a self-contained folder of C99.

    It holds <name>.c, <name>.h, the kernels that the model needs (nn/), the public headers (vp/),
    CMakeLists.txt and plan.json.

    Raises:
        ConversionError: as load_model, or the folder cannot be written.
    """
    model = load_model(tflite_path, name, kernels, ram)
    model.write(out_dir)
    return model
