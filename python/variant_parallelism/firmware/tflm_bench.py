"""`vp bench --runtime tflm`: a model on TensorFlow Lite Micro, measured as a compiled one is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from variant_parallelism.errors import VpError
from variant_parallelism.firmware.tflm_checkout import CXX, TflmCheckout
from variant_parallelism.firmware.tflm_model import read_tflm_model
from variant_parallelism.firmware.tflm_program import TflmMeasurement, TflmProgram

# What the model without its softmax might need more.
_ROOM = 4096

if TYPE_CHECKING:
    from vp_converters.bench import BenchResult
    from vp_converters.bench.comparison import Comparison


def bench_tflm(
    path: Path,
    board: str,
    checkout: TflmCheckout,
    inputs: int,
    progress: Callable[[int], None] | None = None,
    seed: int = 1,
) -> BenchResult:
    """Run a model on TensorFlow Lite Micro on an emulated board and compare it with tflite_micro.

    Arguments and result are those of vp_converters.bench.bench_model. The result's kernels are
    "TFLM CMSIS-NN" or "TFLM reference" ones; its arena is measured; starting the interpreter, once
    in a board's life, is not among its instructions, its model file is among its constants.

    Raises:
        VpError: the checkout cannot run the model, or a tool is missing.
    """
    from vp_converters import ConversionError
    from vp_converters.bench import find_board, random_inputs
    from vp_converters.bench.comparison import BEFORE_SOFTMAX, OUTPUT, compare
    from vp_converters.bench.expected import Expected
    from vp_converters.names import identifier_from

    try:
        flags = " ".join(find_board(board).flags)
        model = read_tflm_model(path, f"model_{identifier_from(path.stem)}"[:60])
        values = random_inputs(model.input.shape, inputs, seed)
        models = [model]
        if (before := model.before_softmax()) is not None:
            models.append(before)
        with Expected([each.data for each in models], values) as expected:
            program = TflmProgram(model, checkout, flags)
            arena = program.measure_arena()
            measured = program.run(values, arena, progress)
            parts = [(OUTPUT, measured.outputs), (OUTPUT, measured.again)]
            if before is not None:
                shorter = TflmProgram(before, checkout, flags).run(values, arena + _ROOM)
                parts.append((BEFORE_SOFTMAX, shorter.outputs))
            answers = expected.outputs(progress)
    except (ConversionError, VpError) as error:
        raise VpError(f"{path}: {error}") from None
    wanted = [answers[0], answers[0], *answers[1:]]
    pairs = [(what, got, want) for (what, got), want in zip(parts, wanted, strict=True)]
    return _result(path, program, board, arena, measured, compare(pairs[::-1]))


def _result(
    path: Path,
    program: TflmProgram,
    board: str,
    arena: int,
    measured: TflmMeasurement,
    comparison: Comparison,
) -> BenchResult:
    from vp_converters.bench import BenchResult, OperatorCount, tool_version

    model, machine = program.model, program.machine
    count = len(measured.outputs)
    operators = tuple(
        OperatorCount(
            op_index=one.index,
            operator=one.kind,
            kernel=one.kind,
            shape=one.shape,
            macs=one.macs,
            calls=1,
            instructions=round(int(instructions) / count),
        )
        for one, instructions in zip(model.operators, measured.operators, strict=True)
    )
    return BenchResult(
        model=path.stem,
        hash=model.hash.hex(),
        board=board,
        core=machine.core,
        kernels=f"TFLM {program.library.kernels}",
        compiler=f"{CXX} {tool_version(CXX, '-dumpfullversion')}",
        flags=f"those of {program.library.path.parents[1].name}",
        emulator=tool_version(machine.run[0], "--version"),
        instructions=round(float(measured.instructions.mean())),
        instructions_range=(int(measured.instructions.min()), int(measured.instructions.max())),
        operators=operators,
        macs=sum(one.macs for one in model.operators),
        input_bytes=model.input.size,
        arena_bytes=arena,
        footprint=measured.footprint,
        stack_bytes=measured.stack,
        inputs_checked=count,
        compared=comparison.compared,
        mismatches=comparison.mismatches,
        difference=comparison.difference,
    )
