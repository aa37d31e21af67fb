"""The kernels of firmware/nn/dsp against tflite_micro on an emulated Cortex-M4F, and what they take
over."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from exactness import SHARED_MODELS, Case, Int8Array, graph_bytes, mismatches
from random_graphs import GraphMaker
from vp_converters import CompiledModel, load_model
from vp_converters.backends.dsp_addition import linear_addition
from vp_converters.backends.dsp_scaling import records
from vp_converters.lowering.step import int8_array, int32_array
from vp_converters.oracle import cut
from vp_converters.target import MPS2_AN386, MPS2_AN500, Machine, run_on_target

RANDOM_KINDS = ("conv_2d", "depthwise_conv_2d", "add", "fully_connected", "graph")
BATCH = 200


def _run(
    models: Sequence[CompiledModel], inputs: Sequence[Int8Array], machine: Machine = MPS2_AN386
) -> list[Int8Array]:
    return [result.outputs for result in run_on_target(models, inputs, machine)]


def _case(path: Path, label: str, inputs: int) -> Case:
    model = load_model(path, label, kernels="dsp")
    values = np.random.default_rng(inputs)
    batch = values.integers(-128, 128, (inputs, *model.input_shape), dtype=np.int8)
    batch[-1] = values.choice((-128, 127), model.input_shape)
    return Case(label, model, batch)


class Layers(GraphMaker):
    """Layers as they are in real networks: their results spread over int8."""

    def ratio(self, products: int) -> float:
        return 40 / (math.sqrt(products) * 73 * 73) * 2.0 ** self.rng.uniform(-1, 1)

    def scale(self) -> float:
        return float(np.float32(2.0 ** self.rng.uniform(-5, -3)))

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        data = np.random.default_rng(self.rng.getrandbits(32))
        return data.integers(-127, 128, shape, dtype=np.int8)

    def bias(self, source: int, scales: list[float], channels: int, products: int) -> list[int]:
        if self.chance(20):
            return []
        data = np.random.default_rng(self.rng.getrandbits(32))
        limit = int(math.sqrt(products) * 6000)
        input_scale = self.model.spec(source).scales[0]
        bias_scales = [float(np.float32(input_scale * scale)) for scale in scales]
        values = data.integers(-limit, limit + 1, channels)
        return [self.model.constant(values, "int32", bias_scales)]

    def convolution(
        self,
        source: int,
        kernel: int = 1,
        channels: int = 0,
        stride: int = 1,
        padding: str = "SAME",
        activation: str = "RELU",
    ) -> int:
        """CONV_2D, or DEPTHWISE_CONV_2D if ``channels`` is 0."""
        _, height, width, depth = self.model.spec(source).shape
        lost = kernel - 1 if padding == "VALID" else 0
        sides = [-(-(side - lost) // stride) for side in (height, width)]
        products = kernel * kernel * (depth if channels else 1)
        shape = (1, *sides, channels or depth)
        output, scales = self.products_output(source, shape, products, shape[-1])
        if activation == "RELU":
            self.model.spec(output).zero_points = [-128]
        if channels:
            data, axis, kind = self.weights((channels, kernel, kernel, depth)), 0, "CONV_2D"
        else:
            data, axis, kind = self.weights((1, kernel, kernel, depth)), 3, "DEPTHWISE_CONV_2D"
        weights = self.model.constant(data, scales=scales, axis=axis)
        bias = self.bias(source, scales, shape[-1], products)
        options = {"Padding": padding, "FusedActivationFunction": activation}
        options |= {"StrideH": stride, "StrideW": stride}
        options |= {"DilationHFactor": 1, "DilationWFactor": 1}
        options |= {} if channels else {"DepthMultiplier": 1}
        self.model.op(kind, [source, weights, *bias], [output], **options)
        return output

    def save(self, folder: Path, label: str, source: int, output: int) -> Path:
        """Writes the model."""
        path = folder / f"{label}.tflite"
        path.write_bytes(self.model.build([source], [output]))
        return path


def _separable(folder: Path, label: str) -> Path:
    """Convolution, depthwise convolution, 1x1 convolution, sums; all sizes at random."""
    rng = random.Random(label)
    layers = Layers(rng)
    source = layers.input((1, rng.randint(1, 9), rng.randint(1, 19), rng.randint(1, 9)))
    tensor = layers.convolution(source, rng.choice((1, 3)), rng.randint(1, 21), rng.choice((1, 2)))
    for _ in range(rng.randint(1, 2)):
        narrow = tensor
        if rng.randrange(3):
            tensor = layers.convolution(tensor, 1, rng.choice((4, 8, 16, rng.randint(1, 40))))
        kernel = rng.choice((3, 3, 3, 3, 5, 2))
        _, height, width, _ = layers.model.spec(tensor).shape
        padding = "VALID" if min(height, width) >= kernel and not rng.randrange(4) else "SAME"
        tensor = layers.convolution(
            tensor, kernel, 0, rng.choice((1, 1, 2)), padding, rng.choice(("RELU", "RELU", "NONE"))
        )
        depth = layers.model.spec(narrow).shape[3]
        tensor = layers.convolution(tensor, 1, depth, 1, "SAME", rng.choice(("NONE", "RELU6")))
        if layers.model.spec(tensor).shape == layers.model.spec(narrow).shape:
            tensor = layers.add(tensor)
    return layers.save(folder, label, source, tensor)


def test_separable_blocks(tmp_path: Path, emulated: None, scale: int) -> None:
    labels = [f"separable_{number}" for number in range(40 * scale)]
    for start in range(0, len(labels), BATCH):
        batch = [_case(_separable(tmp_path, s), s, 3) for s in labels[start : start + BATCH]]
        assert mismatches(batch, _run) == []
    kernels = {step.kernel for one in batch for step in one.model.program.steps}
    assert kernels >= {
        *("dsp_conv_2d", "dsp_conv_1x1", "dsp_conv_1x1_tiled", "dsp_depthwise_3x3"),
        *("dsp_depthwise_conv_2d", "dsp_planes", "dsp_add"),
    }


def test_every_width_of_tiles(tmp_path: Path, emulated: None) -> None:
    batch = []
    for width in range(1, 15):
        for stride, depth in ((1, 8), (2, 6), (1, 24)):
            label = f"tiles_{width}_{stride}_{depth}"
            layers = Layers(random.Random(label))
            source = layers.input((1, 4, width * stride, depth))
            tensor = layers.convolution(source, 1, 13)
            tensor = layers.convolution(tensor, 3, 0, stride)
            tensor = layers.convolution(tensor, 1, 5, activation="NONE")
            batch.append(_case(layers.save(tmp_path, label, source, tensor), label, 2))
            assert [step.kernel for step in batch[-1].model.program.steps] == [
                "dsp_conv_1x1",
                "dsp_depthwise_3x3",
                "dsp_conv_1x1_tiled",
            ]
    assert mismatches(batch, _run) == []


def test_single_pixels(tmp_path: Path, emulated: None) -> None:
    batch = []
    for depth, channels in ((64, 64), (100, 47), (513, 9), (37, 130), (1100, 6)):
        label = f"pixel_{depth}_{channels}"
        layers = Layers(random.Random(label))
        source = layers.input((1, 1, 1, depth))
        tensor = layers.convolution(source, 1, channels)
        tensor = layers.convolution(tensor, 3, 0)
        tensor = layers.convolution(tensor, 1, 90, activation="RELU6")
        tensor = layers.convolution(tensor, 1, 101, activation="NONE")
        batch.append(_case(layers.save(tmp_path, label, source, tensor), label, 3))
    kernels = [step.kernel for step in batch[1].model.program.steps]
    assert kernels == ["dsp_pixel", "dsp_depthwise_3x3", "dsp_pixel_tiled", "dsp_pixel"]
    assert mismatches(batch, _run) == []


@pytest.mark.parametrize("machine", [MPS2_AN386, MPS2_AN500], ids=lambda machine: machine.name)
def test_random_graphs(tmp_path: Path, emulated: None, scale: int, machine: Machine) -> None:
    batch = []
    for kind in RANDOM_KINDS:
        for number in range(6 * scale):
            label = f"{kind}_{machine.name[-3:]}_{number}"
            path = tmp_path / f"{label}.tflite"
            path.write_bytes(graph_bytes(kind, label))
            batch.append(_case(path, label, 3))
    for start in range(0, len(batch), BATCH):
        part = batch[start : start + BATCH]
        assert mismatches(part, lambda models, inputs: _run(models, inputs, machine)) == []


def test_shared_models_before_the_softmax(
    models_dir: Path, tmp_path: Path, emulated: None, scale: int
) -> None:
    batch = []
    for name in SHARED_MODELS if scale > 1 else ("resnet8", "v_32"):
        whole = load_model(models_dir / f"{name}.tflite")
        last = max(
            (step for step in whole.steps() if step.operator != "SOFTMAX"),
            key=lambda step: step.op_index,
        )
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(cut(whole.data, last.op_index + 1, last.output))
        batch.append(_case(path, name, 2))
        kernels = {step.kernel for step in batch[-1].model.program.steps}
        assert not kernels & {"conv_1x1", "conv_2d", "depthwise_conv_2d", "add", "fully_connected"}
    assert mismatches(batch, _run) == []


def _requantized(total: int, multiplier: int, shift: int, zero_point: int) -> int:
    """TensorFlow Lite Micro's two roundings, for shifts to the right."""
    x = total * multiplier + 2**30 >> 31
    half = 2**-shift // 2 - (x < 0)
    return max(-128, min(127, (x + half >> -shift) + zero_point))


@pytest.mark.parametrize("is_linear", [False, True])
def test_scaling_is_exact(is_linear: bool) -> None:
    rng = random.Random(7)
    taken = 0
    for _ in range(400):
        shift = -rng.randint(0, 17)
        multiplier = rng.choice((2**30, 2**31 - 1, rng.randint(2**30, 2**31 - 1)))
        zero_point = rng.randint(-128, 127) if is_linear else -128
        weights = np.array([[rng.randint(-127, 127) for _ in range(rng.choice((1, 9, 144)))]])
        bias = rng.randint(-(2**14), 2**14)
        packed = records(
            {
                "bias": int32_array("bias", [bias]),
                "multiplier": int32_array("multiplier", [multiplier]),
                "shift": int8_array("shift", [shift]),
                "per_channel": 0,
                "zero_point": zero_point,
                "min": -128,
                "max": 127,
            },
            weights,
            np.zeros((1, 4), dtype=np.int8),
        )
        if packed is None:
            continue
        taken += 1
        head, factor = (int(word) for word in packed[0, :8].copy().view("<i4"))
        k = head & 31
        assert head >> 5 == bias
        reach = abs(bias) + 128 * int(np.abs(weights).sum())
        for total in _interesting_sums(rng, reach, multiplier, shift):
            high = ((total << k) * factor >> 32) + (zero_point << 16) + 2**15 + 2 ** (k - 2)
            if is_linear and total < 0:
                high -= 2 ** (k - 1)
            assert -(2**31) <= high < 2**31
            result = max(-128, min(127, high >> 16))
            assert result == _requantized(total, multiplier, shift, zero_point), (total, shift)
    assert taken > 150


def _interesting_sums(rng: random.Random, reach: int, multiplier: int, shift: int) -> list[int]:
    """Both ends, around 0, around steps of the result, and some others; none beyond ``reach``."""
    sums = [-reach, reach, *range(-3, 4), *(rng.randint(-reach, reach) for _ in range(50))]
    for _ in range(100):
        step = (2 * rng.randint(-200, 200) + 1 << 30 - shift) // multiplier
        sums += range(step - 2, step + 3)
    return [total for total in sums if abs(total) <= reach]


def test_what_cannot_be_proven_stays_portable() -> None:
    one = np.array([[127] * 64], dtype=np.int8)
    output = {
        "bias": int32_array("bias", [0]),
        "multiplier": int32_array("multiplier", [2**30]),
        "shift": int8_array("shift", [0]),
        "per_channel": 0,
        "zero_point": 0,
        "min": -128,
        "max": 127,
    }
    for shift, bias in ((0, 0), (3, 0), (-2, 0), (-8, 2**26)):
        changed = {
            **output,
            "shift": int8_array("shift", [shift]),
            "bias": int32_array("bias", [bias]),
        }
        assert records(changed, one, one) is None
    assert records({**output, "shift": int8_array("shift", [-8])}, one, one) is not None


def test_sums_are_linear_where_the_scales_allow_it() -> None:
    operand = {"zero_point": 3, "multiplier": 2**30, "shift": 0}
    add = {
        **{"a": operand, "b": operand, "multiplier": 1717986918, "shift": -18},
        **{"zero_point": -5, "min": -128, "max": 127, "row_size": 8},
    }
    assert linear_addition(add) is not None
    assert linear_addition({**add, "multiplier": 2**30, "shift": -5}) is None
