"""Builds a program around a model, runs it on an emulated board and reads what it wrote."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vp_converters.bench.footprint import Footprint, footprint
from vp_converters.compiler import CompiledModel
from vp_converters.errors import ConversionError
from vp_converters.host import Int8Array, program_files, sources_of
from vp_converters.target import Machine
from vp_converters.target.program import (
    compile_sources,
    link_alone,
    link_program,
    run_program,
    write_files,
)

_FOLDER = Path(__file__).parent
_ENTRY = "vp_bench_alone"
_TIMEOUT = 600.0


@dataclass(frozen=True)
class Probe:
    """An activation that is looked at before it is overwritten.

    Attributes:
        stage: ahead of which it stands complete in the arena; 0 for no probe.
        offset, size: where, in bytes.
        op_count, tensor: the model that ends with it: its first operators, and the output.
    """

    stage: int = 0
    offset: int = 0
    size: int = 1
    op_count: int = 0
    tensor: int = 0


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a run gave.

    Attributes:
        outputs, again: int8, one row an input: of the inference that was counted as a whole, and of
            the one that was counted stage by stage.
        probed: int8, one row an input: the probe.
        instructions: int64, of each inference.
        stages: int64 (steps, 2): instructions of all inferences together, and calls.
        stack: bytes.
    """

    outputs: Int8Array
    again: Int8Array
    probed: Int8Array
    instructions: np.ndarray[tuple[int], np.dtype[np.int64]]
    stages: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    stack: int
    footprint: Footprint


def find_probe(model: CompiledModel) -> Probe:
    """The input of the last softmax: behind a softmax most differences cannot be seen."""
    program, plan = model.program, model.plan
    for number, step in reversed(list(enumerate(program.steps))):
        if step.operator != "SOFTMAX":
            continue
        tensor = step.inputs[0]
        buffer = plan.rows[tensor]
        size = program.graph.tensors[tensor].size
        if buffer.size == size:
            return Probe(number + 1, buffer.offset, size, step.op_index, tensor)
    return Probe()


def measure(model: CompiledModel, machine: Machine, inputs: Int8Array, probe: Probe) -> Measurement:
    """Runs ``inputs`` (int8, along the first axis) on ``machine``.

    Raises:
        ConversionError: a tool is missing, the model is too large for the machine, or the program
            does not end well.
    """
    machine.check_tools()
    if model.arena_size > machine.arena_bytes:
        raise ConversionError(
            f"too large for {machine.name}: an arena of {model.arena_size:,} bytes, it has room "
            f"for {machine.arena_bytes:,}"
        )
    with tempfile.TemporaryDirectory(prefix="vp-bench-") as temporary:
        work = Path(temporary)
        parts = _build(work, model, machine, len(inputs), probe)
        (work / "inputs.bin").write_bytes(np.ascontiguousarray(inputs).tobytes())
        run_program(work, machine, count=True, timeout=_TIMEOUT)
        return _read(work, model, len(inputs), probe, parts)


def _build(
    work: Path, model: CompiledModel, machine: Machine, inputs: int, probe: Probe
) -> Footprint:
    files = program_files([model])
    for name in ("bench.c", "alone.c"):
        files[name] = (_FOLDER / name).read_text(encoding="utf-8")
    write_files(work, files)
    defines = {
        "MODEL": model.name,
        "ARENA_SIZE": f"{max(model.arena_size, 8)}u",
        "INPUT_SIZE": f"{int(np.prod(model.input_shape))}u",
        "INPUTS": f"{inputs}u",
        "STAGES": f"{len(model.program.steps) + 1}u",
        "PROBE_STAGE": f"{probe.stage}u",
        "PROBE_OFFSET": f"{probe.offset}u",
        "PROBE_SIZE": f"{probe.size}u",
    }
    sources = ["bench.c", "alone.c", *machine.sources, *sources_of(files)]
    objects = compile_sources(
        work, machine, sources, [f"VP_BENCH_{name}={value}" for name, value in defines.items()]
    )
    bench, alone, *rest = objects
    start, kernels = rest[: len(machine.sources)], rest[len(machine.sources) :]
    link_program(work, machine, [bench, *start, *kernels])
    link_alone(work, machine, [alone, *kernels], _ENTRY, "alone.elf")
    return footprint((work / "alone.elf").read_bytes())


def _read(
    work: Path, model: CompiledModel, inputs: int, probe: Probe, parts: Footprint
) -> Measurement:
    size = int(np.prod(model.output_shape))
    rows = np.fromfile(work / "outputs.bin", dtype=np.int8).reshape(inputs, 2 * size + probe.size)
    counts = np.fromfile(work / "counts.bin", dtype="<u8").astype(np.int64)
    return Measurement(
        outputs=rows[:, :size],
        again=rows[:, size : 2 * size],
        probed=rows[:, 2 * size :],
        instructions=counts[1 : 1 + inputs],
        stages=counts[1 + inputs :].reshape(-1, 2),
        stack=int(counts[0]),
        footprint=parts,
    )
