"""Small networks of chosen shapes, for tests that need to know what they look like."""

from __future__ import annotations

import numpy as np

from plan_simulation import program_of
from tflite_builder import ModelBuilder
from vp_converters.lowering.step import Program


class Net:
    """Builds small networks of fixed shapes; all tensors have the same scale."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.model = ModelBuilder()
        self.input = self.tensor(shape)

    def tensor(self, shape: tuple[int, ...]) -> int:
        """An activation."""
        return self.model.activation(shape, 0.1, 0)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor."""
        return self.model.spec(tensor).shape

    def conv(
        self,
        source: int,
        kernel: int = 3,
        stride: int = 1,
        padding: str = "SAME",
        channels: int = 4,
        activation: str = "NONE",
    ) -> int:
        """CONV_2D with a square kernel."""
        _, *sides, depth = self.shape(source)
        if padding == "SAME":
            sides = [-(-side // stride) for side in sides]
        else:
            sides = [(side - kernel) // stride + 1 for side in sides]
        weights = self.model.constant(
            np.ones((channels, kernel, kernel, depth), np.int8), scales=[0.01]
        )
        output = self.tensor((1, *sides, channels))
        self.model.op(
            "CONV_2D",
            [source, weights, -1],
            [output],
            Padding=padding,
            StrideH=stride,
            StrideW=stride,
            DilationHFactor=1,
            DilationWFactor=1,
            FusedActivationFunction=activation,
        )
        return output

    def pad(self, source: int, amount: int) -> int:
        """PAD of rows and columns."""
        _, height, width, depth = self.shape(source)
        output = self.tensor((1, height + 2 * amount, width + 2 * amount, depth))
        sides = [[0, 0], [amount, amount], [amount, amount], [0, 0]]
        self.model.op("PAD", [source, self.model.constant(sides, "int32")], [output])
        return output

    def softmax(self, source: int) -> int:
        """SOFTMAX."""
        output = self.model.activation(self.shape(source), 1 / 256, -128)
        self.model.op("SOFTMAX", [source], [output], Beta=1.0)
        return output

    def add(self, a: int, b: int) -> int:
        """ADD."""
        output = self.tensor(self.shape(a))
        self.model.op("ADD", [a, b], [output])
        return output

    def mean(self, source: int) -> int:
        """MEAN over the image."""
        output = self.tensor((1, self.shape(source)[3]))
        axes = self.model.constant([1, 2], "int32")
        self.model.op("MEAN", [source, axes], [output], KeepDims=False)
        return output

    def reshape(self, source: int, shape: tuple[int, ...]) -> int:
        """RESHAPE."""
        output = self.tensor(shape)
        target = self.model.constant(list(shape), "int32")
        self.model.op("RESHAPE", [source, target], [output])
        return output

    def data(self, output: int) -> bytes:
        """The .tflite file of what leads to ``output``."""
        return self.model.build([self.input], [output])

    def program(self, output: int) -> Program:
        """The steps up to ``output``."""
        return program_of(self.data(output))
