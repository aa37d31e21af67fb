"""Damaged, foreign and unsupported files: always one clear line, never a traceback or a hang."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from exactness import case, graph_bytes
from tflite_builder import ModelBuilder
from vp_converters import ConversionError, load_model
from vp_converters.reader import read_graph
from vp_converters.target import SANITIZED_HOST, run_on_target


def _conv(**changes: object) -> ModelBuilder:
    """A model of one convolution (tensors 0 input, 1 weights, 2 bias, 3 output)."""
    model = ModelBuilder()
    source = model.activation((1, 4, 4, 2), 0.5, 3)
    weights = model.constant(np.ones((3, 3, 3, 2)), scales=[0.01] * 3)
    bias = model.constant([1, 2, 3], "int32", scales=[0.005] * 3)
    output = model.activation((1, 4, 4, 3), 0.25, -5)
    options = {"Padding": "SAME", "StrideH": 1, "StrideW": 1}
    model.op("CONV_2D", [source, weights, bias], [output], **{**options, **changes})
    return model


def _load(data: bytes, folder: Path) -> object:
    path = folder / "model.tflite"
    path.write_bytes(data)
    return load_model(path)


def _refused(data: bytes, folder: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        _load(data, folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(folder))
    return text


def test_the_plain_model_compiles(tmp_path: Path) -> None:
    _load(_conv().build([0], [3]), tmp_path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no\.tflite: No such file"):
        load_model(tmp_path / "no.tflite")
    with pytest.raises(ConversionError, match="Is a directory"):
        load_model(tmp_path)


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 64, b"\x89PNG\r\n" * 20, b"abcdTFL2" * 9])
def test_not_a_model(data: bytes, tmp_path: Path) -> None:
    assert "not a .tflite file" in _refused(data, tmp_path)


def test_an_identifier_and_nothing_else(tmp_path: Path) -> None:
    assert "damaged" in _refused(b"\x08\0\0\0TFL3", tmp_path)
    assert "damaged" in _refused(b"\xff\xff\xff\xffTFL3" + b"\xff" * 40, tmp_path)


def test_truncated_anywhere(tmp_path: Path) -> None:
    data = _conv().build([0], [3])
    for length in range(0, len(data) - 8, 3):
        try:
            _load(data[:length], tmp_path)
        except ConversionError as error:
            assert "\n" not in str(error)


def test_flipped_bits_end_in_an_error_or_in_sound_c(tmp_path: Path, scale: int) -> None:
    rng = random.Random(1)
    accepted = []
    for number in range(600 * scale):
        data = bytearray(graph_bytes(rng.choice(("graph", "conv_2d", "add", "mean")), str(number)))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path = tmp_path / f"flipped-{number}.tflite"
        path.write_bytes(data)
        try:
            accepted.append(case(path, str(number), 2))
        except ConversionError as error:
            assert "\n" not in str(error)
    small = [c for c in accepted if c.model.macs < 10**7 and c.model.arena_size < 10**6]
    assert len(small) > len(accepted) // 2
    for start in range(0, len(small), 200):
        part = small[start : start + 200]
        run_on_target([c.model for c in part], [c.inputs for c in part], SANITIZED_HOST)


def test_absurd_numbers_in_every_word(tmp_path: Path) -> None:
    data = _conv().build([0], [3])
    for position in range(0, len(data) - 4, 4):
        for value in (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x00FFFFFF):
            changed = bytearray(data)
            struct.pack_into("<I", changed, position, value)
            try:
                read_graph(bytes(changed))
            except ConversionError as error:
                assert "\n" not in str(error)


def test_an_unsupported_operator_is_named(tmp_path: Path) -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 4)), model.activation((1, 4))
    model.op("LOGISTIC", [source], [output])
    text = _refused(model.build([source], [output]), tmp_path)
    assert "operator 0 LOGISTIC" in text
    assert "0 't0' [1, 4] int8" in text
    assert "not a supported operator" in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Padding": 7}, "padding 7"),
        ({"StrideH": 0}, "stride"),
        ({"StrideW": 2}, "an output side is 4"),
        ({"Padding": "VALID"}, "an output side is 4"),
        ({"DilationHFactor": -1}, "dilation"),
        ({"FusedActivationFunction": "TANH"}, "activation TANH"),
        ({"FusedActivationFunction": 77}, "activation number 77"),
    ],
)
def test_unsupported_options(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    text = _refused(_conv(**change).build([0], [3]), tmp_path)
    assert "operator 0 CONV_2D" in text
    assert reason in text


def _with(tensor: int, **fields: object) -> bytes:
    model = _conv()
    for name, value in fields.items():
        setattr(model.spec(tensor), name, value)
    return model.build([0], [3])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_with(0, dtype="float32"), "float32, not int8: quantize the model fully"),
        (_with(3, dtype="uint8"), "uint8, not int8"),
        (_with(0, shape=(2, 4, 4, 2)), "batch size 2"),
        (_with(0, shape=(1, -1, 4, 2)), "every dimension must be fixed"),
        (_with(0, shape=(1, 4, 4, 2**30)), "elements"),
        (_with(0, shape=(1,) * 9), "9 dimensions"),
        (_with(0, scales=[0.0]), "scale 0"),
        (_with(0, scales=[float("nan")]), "scale nan"),
        (_with(0, scales=[-1.0]), "scale -1"),
        (_with(0, scales=[]), "one scale and one zero point"),
        (_with(0, scales=[1.0, 2.0], zero_points=[0, 0]), "one scale and one zero point"),
        (_with(0, zero_points=[128]), "zero point 128"),
        (_with(3, scales=[1e-30]), "too large"),
        (_with(1, zero_points=[1, 0, 0]), "zero point other than 0"),
        (_with(1, scales=[0.1, 0.2], zero_points=[0, 0]), "2 scales along axis 0"),
        (_with(1, axis=3), "3 scales along axis 3"),
        (_with(1, scales=[1.0] * 3, zero_points=[0] * 2), "3 scales and 2 zero points"),
        (_with(1, shape=(3, 3, 3, 3)), "its shape needs 81"),
        (_with(1, data=None), "read before any operator"),
        (_with(2, data=np.ones(2, dtype=np.int32), shape=(2,)), "bias"),
    ],
)
def test_tensors_that_make_no_sense(data: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in _refused(data, tmp_path)


def test_a_float_model(tmp_path: Path) -> None:
    model = ModelBuilder()
    source = model.activation((1, 4), dtype="float32")
    weights = model.constant(np.ones((2, 4)), "float32")
    output = model.activation((1, 2), dtype="float32")
    model.op("FULLY_CONNECTED", [source, weights], [output])
    text = _refused(model.build([source], [output]), tmp_path)
    assert "float32, not int8: quantize the model fully, input and output too" in text


def test_weights_of_other_types(tmp_path: Path) -> None:
    data = _with(1, dtype="int4", data=np.ones(27, dtype=np.int8))
    assert "operator 0 CONV_2D" in _refused(data, tmp_path)
    assert "the weights are int4, not int8" in _refused(data, tmp_path)


def test_several_inputs_or_outputs(tmp_path: Path) -> None:
    assert "2 inputs; exactly one" in _refused(_conv().build([0, 3], [3]), tmp_path)
    assert "0 outputs; exactly one" in _refused(_conv().build([0], []), tmp_path)
    assert "input tensor 9" in _refused(_conv().build([9], [3]), tmp_path)
    assert "no operators" in _refused(_empty(), tmp_path)


def _empty() -> bytes:
    model = ModelBuilder()
    tensor = model.activation((1, 4))
    return model.build([tensor], [tensor])


def test_dangling_and_cyclic_tensors(tmp_path: Path) -> None:
    model = ModelBuilder()
    a, b, c = (model.activation((1, 4)) for _ in range(3))
    model.op("ADD", [a, c], [b])
    model.op("ADD", [a, b], [c])
    assert "tensor 2 is read before" in _refused(model.build([a], [c]), tmp_path)

    model = _conv()
    model.ops.append(model.ops[0])
    assert "written twice" in _refused(model.build([0], [3]), tmp_path)

    model = _conv()
    model.ops[0].inputs = [0, 77]
    assert "tensor 77, which does not exist" in _refused(model.build([0], [3]), tmp_path)

    model = _conv()
    lost = model.activation((1, 4))
    assert f"tensor {lost}" in _refused(model.build([0], [lost]), tmp_path)


def test_names_cannot_break_the_line_or_the_comment(tmp_path: Path) -> None:
    model = _conv()
    model.spec(3).name = 'a\nb*/ int x; /* "\\'
    path = tmp_path / "model.tflite"
    path.write_bytes(model.build([0], [3]))
    text = load_model(path).files()["model.c"]
    assert text.count("*/") == text.count("/*")
    one = case(path, "names", 1)
    run_on_target([one.model], [one.inputs], SANITIZED_HOST)
