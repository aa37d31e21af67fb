"""int8 outputs of a .tflite file, bit for bit what a node computes."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.preprocess import input_lut

_CHUNK = 50

Scores = NDArray[np.int8]

Track = Callable[[Iterable[Scores], int], Iterable[Scores]]
"""Wraps the results of so many chunks, for a progress bar."""


@dataclass(frozen=True)
class Int8Model:
    """A loaded .tflite file with one int8 input and one int8 output."""

    input_scale: float
    input_zero_point: int
    invoke: Callable[[NDArray[np.int8]], NDArray[np.int8]]
    """One input (1, rho, rho, C) -> the output (C,)."""

    def scores(self, pixels: NDArray[np.uint8]) -> Scores:
        """int8 (N, classes) of uint8 inputs (N, rho, rho, C), as cropped and resized."""
        quantized = input_lut(self.input_scale, self.input_zero_point)[pixels]
        return np.stack([self.invoke(quantized[i : i + 1]) for i in range(len(pixels))])


def evaluate_int8(
    tflite: bytes, pixels: NDArray[np.uint8], *, jobs: int = 1, track: Track | None = None
) -> Scores:
    """`Int8Model.scores` of a whole test split, with `jobs` processes."""
    chunks = [pixels[start : start + _CHUNK] for start in range(0, len(pixels), _CHUNK)]

    def collect(results: Iterable[Scores]) -> Scores:
        return np.concatenate(list(track(results, len(chunks)) if track else results))

    if jobs == 1:
        return collect(map(load_int8(tflite).scores, chunks))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _load_worker, (tflite,)) as pool:
        return collect(pool.map(_worker_scores, chunks))


_worker_model: Int8Model | None = None


def _load_worker(tflite: bytes) -> None:
    global _worker_model
    _worker_model = load_int8(tflite)


def _worker_scores(pixels: NDArray[np.uint8]) -> Scores:
    assert _worker_model is not None
    return _worker_model.scores(pixels)


def load_int8(tflite: bytes) -> Int8Model:
    """Load a model into the tflite_micro runtime, or TensorFlow's reference kernels without it.

    Both compute the same bits as the firmware; TensorFlow's default kernels (XNNPACK) differ by
    one in the last place, which is why they are not used. VpError if neither is installed.
    """
    if find_spec("tflite_micro") is not None:
        return _micro(tflite)
    if find_spec("tensorflow") is not None:
        return _reference(tflite)
    raise VpError("no int8 runtime: pip install 'variant-parallelism[train]'")


def _micro(tflite: bytes) -> Int8Model:
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(tflite)
    scale, zero_point = _quantization(interpreter.get_input_details(0))

    def invoke(image: NDArray[np.int8]) -> NDArray[np.int8]:
        interpreter.set_input(image, 0)
        interpreter.invoke()
        return np.array(interpreter.get_output(0)[0], np.int8)

    return Int8Model(scale, zero_point, invoke)


def _quantization(details: dict[str, dict[str, NDArray[np.generic]]]) -> tuple[float, int]:
    parameters = details["quantization_parameters"]
    return float(parameters["scales"][0]), int(parameters["zero_points"][0])


def _reference(tflite: bytes) -> Int8Model:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        interpreter = tf.lite.Interpreter(
            model_content=tflite,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
        )
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = source["quantization"]

    def invoke(image: NDArray[np.int8]) -> NDArray[np.int8]:
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(result["index"])[0], np.int8)

    return Int8Model(float(scale), int(zero_point), invoke)
