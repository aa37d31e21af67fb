"""The MVE kernels against tflite_micro on an emulated Cortex-M55, and what they take over."""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from exactness import SHARED_MODELS, Case, Int8Array, cases, mismatches
from random_graphs import GraphMaker
from vp_converters import CompiledModel, load_model
from vp_converters.kernels import firmware_root
from vp_converters.lowering.step import ConstantArray
from vp_converters.oracle import cut
from vp_converters.target import MPS3_AN547, run_on_target

RANDOM_KINDS = (
    *("conv_2d", "depthwise_conv_2d", "add", "fully_connected"),
    *("pool_2d", "mean", "reduce_max", "graph"),
)
BATCH = 200
# Input channels that fill less than one vector, one, two and several, and what is left over.
DEPTHS = (1, 3, 8, 15, 16, 17, 24, 32, 33, 48, 79)
# (height, width, channels, kernel, stride, dilation, padding) of depthwise layers, and which of the
# kernels they run on.
DEPTHWISE = {
    (6, 13, 48, (3, 3), 1, 1, "SAME"): "",
    (5, 28, 34, (3, 3), 2, 1, "SAME"): "",
    (9, 19, 6, (4, 4), 1, 1, "VALID"): "",
    (8, 27, 20, (2, 4), 2, 1, "SAME"): "",
    (11, 12, 32, (3, 3), 1, 2, "SAME"): "",
    (8, 3, 20, (3, 3), 1, 2, "SAME"): "",
    (10, 14, 16, (1, 3), 3, 1, "VALID"): "",
    (7, 8, 18, (3, 3), 1, 1, "SAME"): "_narrow",
    (7, 2, 18, (3, 3), 1, 1, "SAME"): "_narrow",
    (3, 3, 16, (3, 3), 2, 1, "SAME"): "_narrow",
    (9, 11, 34, (4, 2), 2, 1, "VALID"): "_narrow",
    (8, 9, 20, (5, 5), 1, 1, "SAME"): "_large",
    (9, 3, 6, (7, 7), 2, 1, "SAME"): "_large",
    (12, 16, 18, (3, 5), 1, 2, "SAME"): "_large",
    (15, 14, 2, (9, 12), 1, 1, "VALID"): "_large",
}
# (height, width, channels, filters, kernel, stride, padding) of convolutions; of those whose pixels
# share the columns that they load.
OVERLAPPING = [
    (6, 7, 16, 16, (3, 3), 1, "SAME"),
    (5, 9, 32, 6, (3, 3), 1, "VALID"),
    (3, 5, 4, 4, (4, 3), 1, "SAME"),
    (4, 3, 16, 2, (1, 3), 1, "SAME"),
]
CONVOLUTIONS = [
    *OVERLAPPING,
    (11, 13, 3, 9, (3, 3), 2, "SAME"),
    (5, 9, 17, 6, (3, 2), 1, "SAME"),
    (5, 6, 32, 7, (3, 3), 1, "SAME"),
    (4, 2, 16, 8, (3, 3), 1, "SAME"),
    (8, 5, 64, 10, (3, 3), 2, "SAME"),
    (12, 6, 1, 8, (10, 4), 2, "SAME"),
    (5, 5, 20, 2, (5, 5), 1, "VALID"),
]


def _runner(models: Sequence[CompiledModel], inputs: Sequence[Int8Array]) -> list[Int8Array]:
    return [result.outputs for result in run_on_target(models, inputs, MPS3_AN547)]


def _case(path: Path, label: str, inputs: int) -> Case:
    model = load_model(path, label, kernels="mve")
    values = np.random.default_rng(inputs)
    batch = values.integers(-128, 128, (inputs, *model.input_shape), dtype=np.int8)
    batch[-1] = values.choice((-128, 127), model.input_shape)
    return Case(label, model, batch)


def _written(maker: GraphMaker, source: int, output: int, path: Path) -> Path:
    path.write_bytes(maker.model.build([source], [output]))
    return path


class Layers(GraphMaker):
    """Single layers of given sizes whose results spread over int8."""

    def ratio(self, products: int) -> float:
        return 40 / (math.sqrt(products) * 73 * 73)

    def layer(
        self,
        source: int,
        kind: str,
        weights: tuple[int, ...],
        shape: tuple[int, ...],
        activation: str,
        **options: object,
    ) -> int:
        """One layer with weights of a shape as in the file."""
        channels = shape[-1]
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        products = math.prod(weights) // channels
        output, scales = self.products_output(source, shape, products, channels)
        if activation == "RELU":
            self.model.spec(output).zero_points = [-128]
        constant = self.model.constant(self.weights(weights), scales=scales, axis=axis)
        bias = self.bias(source, scales, channels, products)
        options |= {"FusedActivationFunction": activation}
        self.model.op(kind, [source, constant, *bias], [output], **options)
        return output


def _sides(
    height: int, width: int, extents: tuple[int, int], stride: int, padding: str
) -> list[int]:
    if padding == "SAME":
        return [-(-side // stride) for side in (height, width)]
    return [(s - e) // stride + 1 for s, e in zip((height, width), extents, strict=True)]


def _window(stride: int, dilation: int, padding: str) -> dict[str, object]:
    return {
        "Padding": padding,
        "StrideH": stride,
        "StrideW": stride,
        "DilationHFactor": dilation,
        "DilationWFactor": dilation,
    }


def _pointwise(rng: random.Random, depth: int, activation: str, path: Path) -> Path:
    maker = Layers(rng)
    stride, width, channels = rng.choice((1, 1, 2)), rng.randint(1, 9), rng.randint(2, 21)
    source = maker.input((1, 3, width, depth))
    shape = (1, *_sides(3, width, (1, 1), stride, "SAME"), channels)
    window = _window(stride, 1, "VALID")
    output = maker.layer(source, "CONV_2D", (channels, 1, 1, depth), shape, activation, **window)
    return _written(maker, source, output, path)


def _convolution(rng: random.Random, spec: tuple, activation: str, path: Path) -> Path:
    height, width, depth, channels, kernel, stride, padding = spec
    maker = Layers(rng)
    source = maker.input((1, height, width, depth))
    shape = (1, *_sides(height, width, kernel, stride, padding), channels)
    window = _window(stride, 1, padding)
    output = maker.layer(source, "CONV_2D", (channels, *kernel, depth), shape, activation, **window)
    return _written(maker, source, output, path)


def _single_channel(rng: random.Random, activation: str, path: Path) -> Path:
    maker = Layers(rng)
    source = maker.input((1, 9, 8, 1))
    window = _window(2, 1, "SAME") | {"DepthMultiplier": 8}
    shape = (1, 5, 4, 8)
    weights = (1, 10, 5, 8)
    output = maker.layer(source, "DEPTHWISE_CONV_2D", weights, shape, activation, **window)
    return _written(maker, source, output, path)


def _vector(rng: random.Random, depth: int, activation: str, path: Path) -> Path:
    maker = Layers(rng)
    source = maker.input((1, depth))
    channels = rng.randint(2, 14)
    shape, weights = (1, channels), (channels, depth)
    output = maker.layer(source, "FULLY_CONNECTED", weights, shape, activation)
    return _written(maker, source, output, path)


def _depthwise(rng: random.Random, spec: tuple, activation: str, path: Path) -> Path:
    height, width, channels, kernel, stride, dilation, padding = spec
    maker = Layers(rng)
    source = maker.input((1, height, width, channels))
    extents = tuple((k - 1) * dilation + 1 for k in kernel)
    shape = (1, *_sides(height, width, extents, stride, padding), channels)
    window = _window(stride, dilation, padding) | {"DepthMultiplier": 1}
    weights = (1, *kernel, channels)
    output = maker.layer(source, "DEPTHWISE_CONV_2D", weights, shape, activation, **window)
    return _written(maker, source, output, path)


def _layers(rng: random.Random, folder: Path) -> Iterator[tuple[Path, str]]:
    """One layer for each size above: (file, the kernel that it must run on)."""

    def next_activation() -> str:
        return rng.choice(("NONE", "RELU", "RELU_N1_TO_1"))

    for depth in DEPTHS:
        path = folder / f"pointwise_{depth}.tflite"
        yield _pointwise(rng, depth, next_activation(), path), "mve_conv_1x1"
        path = folder / f"vector_{depth}.tflite"
        yield _vector(rng, depth, next_activation(), path), "mve_fully_connected"
    for index, spec in enumerate(CONVOLUTIONS):
        path = folder / f"convolution_{index}.tflite"
        kernel = "mve_conv_2d_3_columns" if spec in OVERLAPPING else "mve_conv_2d"
        yield _convolution(rng, spec, next_activation(), path), kernel
    for index, spec in enumerate(DEPTHWISE):
        path = folder / f"depthwise_{index}.tflite"
        kernel = f"mve_depthwise_conv_2d{DEPTHWISE[spec]}"
        yield _depthwise(rng, spec, next_activation(), path), kernel
    yield _single_channel(rng, next_activation(), folder / "single.tflite"), "mve_conv_2d"


def test_every_path_of_the_kernels(tmp_path: Path, emulated: None, scale: int) -> None:
    for number in range(2 * scale):
        batch = []
        for path, kernel in _layers(random.Random(f"mve {number}"), tmp_path):
            one = _case(path, path.stem, 3)
            assert [step.kernel for step in one.model.program.steps] == [kernel], path.stem
            batch.append(one)
        assert mismatches(batch, _runner) == [], number


def test_random_graphs(tmp_path: Path, emulated: None, scale: int) -> None:
    batch = [
        _case(tmp_path / f"{one.label}.tflite", one.model.name, 3)
        for kind in RANDOM_KINDS
        for one in cases(kind, 4 * scale, tmp_path, 1, start=2 * 10**6)
    ]
    for start in range(0, len(batch), BATCH):
        assert mismatches(batch[start : start + BATCH], _runner) == []


def test_shared_models_before_the_softmax(
    models_dir: Path, tmp_path: Path, emulated: None, scale: int
) -> None:
    batch = []
    for name in SHARED_MODELS if scale > 1 else ("resnet8", "v_32"):
        whole = load_model(models_dir / f"{name}.tflite", kernels="mve")
        last = [step for step in whole.steps() if step.operator != "SOFTMAX"][-1]
        scores = tmp_path / f"{name}.tflite"
        scores.write_bytes(cut(whole.data, last.op_index + 1, last.output))
        batch.append(_case(scores, name, 2 * scale))
    assert mismatches(batch, _runner) == []


@pytest.mark.parametrize("level", ["-O0", "-Os"])
def test_kernels_build_at_any_level(tmp_path: Path, emulated: None, level: str) -> None:
    root = firmware_root()
    sources = sorted((root / "nn" / "mve").glob("*.c"))
    assert sources
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
    core = ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")
    command = ["arm-none-eabi-gcc", *flags, *core, level, "-I", str(root / "include"), "-c"]
    subprocess.run([*command, *map(str, sources)], cwd=tmp_path, check=True)


def _steps(path: Path, kernels: str) -> list:
    return list(load_model(path, kernels=kernels).program.steps)


def test_weights_of_a_depthwise_layer_stand_column_by_column(tmp_path: Path) -> None:
    path = _depthwise(
        random.Random(1), next(iter(DEPTHWISE)), "RELU", tmp_path / "depthwise.tflite"
    )
    (portable,), (mve,) = _steps(path, "portable"), _steps(path, "mve")
    before = portable.parameters["weights"].data.reshape(3, 3, 48)
    after = mve.parameters["weights"].data.reshape(48, 10)
    assert not after[:, 9].any()
    np.testing.assert_array_equal(after[:, :9].reshape(48, 3, 3), before.transpose(2, 1, 0))


def test_a_layer_with_a_shift_to_the_left_stays_portable(tmp_path: Path) -> None:
    maker = Layers(random.Random(2))
    source = maker.input((1, 4, 4, 8))
    output = maker.model.activation((1, 4, 4, 8), maker.model.spec(source).scales[0] / 100, 0)
    weights = maker.model.constant(maker.weights((8, 1, 1, 8)), scales=[1.0])
    maker.model.op("CONV_2D", [source, weights], [output], **_window(1, 1, "SAME"))
    (step,) = _steps(_written(maker, source, output, tmp_path / "left.tflite"), "mve")
    assert step.kernel == "conv_1x1"


@pytest.mark.parametrize("swapped", [False, True])
def test_the_larger_scale_of_an_addition_comes_second(tmp_path: Path, swapped: bool) -> None:
    maker = GraphMaker(random.Random(3))
    source = maker.model.activation((1, 2, 2, 4), 0.5, 3)
    constant = maker.model.constant(maker.weights((1, 2, 2, 4)), scales=[0.25], zero_points=[7])
    output = maker.model.activation((1, 2, 2, 4), 0.75, 1)
    pair = [constant, source] if swapped else [source, constant]
    maker.model.op("ADD", pair, [output], FusedActivationFunction="NONE")
    (step,) = _steps(_written(maker, source, output, tmp_path / "add.tflite"), "mve")
    assert step.kernel == "mve_add"
    assert step.inputs == (constant, source)
    assert (step.parameters["a_zero_point"], step.parameters["b_zero_point"]) == (7, 3)


def test_constants_carry_the_slack_that_kernels_load(tmp_path: Path) -> None:
    path = _pointwise(random.Random(4), 24, "NONE", tmp_path / "pointwise.tflite")
    (portable,), (mve,) = _steps(path, "portable"), _steps(path, "mve")
    weights = mve.parameters["weights"]
    assert isinstance(weights, ConstantArray)
    np.testing.assert_array_equal(weights.data[:-16], portable.parameters["weights"].data)
    scale = mve.parameters["output"]["scale"].data.reshape(-1, 2)
    np.testing.assert_array_equal(scale[:, 0], portable.parameters["output"]["bias"].data)
