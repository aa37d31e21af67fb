"""Files that ask for too much or contradict themselves: one clear line, soon, in little memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tflite

from exactness import case, host_runner, mismatches
from fuzz_corpus import Mutant
from fuzzing import judge
from tflite_builder import ModelBuilder
from vp_converters import ConversionError, load_model
from vp_converters.reader import read_graph

ONE_PIXEL = np.ones((1, 1, 1, 1))


def _convolution(
    model: ModelBuilder, source: int, shape: tuple[int, ...], kernel: int = 1, **options: object
) -> int:
    weights = model.constant(np.ones((1, kernel, 1, shape[3])), scales=[0.1])
    output = model.activation(shape, 0.5, 3)
    choice = {"Padding": "SAME", "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1, **options}
    model.op("DEPTHWISE_CONV_2D", [source, weights], [output], **choice)
    return output


def _high(height: int, kernel: int, count: int) -> bytes:
    model = ModelBuilder()
    source = tensor = model.activation((1, height, 1, 1), 0.5, 3)
    for _ in range(count):
        tensor = _convolution(model, tensor, (1, height, 1, 1), kernel)
    return model.build([source], [tensor])


def _repeated_names() -> bytes:
    """Four thousand tensors, all of them called by the same 100,000 letters."""
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1, 4))
    model.op("ADD", [source, source], [output])
    names = [model.activation((1, 4)) for _ in range(4000)]
    model.spec(names[-1]).name = "x" * 100_000
    data = bytearray(model.build([source], [output]))
    tables = tflite.Model.GetRootAs(bytes(data), 0).Subgraphs(0)._tab
    vector = tables.Vector(tables.Offset(4))
    offsets = [vector + 4 * index for index in range(len(model.tensors))]
    last = offsets[-1] + struct.unpack_from("<I", data, offsets[-1])[0]
    for offset in offsets[2:]:
        struct.pack_into("<I", data, offset, last - offset)
    return bytes(data)


def _packed_again_and_again() -> bytes:
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1, 4))
    model.op("ADD", [source, source], [output])
    size, packed = 1024, model.constant(np.zeros(1024), "int32")
    for _ in range(17):
        pair, size = model.computed_int32((2, size)), 2 * size
        model.op("PACK", [packed, packed], [pair], ValuesCount=2, Axis=0)
        packed = model.computed_int32((size,))
        model.op("RESHAPE", [pair], [packed])
    return model.build([source], [output])


def _shared_weights() -> bytes:
    model = ModelBuilder()
    source = tensor = model.activation((1, 1024))
    weights = model.constant(np.ones((1024, 1024)), scales=[1.0])
    for _ in range(100):
        output = model.activation((1, 1024))
        model.op("FULLY_CONNECTED", [tensor, weights], [output])
        tensor = output
    return model.build([source], [tensor])


def _operators(count: int) -> bytes:
    model = ModelBuilder()
    source = tensor = model.activation((1, 4), 1.0, 0)
    for _ in range(count):
        output = model.activation((1, 4), 2.0, 0)
        model.op("ADD", [tensor, tensor], [output])
        tensor = output
    return model.build([source], [tensor])


def test_steps_that_a_backend_adds_count(tmp_path: Path) -> None:
    """The DSP kernels turn rows into planes ahead of a depthwise convolution."""
    model = ModelBuilder()
    source = tensor = model.activation((1, 1, 4, 4), 0.5, -128)
    for _ in range(600):
        weights = model.constant(np.full((1, 1, 3, 4), 2), scales=[0.02])
        output = model.activation((1, 1, 4, 4), 0.5, -128)
        model.op(
            "DEPTHWISE_CONV_2D",
            [tensor, weights],
            [output],
            Padding="SAME",
            StrideH=1,
            StrideW=1,
            DepthMultiplier=1,
        )
        tensor = output
    path = tmp_path / "long.tflite"
    path.write_bytes(model.build([source], [tensor]))
    with pytest.raises(ConversionError, match="1200 steps to run; at most 1022"):
        load_model(path, kernels="dsp")


@pytest.mark.parametrize("kind", ["MEAN", "REDUCE_MAX"])
def test_an_image_higher_than_rows_are_counted_is_reduced_whole(kind: str, tmp_path: Path) -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 70000, 1, 2), 0.5, 0), model.activation((1, 2), 0.5, 0)
    model.op(kind, [source, model.constant([1, 2], "int32")], [output], KeepDims=False)
    path = tmp_path / "high.tflite"
    path.write_bytes(model.build([source], [output]))
    assert mismatches([case(path, kind, 2)], host_runner(tmp_path)) == []


def _axes(count: int) -> bytes:
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1,))
    axes = model.constant(np.ones(count), "int32")
    model.op("MEAN", [source, axes], [output], KeepDims=False)
    return model.build([source], [output])


def _target(count: int) -> bytes:
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1, 4))
    model.op("RESHAPE", [source, model.constant(np.ones(count), "int32")], [output])
    return model.build([source], [output])


def _pool(height: int, width: int) -> bytes:
    model = ModelBuilder()
    source, output = model.activation((1, height, width, 1)), model.activation((1, 1, 1, 1))
    options = {"FilterHeight": height, "FilterWidth": width, "StrideH": 1, "StrideW": 1}
    model.op("AVERAGE_POOL_2D", [source], [output], Padding="VALID", **options)
    return model.build([source], [output])


def _inputs(count: int) -> bytes:
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1, 4))
    model.op("ADD", [source] * count, [output])
    return model.build([source], [output])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_repeated_names, "its vectors are longer than the file"),
        (_packed_again_and_again, "at most 4096 are supported"),
        (_shared_weights, "the constants up to here need"),
        (lambda: _operators(1100), "1100 steps to run; at most 1022"),
        (lambda: _operators(5000), "5000 operators; at most 4096"),
        (lambda: _axes(200_000), "200000 axes"),
        (lambda: _target(200_000), "the target shape has 200000 dimensions"),
        (lambda: _pool(4096, 4096), "16777216 pixels in a window"),
        (lambda: _inputs(100_000), "99992 more"),
        (lambda: _high(40_000, 3, 1), "the images have too many rows"),
        (lambda: _high(60_000, 3, 20), "1200000 rows to compute"),
        (lambda: _high(66_000, 3, 1), "a dimension is larger than 65535"),
    ],
)
def test_too_much(make: Callable[[], bytes], reason: str, tmp_path: Path) -> None:
    (verdict,) = judge([Mutant(reason, make())], tmp_path)
    assert verdict.fault == ""
    assert reason in verdict.error


@pytest.mark.parametrize("make", [lambda: _high(2000, 2000, 1), lambda: _high(40, 9, 100)])
def test_much_is_planned_soon(make: Callable[[], bytes], tmp_path: Path) -> None:
    (verdict,) = judge([Mutant("much", make())], tmp_path)
    assert verdict.error == verdict.fault == ""


def test_an_endless_file(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="/dev/zero: larger than 64 MiB"):
        load_model("/dev/zero")


def _padded(amount: int, inputs: int = 2) -> bytes:
    model = ModelBuilder()
    source = model.activation((1, 4, 4, 1), 0.5, 3)
    padded = model.activation((1, 5, 4, 1), 0.5, 3)
    amounts = model.constant([(0, 0), (amount, 0), (0, 0), (0, 0)], "int32")
    model.op("PAD", [source, amounts][:inputs], [padded])
    return model.build([source], [_convolution(model, padded, (1, 5, 4, 1), 3)])


def test_a_pad_that_contradicts_its_output(tmp_path: Path) -> None:
    load = tmp_path / "pad.tflite"
    load.write_bytes(_padded(1))
    assert [step.operator for step in load_model(load).steps()] == ["DEPTHWISE_CONV_2D"]
    for amount in (0, 2, 2**31 - 1):
        load.write_bytes(_padded(amount))
        with pytest.raises(ConversionError, match="the padded shape is"):
            load_model(load)
    load.write_bytes(_padded(1, inputs=0))
    with pytest.raises(ConversionError, match=r"PAD.*needs 2 inputs"):
        load_model(load)


@pytest.mark.parametrize(("block", "margin"), [(2**30, 0), (3, 0), (2, 2), (2, 2**31 - 1), (0, 0)])
def test_pieces_that_contradict_their_image(block: int, margin: int, tmp_path: Path) -> None:
    model = ModelBuilder()
    source, split = model.activation((1, 8, 8, 1)), model.activation((4, 4, 4, 1))
    convolved = _convolution_of_pieces(model, split)
    output = model.activation((1, 4, 8, 1), 0.5, 3)
    blocks = model.constant([block, block], "int32")
    margins = model.constant([(margin, 0), (0, 0)], "int32")
    crops = model.constant([(0, 0), (0, 0)], "int32")
    model.op("SPACE_TO_BATCH_ND", [source, blocks, margins], [split])
    model.ops.reverse()
    model.op("BATCH_TO_SPACE_ND", [convolved, blocks, crops], [output])
    path = tmp_path / "pieces.tflite"
    path.write_bytes(model.build([source], [output]))
    with pytest.raises(ConversionError, match=r"SPACE_TO_BATCH_ND.*not a supported"):
        load_model(path)


def _convolution_of_pieces(model: ModelBuilder, split: int) -> int:
    return _convolution(model, split, (4, 2, 4, 1), 3, Padding="VALID")


def test_the_options_of_another_operator(tmp_path: Path) -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1, 4))
    op = model.op("ADD", [source, source], [output], FusedActivationFunction="RELU6")
    op.table = "FullyConnected"
    with pytest.raises(ConversionError, match="options are those of another operator"):
        read_graph(model.build([source], [output]))


def test_the_larger_of_two_operator_codes_counts() -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1, 4))
    model.op("SOFTMAX", [source], [output], Beta=1.0)
    data = bytearray(model.build([source], [output]))
    code = tflite.Model.GetRootAs(bytes(data), 0).OperatorCodes(0)._tab
    old, new = (code.Pos + code.Offset(slot) for slot in (4, 10))
    data[old] = 0
    assert read_graph(bytes(data)).ops[0].kind == "SOFTMAX"
    data[old], data[new] = tflite.BuiltinOperator.SOFTMAX, tflite.BuiltinOperator.LOGISTIC
    assert read_graph(bytes(data)).ops[0].kind == "SOFTMAX"


def test_a_stride_beyond_everything(tmp_path: Path) -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 2, 9000, 9), 1.0, 5), model.activation((1, 1, 1, 1))
    weights = model.constant(np.ones((1, 1, 1, 9)), scales=[0.1])
    options = {"Padding": "SAME", "StrideH": 65535, "StrideW": 65535}
    model.op("CONV_2D", [source, weights], [output], **options)
    path = tmp_path / "stride.tflite"
    path.write_bytes(model.build([source], [output]))
    one = case(path, "stride", 2)
    assert mismatches([one], host_runner(tmp_path, ("-O1", "-Wall", "-Wextra", "-Werror"))) == []


@pytest.mark.parametrize("kind", ["ADD", "MEAN", "REDUCE_MAX", "SOFTMAX"])
def test_images_of_more_rows_than_are_counted(kind: str, tmp_path: Path) -> None:
    model = ModelBuilder()
    shape = (1, 65_536, 1, 2)
    source = model.activation(shape, 0.1, 5)
    if kind == "ADD":
        output = model.activation(shape, 0.25, 5)
        model.op(kind, [source, source], [output])
    elif kind == "SOFTMAX":
        output = model.activation(shape, 1 / 256, -128)
        model.op(kind, [source], [output], Beta=1.0)
    else:
        output = model.activation((1, 2), 0.1, 5)
        axes = model.constant([1, 2], "int32")
        model.op(kind, [source, axes], [output], KeepDims=False)
    path = tmp_path / "high.tflite"
    path.write_bytes(model.build([source], [output]))
    assert mismatches([case(path, kind, 2)], host_runner(tmp_path)) == []
