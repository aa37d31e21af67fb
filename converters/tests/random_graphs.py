"""Random int8 graphs that reach the corners: extreme zero points, tiny and huge scale ratios,
saturation, odd shapes, strides beyond the kernel, dilation, groups, depth multipliers.

Every choice goes through a `random.Random`, so that hypothesis can drive and shrink it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tflite_builder import ModelBuilder

ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
POOL_KINDS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")


class GraphMaker:
    """Grows one model, operator by operator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.model = ModelBuilder()

    def chance(self, percent: int) -> bool:
        """True in about ``percent`` of 100 cases."""
        return self.rng.randrange(100) < percent

    def zero_point(self) -> int:
        """Often an end of the range."""
        return self.rng.choice((-128, 127, 0, self.rng.randint(-128, 127)))

    def scale(self) -> float:
        """A float32 within 2^-9 .. 2^2."""
        return float(np.float32(2.0 ** self.rng.uniform(-9, 2)))

    def input(self, shape: tuple[int, ...]) -> int:
        """The model's input."""
        return self.model.activation(shape, self.scale(), self.zero_point())

    def image(self, limit: int = 9, channels: int = 20) -> tuple[int, ...]:
        """A shape; one in four is a single pixel wide or high."""
        sides = [self.rng.randint(1, limit), self.rng.randint(1, limit)]
        if self.chance(25):
            sides[self.rng.randrange(2)] = 1
        return (1, *sides, self.rng.randint(1, channels))

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        """int8 values; one in six holds nothing but extremes."""
        data = np.random.default_rng(self.rng.getrandbits(32))
        if self.chance(17):
            return data.choice(np.array([-128, -127, 127], dtype=np.int8), shape)
        return data.integers(-127, 128, shape, dtype=np.int8)

    def ratio(self, products: int) -> float:
        """Ratio of scales that spreads sums of ``products`` over int8; sometimes far from it."""
        spread = 60 / (math.sqrt(products) * 73 * 73)
        if self.chance(12):
            return spread * 2.0 ** self.rng.uniform(-30, 25)
        return spread * 2.0 ** self.rng.uniform(-3, 2)

    def products_output(
        self, source: int, shape: tuple[int, ...], products: int, channels: int
    ) -> tuple[int, list[float]]:
        """(output tensor, weight scales) for sums of ``products`` products."""
        output = self.model.activation(shape, self.scale(), self.zero_point())
        base = self.ratio(products) * self.model.spec(output).scales[0]
        base /= self.model.spec(source).scales[0]
        count = channels if self.chance(70) else 1
        scales = [base * 2.0 ** self.rng.uniform(-2, 1) for _ in range(count)]
        return output, [max(float(np.float32(scale)), 1e-37) for scale in scales]

    def bias(self, source: int, scales: list[float], channels: int, products: int) -> list[int]:
        """The bias as a list of inputs to append: none, or a constant."""
        if self.chance(20):
            return []
        data = np.random.default_rng(self.rng.getrandbits(32))
        limit = 2**31 - 1 if self.chance(5) else int(math.sqrt(products) * 6000)
        values = data.integers(-limit, limit + 1, channels)
        input_scale = self.model.spec(source).scales[0]
        bias_scales = [float(np.float32(input_scale * scale)) for scale in scales]
        return [self.model.constant(values, "int32", bias_scales)]

    def window(self, sides: tuple[int, int], dilated: bool) -> dict[str, object]:
        """Random window options and output sides under "sides"."""
        while True:
            kernel = (self.rng.randint(1, 5), self.rng.randint(1, 5))
            stride = (self.rng.choice((1, 1, 2, 3, 6)), self.rng.choice((1, 1, 2, 3, 6)))
            dilation = (1, 1)
            if dilated and self.chance(30):
                dilation = (self.rng.randint(1, 3), self.rng.randint(1, 3))
            padding = self.rng.choice(("SAME", "VALID"))
            extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
            if padding == "SAME":
                out = [-(-s // t) for s, t in zip(sides, stride, strict=True)]
            else:
                both = zip(sides, extents, stride, strict=True)
                out = [(s + t - e) // t if s >= e else 0 for s, e, t in both]
            if min(out) > 0:
                return {
                    "kernel": kernel,
                    "stride": stride,
                    "dilation": dilation,
                    "padding": padding,
                    "sides": tuple(out),
                }

    def conv_2d(self, source: int) -> int:
        """CONV_2D, at times grouped."""
        _, height, width, depth = self.model.spec(source).shape
        window = self.window((height, width), dilated=True)
        kernel = (1, 1) if self.chance(30) else window["kernel"]
        if kernel == (1, 1) and window["kernel"] != (1, 1):
            window |= self._pointwise((height, width), window["stride"])
        groups = self.rng.choice([g for g in range(1, depth + 1) if depth % g == 0])
        groups = groups if self.chance(20) else 1
        channels = groups * self.rng.randint(1, max(1, 20 // groups))
        products = kernel[0] * kernel[1] * depth // groups
        shape = (1, *window["sides"], channels)
        output, scales = self.products_output(source, shape, products, channels)
        data = self.weights((channels, *kernel, depth // groups))
        weights = self.model.constant(data, scales=scales)
        bias = self.bias(source, scales, channels, products)
        self._convolution("CONV_2D", [source, weights, *bias], output, window)
        return output

    def _pointwise(self, sides: tuple[int, int], stride: tuple[int, int]) -> dict[str, object]:
        out = tuple(-(-s // t) for s, t in zip(sides, stride, strict=True))
        return {"dilation": (1, 1), "sides": out}

    def depthwise_conv_2d(self, source: int) -> int:
        """DEPTHWISE_CONV_2D, at times with a depth multiplier."""
        _, height, width, depth = self.model.spec(source).shape
        window = self.window((height, width), dilated=True)
        kernel = window["kernel"]
        multiplier = self.rng.randint(2, 4) if self.chance(25) else 1
        channels = depth * multiplier
        products = kernel[0] * kernel[1]
        shape = (1, *window["sides"], channels)
        output, scales = self.products_output(source, shape, products, channels)
        data = self.weights((1, *kernel, channels))
        weights = self.model.constant(data, scales=scales, axis=3)
        bias = self.bias(source, scales, channels, products)
        inputs = [source, weights, *bias]
        self._convolution("DEPTHWISE_CONV_2D", inputs, output, window, DepthMultiplier=multiplier)
        return output

    def _convolution(
        self, kind: str, inputs: list[int], output: int, window: dict[str, object], **more: int
    ) -> None:
        self.model.op(
            kind,
            inputs,
            [output],
            Padding=window["padding"],
            StrideH=window["stride"][0],
            StrideW=window["stride"][1],
            DilationHFactor=window["dilation"][0],
            DilationWFactor=window["dilation"][1],
            FusedActivationFunction=self.rng.choice(ACTIVATIONS),
            **more,
        )

    def fully_connected(self, source: int) -> int:
        """FULLY_CONNECTED, on one row or, for a matrix, on each of its rows."""
        shape = self.model.spec(source).shape
        depth = shape[-1] if len(shape) == 2 else math.prod(shape)
        rows = math.prod(shape) // depth
        channels = self.rng.randint(1, 20)
        output, scales = self.products_output(source, (rows, channels), depth, channels)
        weights = self.model.constant(self.weights((channels, depth)), scales=scales)
        bias = self.bias(source, scales, channels, depth)
        if not bias and self.chance(50):
            bias = [-1]
        activation = self.rng.choice(ACTIVATIONS)
        inputs = [source, weights, *bias]
        self.model.op("FULLY_CONNECTED", inputs, [output], FusedActivationFunction=activation)
        return output

    def pool_2d(self, source: int) -> int:
        """AVERAGE_POOL_2D or MAX_POOL_2D."""
        spec = self.model.spec(source)
        window = self.window((spec.shape[1], spec.shape[2]), dilated=False)
        shape = (1, *window["sides"], spec.shape[3])
        output = self.model.activation(shape, spec.scales[0], spec.zero_points[0])
        self.model.op(
            self.rng.choice(POOL_KINDS),
            [source],
            [output],
            Padding=window["padding"],
            StrideH=window["stride"][0],
            StrideW=window["stride"][1],
            FilterHeight=window["kernel"][0],
            FilterWidth=window["kernel"][1],
            FusedActivationFunction=self.rng.choice(ACTIVATIONS),
        )
        return output

    def _reduced(self, source: int) -> tuple[list[int], bool, tuple[int, ...]]:
        shape = self.model.spec(source).shape
        rank = len(shape)
        choices = [[1, 2], [2, 1], [-3, -2], [3], [1], [2], [1, 2, 3], [2, 3], [1, 1, 2]]
        axes = self.rng.choice(choices) if rank == 4 else [rank - 1]
        keep = self.chance(50)
        reduced = {axis % rank for axis in axes}
        kept = [
            1 if axis in reduced else size
            for axis, size in enumerate(shape)
            if keep or axis not in reduced
        ]
        return axes, keep, tuple(kept)

    def mean(self, source: int) -> int:
        """MEAN with other scales at its output."""
        axes, keep, shape = self._reduced(source)
        scale = self.model.spec(source).scales[0]
        factor = 2.0 ** (self.rng.uniform(-20, 15) if self.chance(15) else self.rng.uniform(-2, 1))
        output = self.model.activation(shape, float(np.float32(scale / factor)), self.zero_point())
        indices = self.model.constant(axes, "int32")
        self.model.op("MEAN", [source, indices], [output], KeepDims=keep)
        return output

    def reduce_max(self, source: int) -> int:
        """REDUCE_MAX."""
        axes, keep, shape = self._reduced(source)
        spec = self.model.spec(source)
        output = self.model.activation(shape, spec.scales[0], spec.zero_points[0])
        indices = self.model.constant(axes, "int32")
        self.model.op("REDUCE_MAX", [source, indices], [output], KeepDims=keep)
        return output

    def add(self, source: int) -> int:
        """ADD of an earlier tensor of the same shape, of itself, or of a constant to broadcast."""
        spec = self.model.spec(source)
        peers = [
            i for i, t in enumerate(self.model.tensors) if t.data is None and t.shape == spec.shape
        ]
        other = self.rng.choice(peers)
        if self.chance(40):
            shape = tuple(1 if self.chance(40) else size for size in spec.shape)
            shape = shape[self.rng.randrange(len(shape)) :]
            other = self.model.constant(
                self.weights(shape), scales=[self.scale()], zero_points=[self.zero_point()]
            )
        biggest = max(spec.scales[0], self.model.spec(other).scales[0])
        factor = 2.0 ** (self.rng.uniform(-10, 15) if self.chance(15) else self.rng.uniform(-1, 1))
        scale = float(np.float32(biggest / factor))
        output = self.model.activation(spec.shape, scale, self.zero_point())
        pair = [source, other] if self.chance(50) else [other, source]
        activation = self.rng.choice(ACTIVATIONS)
        self.model.op("ADD", pair, [output], FusedActivationFunction=activation)
        return output

    def pad(self, source: int) -> int:
        """PAD or PADV2."""
        spec = self.model.spec(source)
        amounts = [(self.rng.randint(0, 3), self.rng.randint(0, 3)) for _ in spec.shape]
        amounts[0] = (0, 0)
        if self.chance(50):
            amounts[-1] = (0, 0)
        shape = tuple(s + a + b for s, (a, b) in zip(spec.shape, amounts, strict=True))
        output = self.model.activation(shape, spec.scales[0], spec.zero_points[0])
        inputs = [source, self.model.constant(amounts, "int32")]
        if self.chance(40):
            value = self.rng.choice((spec.zero_points[0], self.zero_point()))
            inputs.append(
                self.model.constant([value], scales=spec.scales, zero_points=spec.zero_points)
            )
        self.model.op("PADV2" if len(inputs) == 3 else "PAD", inputs, [output])
        return output

    def softmax(self, source: int) -> int:
        """SOFTMAX over the last dimension."""
        spec = self.model.spec(source)
        output = self.model.activation(spec.shape, 1 / 256, -128)
        beta = self.rng.choice((1.0, 1.0, 0.25, 3.0))
        self.model.op("SOFTMAX", [source], [output], Beta=beta)
        return output

    def flatten(self, source: int) -> int:
        """RESHAPE to one row, half of the time through SHAPE, STRIDED_SLICE and PACK."""
        spec = self.model.spec(source)
        size = math.prod(spec.shape)
        output = self.model.activation((1, size), spec.scales[0], spec.zero_points[0])
        if self.chance(50):
            target = self.model.constant([self.rng.choice((1, -1)), size], "int32")
            self.model.op("RESHAPE", [source, target], [output])
            return output
        shape = self.model.computed_int32((len(spec.shape),))
        batch = self.model.computed_int32(())
        target = self.model.computed_int32((2,))
        zero, one = self.model.constant([0], "int32"), self.model.constant([1], "int32")
        columns = self.model.constant(self.rng.choice((size, -1)), "int32")
        self.model.op("SHAPE", [source], [shape], OutType="INT32")
        self.model.op("STRIDED_SLICE", [shape, zero, one, one], [batch], ShrinkAxisMask=1)
        self.model.op("PACK", [batch, columns], [target], ValuesCount=2, Axis=0)
        self.model.op("RESHAPE", [source, target], [output])
        return output


IMAGE_OPS: dict[str, Callable[[GraphMaker, int], int]] = {
    "conv_2d": GraphMaker.conv_2d,
    "depthwise_conv_2d": GraphMaker.depthwise_conv_2d,
    "pool_2d": GraphMaker.pool_2d,
    "add": GraphMaker.add,
    "pad": GraphMaker.pad,
    "mean": GraphMaker.mean,
    "reduce_max": GraphMaker.reduce_max,
    "softmax": GraphMaker.softmax,
    "fully_connected": GraphMaker.fully_connected,
    "flatten": GraphMaker.flatten,
}


@dataclass(frozen=True)
class Draft:
    """A model that can still be changed before it is written."""

    model: ModelBuilder
    input: int
    output: int

    def build(self) -> bytes:
        """The file's bytes."""
        return self.model.build([self.input], [self.output])


def single_op(rng: random.Random, kind: str) -> bytes:
    """A model of one operator (flatten: of its whole chain)."""
    return single_op_draft(rng, kind).build()


def single_op_draft(rng: random.Random, kind: str) -> Draft:
    """A model of one operator (flatten: of its whole chain)."""
    maker = GraphMaker(rng)
    source = maker.input(maker.image())
    return Draft(maker.model, source, _until_batch_one(maker, kind, source))


def _until_batch_one(maker: GraphMaker, kind: str, source: int) -> int:
    output = IMAGE_OPS[kind](maker, source)
    shape = maker.model.spec(output).shape
    if not shape or (len(shape) > 1 and shape[0] != 1):
        return maker.flatten(output)
    return output


def small_graph(rng: random.Random) -> bytes:
    """A model of up to eight image operators, half of them with a classifier's end."""
    return small_graph_draft(rng).build()


def small_graph_draft(rng: random.Random) -> Draft:
    """A model of up to eight image operators, half of them with a classifier's end."""
    maker = GraphMaker(rng)
    source = tensor = maker.input(maker.image(limit=12, channels=12))
    for _ in range(rng.randint(1, 8)):
        kinds = ["conv_2d", "conv_2d", "depthwise_conv_2d", "add", "add", "pool_2d", "pad"]
        tensor = IMAGE_OPS[rng.choice(kinds)](maker, tensor)
        if math.prod(maker.model.spec(tensor).shape) > 20000:
            break
    if maker.chance(50):
        if maker.chance(70):
            tensor = rng.choice((maker.mean, maker.reduce_max))(tensor)
        tensor = maker.flatten(tensor)
        tensor = maker.fully_connected(tensor)
        if maker.chance(60):
            tensor = maker.softmax(tensor)
    return Draft(maker.model, source, tensor)
