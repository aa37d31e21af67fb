"""Builds a program around a model, runs it on an emulated board and reads what it wrote."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vp_converters.bench.footprint import Footprint, footprint
from vp_converters.compiler import CompiledModel
from vp_converters.host import Int8Array, program_files, sources_of
from vp_converters.target import Machine
from vp_converters.target.program import (
    compile_sources,
    link_alone,
    link_program,
    run_program,
    write_files,
)

Counts = npt.NDArray[np.int64]

_FOLDER = Path(__file__).parent
_ENTRY = "vp_bench_alone"
_CHUNK = 10
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
    instructions: Counts
    stages: Counts
    stack: int
    footprint: Footprint


def find_probe(model: CompiledModel) -> Probe:
    """The input of the last softmax: behind a softmax most differences cannot be seen."""
    program, plan = model.program, model.plan
    for number, step in reversed(list(enumerate(program.steps))):
        if step.operator != "SOFTMAX":
            continue
        tensor = step.inputs[0]
        if program.root(tensor) == program.graph.input:
            continue
        buffer = plan.rows[tensor]
        size = program.graph.tensors[tensor].size
        if buffer.size == size:
            return Probe(number + 1, buffer.offset, size, step.op_index, tensor)
    return Probe()


def measure(
    model: CompiledModel,
    machine: Machine,
    inputs: Int8Array,
    probe: Probe,
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Runs ``inputs`` (int8, along the first axis) on ``machine``.

    Args:
        progress: called with the number of inputs done since the last call.

    Raises:
        ConversionError: a tool is missing, the model is too large for the machine, or the program
            does not end well.
    """
    machine.check_tools()
    machine.check_size(model.weight_bytes, model.arena_size)
    with tempfile.TemporaryDirectory(prefix="vp-bench-") as temporary:
        work = Path(temporary)
        parts = _build(work, model, machine, probe)
        runs = []
        for start in range(0, len(inputs), _CHUNK):
            chunk = inputs[start : start + _CHUNK]
            runs.append(_run(work, model, machine, chunk, probe))
            if progress is not None:
                progress(len(chunk))
    return _joined(runs, probe, parts)


def _build(work: Path, model: CompiledModel, machine: Machine, probe: Probe) -> Footprint:
    files = program_files([model])
    for name in ("bench.c", "alone.c"):
        files[name] = (_FOLDER / name).read_text(encoding="utf-8")
    write_files(work, files)
    defines = {
        "MODEL": model.name,
        "ARENA_SIZE": f"{max(model.arena_size, 8)}u",
        "INPUT_SIZE": f"{int(np.prod(model.input_shape))}u",
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


@dataclass(frozen=True, eq=False)
class _Run:
    """What a program wrote: rows of outputs and probes, and the three parts of counts.bin."""

    rows: Int8Array
    stack: int
    instructions: Counts
    stages: Counts


def _run(
    work: Path, model: CompiledModel, machine: Machine, inputs: Int8Array, probe: Probe
) -> _Run:
    (work / "inputs.bin").write_bytes(np.ascontiguousarray(inputs).tobytes())
    run_program(work, machine, count=True, timeout=_TIMEOUT)
    counts = np.fromfile(work / "counts.bin", dtype="<u8").astype(np.int64)
    row_size = 2 * int(np.prod(model.output_shape)) + probe.size
    return _Run(
        rows=np.fromfile(work / "outputs.bin", dtype=np.int8).reshape(len(inputs), row_size),
        stack=int(counts[0]),
        instructions=counts[1 : 1 + len(inputs)],
        stages=counts[1 + len(inputs) :].reshape(-1, 2),
    )


def _joined(runs: Sequence[_Run], probe: Probe, parts: Footprint) -> Measurement:
    rows = np.concatenate([run.rows for run in runs])
    size = (rows.shape[1] - probe.size) // 2
    return Measurement(
        outputs=rows[:, :size],
        again=rows[:, size : 2 * size],
        probed=rows[:, 2 * size :],
        instructions=np.concatenate([run.instructions for run in runs]),
        stages=np.sum([run.stages for run in runs], axis=0),
        stack=max(run.stack for run in runs),
        footprint=parts,
    )
