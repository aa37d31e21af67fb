"""Models whose numbers stand at the ends of their ranges: multipliers of 2^30 and 2^31 - 1, shifts
from -31 to 30, accumulators that wrap, zero points -128 and 127, scales near a float's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from tflite_builder import ModelBuilder

ENDS = (-128, 127)
INT32_MAX = 2**31 - 1
SHIFTS = (-31, -30, -16, -1, 0, 1, 8, 29, 30)

# The product of these float32 numbers times 2^31 rounds to 2^31 - 1.
ALMOST_ONE = (1 + 181 / 2**23, 1 - 181 / 2**23)
BIASES = (0, 1, -1, INT32_MAX, -INT32_MAX - 1)

FLOAT_MIN = float(np.float32(1e-45))
FLOAT_MAX = float(np.float32(3.4e38))


EVERY_SHIFT = tuple(product(SHIFTS, BIASES))


def products(
    kind: str,
    multiplier: int,
    zeros: tuple[int, int],
    weights: int | None,
    columns: Sequence[tuple[int, int]] = EVERY_SHIFT,
    largest: int = 128,
) -> bytes:
    """A convolution or matrix with a channel for each pair of a shift and a bias.

    Args:
        multiplier: 2^30 or 2^31 - 1.
        weights: the value of all of them, None for random ones from -largest to largest - 1.
    """
    input_scale, factor = (1.0, 0.5) if multiplier == 2**30 else ALMOST_ONE
    channels = len(columns)
    depth = {"depthwise": channels, "multiplied": channels // 3}.get(kind, 5)
    model = ModelBuilder()
    shape = (1, 6) if kind == "matrix" else (1, 3, 2, depth)
    source = model.activation(shape, input_scale, zeros[0])
    scales = [factor * 2.0**shift for shift, _ in columns]
    form = {
        "matrix": (channels, 6),
        "pointwise": (channels, 1, 1, depth),
        "window": (channels, 2, 2, depth),
    }.get(kind, (1, 2, 2, channels))
    data = np.random.default_rng(1).integers(-largest, largest, form)
    if weights is not None:
        data[:] = weights
    constant = model.constant(data, scales=scales, axis=3 if form[0] == 1 else 0)
    inputs = [source, constant, model.constant([bias for _, bias in columns], "int32", scales)]
    target = (1, channels) if kind == "matrix" else (1, 3, 2, channels)
    output = model.activation(target, 1.0, zeros[1])
    options = {"Padding": "SAME", "StrideH": 1, "StrideW": 1}
    if kind == "matrix":
        model.op("FULLY_CONNECTED", inputs, [output])
    elif form[0] == 1:
        model.op(
            "DEPTHWISE_CONV_2D", inputs, [output], **options, DepthMultiplier=channels // depth
        )
    else:
        model.op("CONV_2D", inputs, [output], **options)
    return model.build([source], [output])


PRODUCTS = ("matrix", "pointwise", "window", "depthwise", "multiplied")


def all_products() -> Iterator[tuple[str, bytes]]:
    """Every kind with the zero points and the weights at their ends."""
    pairs = ((2**30, -128), (2**30, None), (INT32_MAX, 127), (INT32_MAX, None))
    for kind, zeros, (multiplier, weights) in product(PRODUCTS, product(ENDS, ENDS), pairs):
        label = f"{kind} {multiplier} {zeros} {weights}"
        yield label, products(kind, multiplier, zeros, weights)


def scaled_fast(kind: str, multiplier: int, zeros: tuple[int, int], beyond: int = 0) -> bytes:
    """Products whose sums reach up to the limit of the scaling in two instructions
    (backends/dsp_scaling.py) at every shift that it covers.

    Args:
        beyond: how far the biases of one channel lie beyond that limit.
    """
    count = {"matrix": 6, "pointwise": 5, "window": 20, "depthwise": 4}[kind]
    columns = [(-8, 1)]
    for shift in range(-15, 0):
        room = min(2**31 - 1 >> 17 + shift, 2**26 - 1) - 4 * 128 * count
        columns += [(shift, 0), (shift, room), (shift, -room)]
    columns[1] = (columns[1][0], columns[1][1] + beyond)
    return products(kind, multiplier, zeros, None, columns, 2)


def one_scale(kind: str, ratio: float, bias: int, zero_points: tuple[int, int]) -> bytes:
    """A matrix or 1x1 convolution with a single multiplier."""
    model = ModelBuilder()
    shape = (1, 8) if kind == "FULLY_CONNECTED" else (1, 1, 1, 8)
    source = model.activation(shape, 1.0, zero_points[0])
    data = np.resize(np.array([-128, 127, -1, 5]), (4, *shape[1:]))
    weights = model.constant(data, scales=[ratio])
    biases = model.constant([bias, -bias, 1, 0], "int32", scales=[ratio])
    output = model.activation((*shape[:-1], 4), 1.0, zero_points[1])
    options = {} if kind == "FULLY_CONNECTED" else {"StrideH": 1, "StrideW": 1}
    model.op(kind, [source, weights, biases], [output], **options)
    return model.build([source], [output])


def all_single_scales() -> Iterator[tuple[str, bytes]]:
    """Single multipliers at every shift."""
    for kind, shift in product(("FULLY_CONNECTED", "CONV_2D"), SHIFTS):
        for zeros, bias in (((-128, 127), INT32_MAX), ((127, -128), 9999)):
            ratio = float(np.float32(0.5 * 2.0**shift))
            yield f"{kind} 2^{shift} {zeros}", one_scale(kind, ratio, bias, zeros)


def addition(scales: tuple[float, float, float], zeros: tuple[int, int, int]) -> bytes:
    """ADD of the input and a constant that holds every number."""
    model = ModelBuilder()
    source = model.activation((1, 256), scales[0], zeros[0])
    every = np.arange(-128, 128).reshape(1, 256)
    other = model.constant(every, scales=[scales[1]], zero_points=[zeros[1]])
    output = model.activation((1, 256), scales[2], zeros[2])
    model.op("ADD", [source, other], [output])
    return model.build([source], [output])


def all_additions() -> Iterator[tuple[str, bytes]]:
    """Scales far apart and near a float's limits, all zero points at their ends."""
    least = FLOAT_MAX / 2**40
    for scales in (
        *((1.0, 1.0, 1.0), (1.0, 2.0**-31, 1.0), (1.0, 2.0**-33, 0.5), (1.0, 0.99999994, 2.0**30)),
        *((FLOAT_MIN, FLOAT_MIN, FLOAT_MIN), (FLOAT_MIN, 1.0, 1.0), (1.0, FLOAT_MIN, 3.9e-6)),
        *((FLOAT_MAX, FLOAT_MAX, FLOAT_MAX), (FLOAT_MAX, 1.0, FLOAT_MAX), (least, least, least)),
    ):
        for zeros in product(ENDS, repeat=3):
            yield f"add {scales} {zeros}", addition(scales, zeros)


def pool(kind: str, sides: tuple[int, int], zero_point: int, scale: float, active: str) -> bytes:
    """A pool with a window of those sides that slides over a larger image."""
    model = ModelBuilder()
    source = model.activation((1, sides[0] + 1, sides[1] + 2, 3), scale, zero_point)
    output = model.activation((1, sides[0] + 1, sides[1] + 2, 3), scale, zero_point)
    options = {"FilterHeight": sides[0], "FilterWidth": sides[1], "StrideH": 1, "StrideW": 1}
    options |= {"Padding": "SAME", "FusedActivationFunction": active}
    model.op(kind, [source], [output], **options)
    return model.build([source], [output])


def all_pools() -> Iterator[tuple[str, bytes]]:
    """Odd and even windows, bounds of activations at both ends."""
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for sides, zero in product(((1, 1), (1, 2), (2, 2), (3, 3), (9, 8)), ENDS):
            for scale, active in ((1.0, "NONE"), (0.03, "RELU6"), (FLOAT_MAX, "RELU_N1_TO_1")):
                label = f"{kind} {sides} {zero} {active}"
                yield label, pool(kind, sides, zero, scale, active)


def mean(
    shape: tuple[int, ...], axes: list[int], scales: tuple[float, float], zeros: tuple[int, int]
) -> bytes:
    """MEAN with other scales at its output."""
    model = ModelBuilder()
    source = model.activation(shape, scales[0], zeros[0])
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    output = model.activation(kept, scales[1], zeros[1])
    model.op("MEAN", [source, model.constant(axes, "int32")], [output], KeepDims=True)
    return model.build([source], [output])


def all_means() -> Iterator[tuple[str, bytes]]:
    """Over whole images and single axes; ratios of scales down to 2^-31 and up to 2^29."""
    forms = (((1, 4, 4, 5), [1, 2]), ((1, 1, 1, 5), [1, 2]), ((1, 3, 7, 4), [1, 2]))
    for shape, axes in (*forms, ((1, 3, 5, 4), [3]), ((1, 9, 1, 300), [3]), ((1, 5, 4, 2), [1])):
        for shift, zeros in product((-31, -16, 0, 1, 12, 29), (ENDS, ENDS[::-1])):
            scales = (1.0, 2.0**-shift)
            yield f"mean {shape} {axes} 2^{shift} {zeros}", mean(shape, axes, scales, zeros)


def softmax(classes: int, scale: float, beta: float, zero_point: int) -> bytes:
    """SOFTMAX over one row."""
    model = ModelBuilder()
    source = model.activation((1, classes), scale, zero_point)
    output = model.activation((1, classes), 1 / 256, -128)
    model.op("SOFTMAX", [source], [output], Beta=beta)
    return model.build([source], [output])


def all_softmaxes() -> Iterator[tuple[str, bytes]]:
    """Scales from the least that are accepted to a float's largest."""
    for classes, (scale, beta) in product(
        (1, 2, 3, 255, 500),
        (
            *((2.0**-25, 1.0), (2.0**-26, 1.0000001), (1.0, 2.0**-25), (0.5, 1.0), (31.0, 1.0)),
            *((32.0, 1.0), (16.0, 2.0), (FLOAT_MAX, 1.0), (FLOAT_MAX, FLOAT_MAX), (1e-3, 77.0)),
        ),
    ):
        for zero in ENDS:
            yield f"softmax {classes} {scale} {beta} {zero}", softmax(classes, scale, beta, zero)


OPERATORS = {
    "products": all_products,
    "single scales": all_single_scales,
    "additions": all_additions,
    "pools": all_pools,
    "means": all_means,
    "softmaxes": all_softmaxes,
}
