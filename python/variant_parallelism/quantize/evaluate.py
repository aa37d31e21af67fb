"""int8 outputs of a .tflite file, bit for bit what a node computes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.preprocess import input_lut

Track = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Int8Model:
    """A loaded .tflite file with one int8 input and one int8 output."""

    input_scale: float
    input_zero_point: int
    invoke: Callable[[NDArray[np.int8]], NDArray[np.int8]]
    """One input (1, rho, rho, C) -> the output (C,)."""

    def scores(
        self, pixels: NDArray[np.uint8], track: Track = lambda indices: indices
    ) -> NDArray[np.int8]:
        """int8 (N, classes) of uint8 inputs (N, rho, rho, C), as cropped and resized."""
        quantized = input_lut(self.input_scale, self.input_zero_point)[pixels]
        return np.stack([self.invoke(quantized[i : i + 1]) for i in track(range(len(pixels)))])


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
