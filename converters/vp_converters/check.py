"""Compares a compiled model with tflite_micro on random inputs, and finds where they differ."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from vp_converters.compiler import CompiledModel
from vp_converters.errors import ConversionError
from vp_converters.host import HostModel, Int8Array
from vp_converters.oracle import Oracle, cut

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
    """Runs ``inputs`` random inputs on the host's build of the C and in tflite_micro.

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
    host = HostModel(model)
    oracle = Oracle(model.data)
    random = np.random.default_rng(seed)
    mismatches = 0
    difference = None
    for _ in range(count):
        values = random.integers(-128, 128, model.input_shape, dtype=np.int8)
        if not np.array_equal(host.run(values), oracle.run(values)):
            mismatches += 1
            difference = difference or first_difference(host, values)
    return CheckResult(count, mismatches, difference)


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
