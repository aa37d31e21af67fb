"""The comparison with tflite_micro finds what differs, and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exactness import Int8Array, graph_bytes
from tflite_builder import ModelBuilder
from vp_converters import CompiledModel, ConversionError, load_model
from vp_converters.check import check_model, compare, first_cut_difference
from vp_converters.oracle import Oracle


def _network(weight: int, folder: Path) -> CompiledModel:
    model = ModelBuilder()
    source = tensor = model.activation((1, 8), 0.1, 3)
    for value in (5, weight, 7):
        weights = model.constant(np.full((8, 8), value), scales=[0.02])
        output = model.activation((1, 8), 0.1, -3)
        model.op("FULLY_CONNECTED", [tensor, weights], [output])
        tensor = output
    path = folder / f"weight{weight}.tflite"
    path.write_bytes(model.build([source], [tensor]))
    return load_model(path)


def test_equal_models(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(graph_bytes("graph", "graph-3"))
    done: list[int] = []
    result = check_model(load_model(path), 25, done.append)
    assert (result.inputs, result.mismatches, result.first_difference) == (25, 0, None)
    assert sum(done) == 25


def test_the_first_operator_that_differs_is_named(tmp_path: Path) -> None:
    other = replace(_network(9, tmp_path), data=_network(4, tmp_path).data)
    result = compare(other, 5, (1, 0))
    assert result.mismatches > 0
    assert result.first_difference is not None
    assert result.first_difference.startswith("operator 1 FULLY_CONNECTED: 8 of 8 values")


@pytest.mark.parametrize("kernels", ["dsp", "mve"])
def test_kernels_of_an_instruction_set_run_on_a_board(
    tmp_path: Path, emulated: None, kernels: str
) -> None:
    model = _network(4, tmp_path)
    fast = load_model(tmp_path / "weight4.tflite", kernels=kernels)
    assert any(step.kernel.startswith(kernels) for step in fast.steps())
    assert compare(fast, 3, (1, 0)).mismatches == 0
    other = replace(fast, data=_network(9, tmp_path).data)
    assert compare(other, 3, (1, 0)).mismatches > 0
    assert compare(model, 3, (1, 0)).mismatches == 0


def test_the_first_cut_that_differs_is_named(tmp_path: Path) -> None:
    model = _network(4, tmp_path)

    def wrong_from_the_second_on(part: CompiledModel, inputs: Int8Array) -> list[Int8Array]:
        output = Oracle(part.data).run(inputs[0])
        return [output + (len(part.steps()) > 1)]

    values = np.zeros((1, 8), dtype=np.int8)
    found = first_cut_difference(model, values, wrong_from_the_second_on)
    assert found == "operator 1 FULLY_CONNECTED"


def test_a_reference_that_ends_its_process(tmp_path: Path) -> None:
    model = ModelBuilder()
    source = model.activation((1, 1000), 2.0**-20, 0)
    output = model.activation((1, 1000), 1 / 256, -128)
    model.op("SOFTMAX", [source], [output], Beta=1.0)
    path = tmp_path / "flat.tflite"
    path.write_bytes(model.build([source], [output]))
    with pytest.raises(ConversionError, match="ended its process"):
        check_model(load_model(path), 1)
