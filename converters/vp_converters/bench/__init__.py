"""Measures a model on an emulated board and compares what it answers with tflite_micro."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vp_converters.bench.comparison import BEFORE_SOFTMAX, OUTPUT, Comparison, compare
from vp_converters.bench.expected import Expected
from vp_converters.bench.measurement import Measurement, Probe, find_probe, measure
from vp_converters.bench.result import BenchResult, OperatorCount
from vp_converters.compiler import CompiledModel, load_model
from vp_converters.errors import ConversionError
from vp_converters.host import Int8Array
from vp_converters.oracle import cut
from vp_converters.target import BOARDS, Machine

__all__ = ["BenchResult", "OperatorCount", "bench_model", "best_kernels", "find_board"]

DEFAULT_INPUTS = 30


def find_board(name: str) -> Machine:
    """The emulated board called ``name``.

    Raises:
        ConversionError: there is none.
    """
    if name not in BOARDS:
        raise ConversionError(f"board {name!r} is not one of {', '.join(BOARDS)}")
    return BOARDS[name]


def best_kernels(machine: Machine) -> str:
    """The fastest kernels that there are for the board."""
    for kernels in machine.kernels:
        if kernels == "portable" or find_spec(f"vp_converters.backends.{kernels}") is not None:
            return kernels
    raise ConversionError(f"no kernels for {machine.name}")


def bench_model(
    path: str | Path,
    board: str,
    kernels: str | None = None,
    inputs: int = DEFAULT_INPUTS,
    progress: Callable[[int], None] | None = None,
    seed: int = 1,
    ram: int | None = None,
) -> BenchResult:
    """Compiles a model, runs it on an emulated board and compares it with tflite_micro.

    Args:
        path: an int8 .tflite file.
        board: one of BOARDS.
        kernels: "portable", "dsp" or "mve"; by default the best of the board.
        inputs: random inputs, at least 1.
        progress: called with the amount of work done since the last call; ``inputs`` units for the
            run on the board, ``inputs`` units for tflite_micro.
        ram: as load_model takes it.

    Raises:
        ConversionError: the model cannot be compiled or does not fit, the board cannot run such
            kernels, or a tool is missing.
    """
    machine = find_board(board)
    machine.check_tools()
    chosen = kernels or best_kernels(machine)
    if chosen not in machine.kernels:
        raise ConversionError(
            f"{board} ({machine.core}) has no {chosen} kernels: choose "
            f"{' or '.join(machine.kernels)}"
        )
    model = load_model(path, kernels=chosen, ram=ram)
    probe = find_probe(model)
    values = random_inputs(model.input_shape, inputs, seed)
    references = [model.data]
    if probe.stage:
        references.append(cut(model.data, probe.op_count, probe.tensor))
    try:
        with Expected(references, values) as expected:
            measured = measure(model, machine, values, probe, progress)
            answers = expected.outputs(progress)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None
    return _result(model, machine, measured, _compare(measured, answers, probe))


def random_inputs(shape: tuple[int, ...], count: int, seed: int) -> Int8Array:
    """Uniform values; every fourth input has the two extremes alone."""
    random = np.random.default_rng(seed)
    values = random.integers(-128, 128, (count, *shape), dtype=np.int8)
    values[3::4] = np.where(values[3::4] < 0, np.int8(-128), np.int8(127))
    return values


def _compare(measured: Measurement, answers: Sequence[Int8Array], probe: Probe) -> Comparison:
    parts = [(OUTPUT, output, answers[0]) for output in (measured.outputs, measured.again)]
    if probe.stage:
        parts.insert(0, (BEFORE_SOFTMAX, measured.probed, answers[1]))
    return compare(parts)


def _result(
    model: CompiledModel, machine: Machine, measured: Measurement, comparison: Comparison
) -> BenchResult:
    count = len(measured.outputs)
    operators = tuple(
        OperatorCount(
            op_index=step.op_index,
            operator=step.operator,
            kernel=step.kernel,
            shape=step.shape,
            macs=step.macs,
            calls=round(int(calls) / count),
            instructions=round(int(instructions) / count),
        )
        for step, (instructions, calls) in zip(model.steps(), measured.stages, strict=True)
    )
    return BenchResult(
        model=model.name,
        hash=model.hash.hex(),
        board=machine.name,
        core=machine.core,
        kernels=model.kernels,
        compiler=f"{machine.compiler} {tool_version(machine.compiler, '-dumpfullversion')}",
        flags=" ".join(machine.flags),
        emulator=tool_version(machine.run[0], "--version"),
        instructions=round(float(measured.instructions.mean())),
        instructions_range=(int(measured.instructions.min()), int(measured.instructions.max())),
        operators=operators,
        macs=model.macs,
        input_bytes=int(np.prod(model.input_shape)),
        arena_bytes=model.arena_size,
        footprint=measured.footprint,
        stack_bytes=measured.stack,
        inputs_checked=count,
        compared=comparison.compared,
        mismatches=comparison.mismatches,
        difference=comparison.difference,
    )


def tool_version(tool: str, option: str) -> str:
    """The first line of what a tool prints about itself."""
    result = subprocess.run([tool, option], capture_output=True, text=True, check=False)
    return result.stdout.partition("\n")[0].strip()
