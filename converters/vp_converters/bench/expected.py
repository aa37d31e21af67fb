"""What tflite_micro answers, asked in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

import numpy as np

from vp_converters.errors import ConversionError
from vp_converters.oracle import Int8Array, Oracle

_CHUNK = 5


class Expected:
    """Answers that are computed while the caller does something else; use it in a `with`.

    tflite_micro ends its process where one of its own checks fails, hence the other process.

    Args:
        models: .tflite files that read_graph has accepted, all with the same input.
        inputs: int8, along the first axis.
    """

    def __init__(self, models: Sequence[bytes], inputs: Int8Array) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context)
        self._chunks: list[Future[list[Int8Array]]] = [
            self._pool.submit(run_models, models, inputs[start : start + _CHUNK])
            for start in range(0, len(inputs), _CHUNK)
        ]

    def __enter__(self) -> Expected:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def outputs(self, progress: Callable[[int], None] | None = None) -> list[Int8Array]:
        """For each model its outputs (int8, one flat row an input).

        Args:
            progress: called with the number of inputs done since the last call.

        Raises:
            ConversionError: tflite_micro is missing, refuses a model, or ended its process.
        """
        parts = []
        for chunk in self._chunks:
            try:
                part = chunk.result()
            except BrokenProcessPool:
                raise ConversionError(
                    "tflite_micro ended its process on this model: nothing to compare with"
                ) from None
            parts.append(part)
            if progress is not None:
                progress(len(part[0]))
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def run_models(models: Sequence[bytes], inputs: Int8Array) -> list[Int8Array]:
    """For each model its outputs, in this process."""
    oracles = [Oracle(data) for data in models]
    return [np.stack([oracle.run(one).reshape(-1) for one in inputs]) for oracle in oracles]
