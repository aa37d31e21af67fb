"""Random networks of the families that people deploy, in odd sizes: what decides how rows flow
through a schedule, where random_graphs.py varies the arithmetic.

Every choice goes through a `random.Random`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from random_graphs import ACTIVATIONS, Draft, GraphMaker

CLASSES = (2, 3, 10, 10, 101, 1000)


class NetworkMaker(GraphMaker):
    """Grows a network layer by layer."""

    def sides(self, most: int = 25) -> tuple[int, int]:
        """(height, width): square, oblong, or a single row or column."""
        height, width = self.rng.randint(3, most), self.rng.randint(3, most)
        if self.chance(12):
            return self.rng.choice(((1, 3 * width), (3 * height, 1)))
        return (height, height) if self.chance(40) else (height, width)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """A tensor's shape."""
        return self.model.spec(tensor).shape

    def pixels(self, channels: int, most: int = 25) -> int:
        """The input, an image."""
        return self.input((1, *self.sides(most), channels))

    def conv(
        self, source: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
    ) -> int:
        """CONV_2D, SAME; now and then VALID where the kernel fits."""
        height, width, depth = self.shape(source)[1:]
        window = self._fixed((height, width), kernel, stride)
        products = kernel[0] * kernel[1] * depth
        shape = (1, *window["sides"], channels)
        output, scales = self.products_output(source, shape, products, channels)
        weights = self.model.constant(self.weights((channels, *kernel, depth)), scales=scales)
        bias = self.bias(source, scales, channels, products)
        self._convolution("CONV_2D", [source, weights, *bias], output, window)
        return output

    def depthwise(
        self, source: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
    ) -> int:
        """DEPTHWISE_CONV_2D with a multiplier of 1."""
        height, width, depth = self.shape(source)[1:]
        window = self._fixed((height, width), kernel, stride)
        products = kernel[0] * kernel[1]
        shape = (1, *window["sides"], depth)
        output, scales = self.products_output(source, shape, products, depth)
        data = self.weights((1, *kernel, depth))
        weights = self.model.constant(data, scales=scales, axis=3)
        inputs = [source, weights, *self.bias(source, scales, depth, products)]
        self._convolution("DEPTHWISE_CONV_2D", inputs, output, window, DepthMultiplier=1)
        return output

    def _fixed(
        self, sides: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]
    ) -> dict[str, object]:
        fits = all(side >= size for side, size in zip(sides, kernel, strict=True))
        padding = "VALID" if fits and self.chance(15) else "SAME"
        cut = [size - 1 if padding == "VALID" else 0 for size in kernel]
        both = zip(sides, cut, stride, strict=True)
        out = tuple(-(-(side - less) // step) for side, less, step in both)
        fixed = {"kernel": kernel, "stride": stride, "dilation": (1, 1)}
        return {**fixed, "padding": padding, "sides": out}

    def step(self) -> tuple[int, int]:
        """A stride: usually 1 or 2 both ways."""
        return self.rng.choice(((1, 1), (1, 1), (2, 2), (2, 2), (2, 1), (1, 2), (3, 3)))

    def kernel(self) -> tuple[int, int]:
        """A kernel: usually 3 x 3, now and then larger than the images here."""
        return self.rng.choice(((3, 3), (3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (2, 2), (9, 7)))

    def sum(self, a: int, b: int) -> int:
        """ADD of two tensors of one shape."""
        scale = max(self.model.spec(a).scales[0], self.model.spec(b).scales[0])
        output = self.model.activation(self.shape(a), scale * 1.3, self.zero_point())
        activation = self.rng.choice(ACTIVATIONS)
        self.model.op("ADD", [a, b], [output], FusedActivationFunction=activation)
        return output

    def head(self, tensor: int) -> int:
        """A classifier: pixels to one, a matrix or a convolution, at times a softmax."""
        classes = self.rng.choice(CLASSES)
        large = math.prod(self.shape(tensor)) > 600
        if len(self.shape(tensor)) == 4 and (large or self.chance(70)):
            tensor = self.rng.choice((self.global_pool, self.global_mean))(tensor)
        if len(self.shape(tensor)) == 4 and self.chance(30):
            tensor = self.conv(tensor, classes, (1, 1))
        tensor = self.flatten(tensor)
        if self.shape(tensor)[-1] != classes:
            tensor = self.dense(tensor, classes)
        # tflite_micro's softmax stops the program where 512 classes are equal.
        return self.softmax(tensor) if self.chance(60 if classes < 1000 else 20) else tensor

    def global_pool(self, source: int) -> int:
        """AVERAGE_POOL_2D or MAX_POOL_2D over the whole image."""
        spec = self.model.spec(source)
        sides = spec.shape[1:3]
        output = self.model.activation(
            (1, 1, 1, spec.shape[3]), spec.scales[0], spec.zero_points[0]
        )
        self.model.op(
            self.rng.choice(("AVERAGE_POOL_2D", "MAX_POOL_2D")),
            [source],
            [output],
            Padding="VALID",
            StrideH=1,
            StrideW=1,
            FilterHeight=sides[0],
            FilterWidth=sides[1],
        )
        return output

    def global_mean(self, source: int) -> int:
        """MEAN or REDUCE_MAX over the whole image."""
        spec = self.model.spec(source)
        keep = self.chance(50)
        shape = (1, 1, 1, spec.shape[3]) if keep else (1, spec.shape[3])
        output = self.model.activation(shape, spec.scales[0], spec.zero_points[0])
        axes = self.model.constant([1, 2], "int32")
        kind = self.rng.choice(("MEAN", "REDUCE_MAX"))
        self.model.op(kind, [source, axes], [output], KeepDims=keep)
        return output

    def dense(self, source: int, channels: int) -> int:
        """FULLY_CONNECTED from one row."""
        depth = math.prod(self.shape(source))
        output, scales = self.products_output(source, (1, channels), depth, channels)
        weights = self.model.constant(self.weights((channels, depth)), scales=scales)
        inputs = [source, weights, *self.bias(source, scales, channels, depth)]
        activation = self.rng.choice(ACTIVATIONS)
        self.model.op("FULLY_CONNECTED", inputs, [output], FusedActivationFunction=activation)
        return output


def _channels(rng: random.Random) -> int:
    return rng.choice((1, 3, 4, 7, 8, 8, 12, 16, 16, 17, 24, 32))


def separable(maker: NetworkMaker) -> tuple[int, int]:
    """As MobileNet V1: depthwise and 1x1 convolutions, no residuals."""
    source = maker.pixels(maker.rng.choice((1, 3)))
    tensor = maker.conv(source, _channels(maker.rng), (3, 3), (2, 2))
    for _ in range(maker.rng.randint(1, 5)):
        tensor = maker.depthwise(tensor, maker.kernel(), maker.step())
        tensor = maker.conv(tensor, _channels(maker.rng), (1, 1))
    return source, maker.head(tensor)


def inverted_residual(maker: NetworkMaker) -> tuple[int, int]:
    """As MobileNet V2: expand, depthwise, project, add."""
    source = maker.pixels(maker.rng.choice((1, 3)))
    tensor = maker.conv(source, _channels(maker.rng), (3, 3), (2, 2))
    for _ in range(maker.rng.randint(1, 3)):
        channels = maker.shape(tensor)[3]
        stride = maker.rng.choice(((1, 1), (1, 1), (2, 2)))
        inner = maker.conv(tensor, channels * maker.rng.randint(2, 4), (1, 1))
        inner = maker.depthwise(inner, (3, 3), stride)
        inner = maker.conv(inner, channels, (1, 1))
        same = maker.shape(inner) == maker.shape(tensor)
        tensor = maker.sum(tensor, inner) if same else inner
    return source, maker.head(tensor)


def convolutional(maker: NetworkMaker) -> tuple[int, int]:
    """Convolutions with pools between them."""
    source = tensor = maker.pixels(maker.rng.choice((1, 2, 3, 4)))
    for _ in range(maker.rng.randint(1, 4)):
        tensor = maker.conv(tensor, _channels(maker.rng), maker.kernel(), maker.step())
        if maker.chance(60):
            tensor = maker.pool_2d(tensor)
    return source, maker.head(tensor)


def fully_connected(maker: NetworkMaker) -> tuple[int, int]:
    """Matrices only, from a vector or a small image."""
    source = maker.pixels(1, 8) if maker.chance(50) else maker.input((1, maker.rng.randint(1, 90)))
    tensor = maker.flatten(source)
    for _ in range(maker.rng.randint(1, 4)):
        tensor = maker.dense(tensor, maker.rng.randint(1, 70))
    return source, maker.head(tensor)


def branches(maker: NetworkMaker) -> tuple[int, int]:
    """Tensors read by several convolutions whose results are added, some of them much later."""
    source = tensor = maker.pixels(maker.rng.choice((2, 3, 8)))
    early = maker.conv(source, 8, (3, 3))
    tensor = early
    for _ in range(maker.rng.randint(1, 3)):
        left = maker.depthwise(maker.conv(tensor, 8, (1, 1)), maker.rng.choice(((3, 3), (5, 1))))
        right = maker.conv(tensor, 8, (3, 3)) if maker.chance(70) else tensor
        if maker.shape(left) != maker.shape(right):
            tensor = left
            continue
        tensor = maker.sum(left, right)
        if maker.shape(tensor) == maker.shape(early) and maker.chance(50):
            tensor = maker.sum(tensor, early)
    return source, maker.head(tensor) if maker.chance(70) else tensor


def padded(maker: NetworkMaker) -> tuple[int, int]:
    """As other frameworks pad: PAD ahead of a convolution or a pool."""
    source = tensor = maker.pixels(maker.rng.choice((1, 3, 5)))
    for _ in range(maker.rng.randint(1, 3)):
        tensor = maker.pad(tensor)
        tensor = maker.conv(tensor, _channels(maker.rng), (3, 3), maker.step())
        if maker.chance(40):
            tensor = maker.pool_2d(maker.pad(tensor))
    return source, maker.head(tensor)


def signal(maker: NetworkMaker) -> tuple[int, int]:
    """A long series: one column or one row, with wide kernels."""
    length, channels = maker.rng.randint(30, 300), maker.rng.choice((1, 1, 3))
    upright = maker.chance(70)
    source = tensor = maker.input((1, length, 1, channels) if upright else (1, 1, length, channels))
    for _ in range(maker.rng.randint(1, 4)):
        size, step = maker.rng.randint(3, 20), maker.rng.choice((1, 2, 4))
        kernel, stride = (size, 1), (step, 1)
        if not upright:
            kernel, stride = kernel[::-1], stride[::-1]
        tensor = maker.conv(tensor, _channels(maker.rng), kernel, stride)
    return source, maker.head(tensor)


FAMILIES: dict[str, Callable[[NetworkMaker], tuple[int, int]]] = {
    family.__name__: family
    for family in (
        separable,
        inverted_residual,
        convolutional,
        fully_connected,
        branches,
        padded,
        signal,
    )
}


def network(family: str, label: str) -> bytes:
    """The network that belongs to the family and the label."""
    maker = NetworkMaker(random.Random(label))
    source, output = FAMILIES[family](maker)
    return Draft(maker.model, source, output).build()
