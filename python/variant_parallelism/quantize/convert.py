"""One Keras model -> one full-int8 .tflite file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError


def convert_int8(model: Any, calibration: NDArray[np.float32]) -> bytes:
    """The .tflite file of `model`, int8 inside, int8 in and out.

    `calibration` (N, rho, rho, C) are real inputs: their activations fix the quantization ranges.
    Runs on the TensorFlow backend of Keras. Goes through a SavedModel, because calibration of a
    Keras 3 model's concrete functions fails (READ_VARIABLE). Raises VpError if TensorFlow's
    converter does.
    """
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise VpError("quantization needs KERAS_BACKEND=tensorflow")
    with tempfile.TemporaryDirectory(prefix="vp-export-") as folder, _quiet() as output:
        try:
            model.export(folder, verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
            return bytes(converter.convert())
        except (ValueError, RuntimeError) as error:
            reason = (str(error).strip() or output()).splitlines()[-1]
            raise VpError(f"conversion of {model.name} to int8 failed: {reason}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Keeps the converter's chatter, which native code writes, out of the user's terminal.

    Yields a function that returns what was written.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as sink:

        def output() -> str:
            sink.seek(0)
            return sink.read().decode(errors="replace")

        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield output
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, target)
                os.close(copy)
