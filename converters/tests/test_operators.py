"""Corners of single operators that random graphs rarely reach, and what the operators refuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exactness import Case, host_runner, mismatches
from random_graphs import GraphMaker
from tflite_builder import ModelBuilder
from vp_converters import ConversionError, load_model
from vp_converters.host import HostModel

INT32_MAX = 2**31 - 1


def _case(
    data: bytes, folder: Path, values: np.ndarray | None = None, label: str = "model"
) -> Case:
    path = folder / f"{label}.tflite"
    path.write_bytes(data)
    model = load_model(path)
    rng = np.random.default_rng(3)
    batch = rng.integers(-128, 128, (8, *model.input_shape), dtype=np.int8)
    batch[0], batch[1] = -128, 127
    return Case(label, model, batch if values is None else values.astype(np.int8))


def _exact(data: bytes, folder: Path, values: np.ndarray | None = None) -> None:
    assert mismatches([_case(data, folder, values)], host_runner(folder)) == []


def _all_exact(models: dict[str, bytes], folder: Path, values: np.ndarray | None = None) -> None:
    batch = [
        _case(data, folder, values, f"m{number} {label}")
        for number, (label, data) in enumerate(models.items())
    ]
    assert mismatches(batch, host_runner(folder)) == []


def _refused(data: bytes, folder: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        _case(data, folder)
    return str(caught.value)


def _matrix(ratio: float, bias: int, zero_point: int, weight: int, activation: str) -> bytes:
    model = ModelBuilder()
    source = model.activation((1, 8), 1.0, zero_point)
    weights = model.constant(np.full((4, 8), weight), scales=[ratio] * 4)
    biases = model.constant([bias, -bias, 1, 0], "int32", scales=[ratio])
    output = model.activation((1, 4), 1.0, -zero_point - 1)
    inputs = [source, weights, biases]
    model.op("FULLY_CONNECTED", inputs, [output], FusedActivationFunction=activation)
    return model.build([source], [output])


def test_shifts_to_both_ends(tmp_path: Path) -> None:
    models = {}
    for exponent in (-33, -32, -31, -30, -16, -1, 0, 1, 8, 16, 29):
        for bias in (0, 12345, INT32_MAX):
            for zero_point in (-128, 127):
                label = f"2^{exponent} bias {bias} zero {zero_point}"
                models[label] = _matrix(2.0**exponent * 0.7, bias, zero_point, -127, "NONE")
    _all_exact(models, tmp_path)


def test_activations_at_extreme_zero_points(tmp_path: Path) -> None:
    models = {
        f"{activation} {zero_point}": _matrix(0.02, 99, zero_point, 5, activation)
        for activation in ("RELU", "RELU6", "RELU_N1_TO_1")
        for zero_point in (-128, 0, 127)
    }
    _all_exact(models, tmp_path)


def test_a_deep_sum_of_extreme_products(tmp_path: Path) -> None:
    model = ModelBuilder()
    depth = 40000
    source = model.activation((1, depth), 1.0, -128)
    weights = model.constant(np.full((2, depth), -128), scales=[2.0**-24])
    output = model.activation((1, 2), 1.0, 127)
    model.op("FULLY_CONNECTED", [source, weights], [output])
    _exact(model.build([source], [output]), tmp_path)


def test_more_products_than_an_accumulator_holds(tmp_path: Path) -> None:
    model = ModelBuilder()
    source = model.activation((1, 2**17), 1.0, 0)
    weights = model.constant(np.ones((1, 2**17)), scales=[1.0])
    output = model.activation((1, 1), 1.0, 0)
    model.op("FULLY_CONNECTED", [source, weights], [output])
    assert "131072 products" in _refused(model.build([source], [output]), tmp_path)


def _softmax(classes: int, scale: float, beta: float = 1.0) -> bytes:
    model = ModelBuilder()
    source = model.activation((1, classes), scale, 0)
    output = model.activation((1, classes), 1 / 256, -128)
    model.op("SOFTMAX", [source], [output], Beta=beta)
    return model.build([source], [output])


def test_softmax_scales(tmp_path: Path) -> None:
    models = {
        f"{classes} classes scale {scale}": _softmax(classes, scale)
        for scale in (2.0**-25, 1e-4, 0.01, 0.1, 0.5, 1.0, 7.0, 32.0, 63.9, 1e6)
        for classes in (1, 2, 10, 101)
    }
    _all_exact(models, tmp_path)


@pytest.mark.parametrize("scale", [0.003, 0.02, 0.13])
def test_softmax_at_every_distance(scale: float, tmp_path: Path) -> None:
    values = np.stack([np.full(256, 127), 127 - np.arange(256)], axis=1)
    _exact(_softmax(2, scale), tmp_path, values.reshape(256, 1, 2))


def test_softmax_over_a_thousand_classes(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(-128, 128, (8, 1, 1000))
    _exact(_softmax(1000, 0.1), tmp_path, values)


def test_softmax_of_equal_scores_beyond_what_tflm_computes(tmp_path: Path) -> None:
    # From 512 equal classes on TFLM stops the program; every score is below half a step there.
    case = _case(_softmax(1000, 0.1), tmp_path)
    output = HostModel(case.model, tmp_path).run(np.zeros((1, 1000), dtype=np.int8))
    assert (output == -128).all()


def test_softmax_limits(tmp_path: Path) -> None:
    assert "4096 classes" in _refused(_softmax(4096, 0.1), tmp_path)
    assert "too small" in _refused(_softmax(10, 2.0**-27), tmp_path)
    model = ModelBuilder()
    source, output = model.activation((1, 4), 0.1, 0), model.activation((1, 4), 0.1, 0)
    model.op("SOFTMAX", [source], [output], Beta=1.0)
    assert "scale 1/256" in _refused(model.build([source], [output]), tmp_path)


def _add(a: float, b: float, out: float) -> bytes:
    model = ModelBuilder()
    source = model.activation((1, 256), a, -128)
    other = model.constant(np.arange(-128, 128).reshape(1, 256), scales=[b], zero_points=[127])
    output = model.activation((1, 256), out, 3)
    model.op("ADD", [source, other], [output])
    return model.build([source], [output])


def test_add_scales(tmp_path: Path) -> None:
    models = {
        f"{a} + {b} = {out}": _add(a, b, out)
        for a in (1e-12, 0.01, 1.0)
        for b in (1e-12, 0.013, 1.0)
        for out in (0.004, 0.02, 3.0, 1e12)
    }
    values = np.stack([np.arange(-128, 128), np.arange(127, -129, -1)]).reshape(2, 1, 256)
    _all_exact(models, tmp_path, values)


def test_add_of_too_fine_an_output(tmp_path: Path) -> None:
    assert "not between 0 and 1" in _refused(_add(1.0, 1.0, 1e-7), tmp_path)


def test_add_broadcasts(tmp_path: Path) -> None:
    pairs = [
        ((1, 3, 4, 5), (1, 1, 1, 5)),
        ((1, 3, 4, 5), (4, 1)),
        ((1, 1, 4, 1), (1, 3, 1, 5)),
        ((1, 3, 4, 5), ()),
        ((1, 6), (1, 6)),
    ]
    models = {f"{a} {b} {swap}": _broadcast(a, b, swap) for a, b in pairs for swap in (False, True)}
    _all_exact(models, tmp_path)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...], swap: bool) -> bytes:
    model = ModelBuilder()
    source = model.activation(a, 0.1, 5)
    data = np.random.default_rng(1).integers(-128, 128, b)
    other = model.constant(data, scales=[0.07], zero_points=[-9])
    output = model.activation(np.broadcast_shapes(a, b), 0.12, -4)
    model.op("ADD", [other, source] if swap else [source, other], [output])
    return model.build([source], [output])


def _reduce(kind: str, axes: list[int], shape: tuple[int, ...], out: tuple[int, ...]) -> bytes:
    model = ModelBuilder()
    source = model.activation(shape, 0.1, 5)
    output = model.activation(out, 0.1, 5)
    model.op(kind, [source, model.constant(axes, "int32")], [output], KeepDims=False)
    return model.build([source], [output])


@pytest.mark.parametrize("kind", ["MEAN", "REDUCE_MAX"])
def test_reductions(kind: str, tmp_path: Path) -> None:
    _exact(_reduce(kind, [1, 2], (1, 7, 9, 33), (1, 33)), tmp_path)
    _exact(_reduce(kind, [1, 3], (1, 7, 1, 5), (1, 1)), tmp_path)
    _exact(_reduce(kind, [0], (1, 7), (7,)), tmp_path)
    text = _refused(_reduce(kind, [1, 3], (1, 7, 2, 5), (1, 2)), tmp_path)
    assert "axes [1, 3] are not neighbours" in text
    assert "axes [4]" in _refused(_reduce(kind, [4], (1, 7), (7,)), tmp_path)
    assert "output's size" in _refused(_reduce(kind, [1], (1, 7), (1, 2)), tmp_path)


def test_padding_is_folded_into_the_convolution(tmp_path: Path) -> None:
    data = _padded_convolution(lambda maker: [(0, 0), (2, 1), (0, 3), (0, 0)], zero_point=-7)
    case = _case(data, tmp_path)
    assert [step.kernel for step in case.model.steps()] == ["conv_2d"]
    _exact(data, tmp_path)


def test_padding_of_channels_is_kept(tmp_path: Path) -> None:
    data = _padded_convolution(lambda maker: [(0, 0), (1, 1), (1, 1), (0, 1)], zero_point=-7)
    case = _case(data, tmp_path)
    assert [step.kernel for step in case.model.steps()] == ["pad", "conv_2d"]
    _exact(data, tmp_path)


def test_padding_with_another_value_is_kept(tmp_path: Path) -> None:
    data = _padded_convolution(
        lambda maker: [(0, 0), (1, 1), (1, 1), (0, 0)], zero_point=-7, value=9
    )
    case = _case(data, tmp_path)
    assert [step.kernel for step in case.model.steps()] == ["pad", "conv_2d"]
    _exact(data, tmp_path)


def _padded_convolution(
    amounts: Callable[[GraphMaker], list[tuple[int, int]]],
    zero_point: int,
    value: int | None = None,
) -> bytes:
    maker = GraphMaker(random.Random(1))
    model = maker.model
    source = model.activation((1, 5, 6, 3), 0.1, zero_point)
    pairs = amounts(maker)
    shape = tuple(s + a + b for s, (a, b) in zip((1, 5, 6, 3), pairs, strict=True))
    padded = model.activation(shape, 0.1, zero_point)
    inputs = [source, model.constant(pairs, "int32")]
    if value is not None:
        inputs.append(model.constant([value], scales=[0.1], zero_points=[zero_point]))
    model.op("PAD" if value is None else "PADV2", inputs, [padded])
    weights = model.constant(maker.weights((4, 3, 3, shape[3])), scales=[0.01])
    output = model.activation((1, (shape[1] - 1) // 2, (shape[2] - 1) // 2, 4), 0.5, 3)
    options = {"Padding": "VALID", "StrideH": 2, "StrideW": 2}
    model.op("CONV_2D", [padded, weights], [output], **options)
    return model.build([source], [output])


def _dilated(kind: str, kernel: int, block: int, same: bool, interleaved: bool) -> bytes:
    """A dilated convolution as one operator, or as Keras and PyTorch write it."""
    model = ModelBuilder()
    sides = (9, 10)
    source = model.activation((1, *sides, 3), 0.1, 9)
    shape = (1, kernel, kernel, 3) if kind == "DEPTHWISE_CONV_2D" else (4, kernel, kernel, 3)
    channels = 3 if kind == "DEPTHWISE_CONV_2D" else 4
    data = np.random.default_rng(kernel).integers(-127, 128, shape)
    weights = model.constant(data, scales=[0.005])
    extent = (kernel - 1) * block
    out = tuple(side if same else side - extent for side in sides)
    options = {"StrideH": 1, "StrideW": 1, "FusedActivationFunction": "RELU"}
    if kind == "DEPTHWISE_CONV_2D":
        options["DepthMultiplier"] = 1
    if not interleaved:
        output = model.activation((1, *out, channels), 0.2, -20)
        options |= {"DilationHFactor": block, "DilationWFactor": block}
        options |= {"Padding": "SAME" if same else "VALID"}
        model.op(kind, [source, weights], [output], **options)
        return model.build([source], [output])
    before = extent // 2 if same else 0
    after = extent - before if same else 0
    rests = [-(before + side + after) % block for side in sides]
    paddings = model.constant([(before, after + rest) for rest in rests], "int32")
    crops = model.constant([(0, rest) for rest in rests], "int32")
    blocks = model.constant([block, block], "int32")
    both = zip(sides, rests, strict=True)
    pieces = [(before + side + after + rest) // block for side, rest in both]
    split = model.activation((block**2, *pieces, 3), 0.1, 9)
    results = [side - kernel + 1 for side in pieces]
    convolved = model.activation((block**2, *results, channels), 0.2, -20)
    output = model.activation((1, *out, channels), 0.2, -20)
    model.op("SPACE_TO_BATCH_ND", [source, blocks, paddings], [split])
    model.op(kind, [split, weights], [convolved], Padding="VALID", **options)
    model.op("BATCH_TO_SPACE_ND", [convolved, blocks, crops], [output])
    return model.build([source], [output])


def test_dilation_by_interleaving_is_one_dilated_convolution(tmp_path: Path) -> None:
    batch = []
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        for kernel, block, same in ((1, 2, True), (2, 3, False), (3, 2, True), (3, 3, True)):
            label = f"{kind} {kernel} {block} {same}"
            case = _case(_dilated(kind, kernel, block, same, True), tmp_path, label=label)
            assert [step.operator for step in case.model.steps()] == [kind]
            # TFLM's SPACE_TO_BATCH_ND pads with memory that it never sets, so the reference is its
            # dilated convolution.
            whole = replace(case.model, data=_dilated(kind, kernel, block, same, False))
            batch.append(replace(case, model=whole))
    assert mismatches(batch, host_runner(tmp_path)) == []


def test_a_model_that_only_reshapes(tmp_path: Path) -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 2, 3), 0.1, 1), model.activation((1, 6), 0.1, 1)
    model.op("RESHAPE", [source, model.constant([1, 6], "int32")], [output])
    case = _case(model.build([source], [output]), tmp_path)
    assert case.model.steps() == []
    _exact(model.build([source], [output]), tmp_path)


def test_reshape_to_another_size(tmp_path: Path) -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 2, 3)), model.activation((1, 7))
    model.op("RESHAPE", [source, model.constant([1, 7], "int32")], [output])
    assert "6 elements cannot become 7" in _refused(model.build([source], [output]), tmp_path)


def test_a_depth_multiplier_that_contradicts_the_shapes(tmp_path: Path) -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 4, 4, 3)), model.activation((1, 4, 4, 3))
    weights = model.constant(np.ones((1, 1, 1, 3)), scales=[0.1])
    options = {"Padding": "SAME", "StrideH": 1, "StrideW": 1, "DepthMultiplier": 2}
    model.op("DEPTHWISE_CONV_2D", [source, weights], [output], **options)
    assert "depth multiplier 2" in _refused(model.build([source], [output]), tmp_path)


def test_pools_must_keep_the_quantization(tmp_path: Path) -> None:
    model = ModelBuilder()
    source = model.activation((1, 4, 4, 2), 0.1, 1)
    output = model.activation((1, 2, 2, 2), 0.2, 1)
    options = {"Padding": "VALID", "StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2}
    model.op("MAX_POOL_2D", [source], [output], **options)
    assert "same scale" in _refused(model.build([source], [output]), tmp_path)


def test_fully_connected_refuses_an_unrelated_bias(tmp_path: Path) -> None:
    model = ModelBuilder()
    source = model.activation((1, 4), 0.1, 1)
    weights = model.constant(np.ones((2, 4)), scales=[0.1])
    bias = model.constant([1, 2], "int32", scales=[5.0])
    output = model.activation((1, 2), 0.1, 1)
    model.op("FULLY_CONNECTED", [source, weights, bias], [output])
    assert "bias scale 5" in _refused(model.build([source], [output]), tmp_path)
