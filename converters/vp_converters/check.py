"""Compares a compiled model with tflite_micro on random inputs, and finds where they differ."""

from __future__ import annotations

import multiprocessing
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from vp_converters.compiler import CompiledModel, StepInfo, load_model
from vp_converters.errors import ConversionError
from vp_converters.host import HostModel, Int8Array
from vp_converters.oracle import Oracle, cut
from vp_converters.target import BOARDS, run_on_target

CHUNK = 20


@dataclass(frozen=True)
class CheckResult:
    """Outcome of a comparison.

    Attributes:
        inputs: inputs compared.
        mismatches: inputs whose outputs differ.
        first_difference: the first operator that computes another value, for the first such input.
    """

    inputs: int
    mismatches: int
    first_difference: str | None = None


def check_model(
    model: CompiledModel, inputs: int, progress: Callable[[int], None] | None = None, seed: int = 1
) -> CheckResult:
    """Runs ``inputs`` random inputs through the C and through tflite_micro.

    Portable C runs on the host, kernels of an instruction set on an emulated board that has it.

    The work is done in another process: tflite_micro ends its process where one of its own checks
    fails (a softmax over 512 equal classes, for instance).

    Args:
        progress: called with the number of inputs compared since the last call.

    Raises:
        ConversionError: no C compiler, no tflite_micro, or it ended its process.
    """
    total, mismatches, difference = 0, 0, None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        for start in range(0, inputs, CHUNK):
            count = min(CHUNK, inputs - start)
            try:
                part = pool.submit(compare, model, count, (seed, start)).result()
            except BrokenProcessPool:
                raise ConversionError(
                    "tflite_micro ended its process on this model: nothing to compare with"
                ) from None
            total += part.inputs
            mismatches += part.mismatches
            difference = difference or part.first_difference
            if progress is not None:
                progress(count)
    return CheckResult(total, mismatches, difference)


def compare(model: CompiledModel, count: int, seed: tuple[int, int]) -> CheckResult:
    """What check_model does for some of its inputs, in this process."""
    oracle = Oracle(model.data)
    random = np.random.default_rng(seed)
    shape = (count, *model.input_shape)
    inputs = random.integers(-128, 128, shape, dtype=np.int8)
    outputs, difference = _runners(model)
    wrong = [
        values
        for values, output in zip(inputs, outputs(model, inputs), strict=True)
        if not np.array_equal(output, oracle.run(values))
    ]
    return CheckResult(count, len(wrong), difference(model, wrong[0]) if wrong else None)


def _runners(
    model: CompiledModel,
) -> tuple[
    Callable[[CompiledModel, Int8Array], Sequence[Int8Array]],
    Callable[[CompiledModel, Int8Array], str | None],
]:
    """What runs a batch, and what explains a difference for one input."""
    if model.kernels == "portable":
        return _on_the_host, lambda model, values: first_difference(HostModel(model), values)
    board = next(board for board in BOARDS.values() if board.kernels[0] == model.kernels)

    def run(model: CompiledModel, inputs: Int8Array) -> Sequence[Int8Array]:
        return list(run_on_target([model], [inputs], board)[0].outputs)

    return run, lambda model, values: first_cut_difference(model, values, run)


def _on_the_host(model: CompiledModel, inputs: Int8Array) -> Sequence[Int8Array]:
    host = HostModel(model)
    return [host.run(values) for values in inputs]


def first_cut_difference(
    model: CompiledModel,
    values: Int8Array,
    run: Callable[[CompiledModel, Int8Array], Sequence[Int8Array]],
) -> str | None:
    """The first operator at which the network, cut off behind it, differs."""
    steps = model.steps()

    def differs(step: StepInfo) -> bool:
        part = cut(model.data, step.op_index + 1, step.output)
        with TemporaryDirectory(prefix="vp-check-") as folder:
            path = Path(folder) / "part.tflite"
            path.write_bytes(part)
            output = run(load_model(path, kernels=model.kernels), values[np.newaxis])[0]
        return not np.array_equal(output, Oracle(part).run(values))

    found = bisect_left(steps, True, key=differs)
    if found == len(steps):
        return None
    return f"operator {steps[found].op_index} {steps[found].operator}"


def first_difference(host: HostModel, values: Int8Array) -> str | None:
    """The first operator whose output is not tflite_micro's, with the size of the difference."""
    data = host.compiled.data
    for step, layer in host.trace(values):
        expected = Oracle(cut(data, step.op_index + 1, step.output)).run(values)
        if layer.size < expected.size:
            expected = expected[:, : layer.shape[1]]
        wrong = int(np.count_nonzero(expected.reshape(-1) != layer.reshape(-1)))
        if wrong:
            worst = int(np.abs(expected.astype(int) - layer.reshape(expected.shape)).max())
            return (
                f"operator {step.op_index} {step.operator}: {wrong} of {layer.size} values, "
                f"off by up to {worst}"
            )
    return None
