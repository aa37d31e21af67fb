"""Arithmetic at its corners, on every kind of kernels, against tflite_micro."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from corner_models import ENDS, INT32_MAX, OPERATORS, PRODUCTS, SHIFTS, products, scaled_fast
from exactness import Int8Array, host_runner
from fuzzing import compare, sanitized
from vp_converters import CompiledModel, load_model
from vp_converters.target import MPS2_AN386, MPS3_AN547, Machine, run_on_target

LEAST_COMPARED = {"softmaxes": 0.7}


def _models(operator: str, folder: Path, kernels: str = "portable") -> list[CompiledModel]:
    models = []
    for number, (label, data) in enumerate(OPERATORS[operator]()):
        path = folder / f"{label.replace('/', ' ')} {number}.tflite"
        path.write_bytes(data)
        models.append(load_model(path, f"m{number}", kernels))
    return models


@pytest.mark.parametrize("operator", OPERATORS)
def test_portable(operator: str, tmp_path: Path) -> None:
    models = _models(operator, tmp_path)
    compared, differing = compare(models, host_runner(tmp_path))
    assert differing == []
    assert compared >= LEAST_COMPARED.get(operator, 1) * len(models)


def test_under_sanitizers(tmp_path: Path) -> None:
    for operator in OPERATORS:
        _, differing = compare(_models(operator, tmp_path)[::12], sanitized)
        assert differing == []


@pytest.mark.parametrize(
    ("machine", "kernels"), [(MPS2_AN386, "dsp"), (MPS3_AN547, "mve")], ids=["dsp", "mve"]
)
def test_on_emulated_boards(
    machine: Machine, kernels: str, tmp_path: Path, emulated: None, scale: int
) -> None:
    def run(models: Sequence[CompiledModel], inputs: Sequence[Int8Array]) -> list[Int8Array]:
        return [result.outputs for result in run_on_target(models, inputs, machine)]

    step = 1 if scale > 1 else 7
    models = [m for operator in OPERATORS for m in _models(operator, tmp_path, kernels)[::step]]
    for number in range(0, len(models), 100):
        part = _renamed(models[number : number + 100])
        assert compare(part, run)[1] == []


@pytest.mark.parametrize(
    ("machine", "kernels"), [(MPS2_AN386, "dsp"), (MPS3_AN547, "mve")], ids=["dsp", "mve"]
)
def test_fast_scaling_at_its_limits(
    machine: Machine, kernels: str, tmp_path: Path, emulated: None
) -> None:
    kinds = ("matrix", "pointwise", "window", "depthwise")
    models = []
    for number, (kind, multiplier, zeros) in enumerate(
        product(kinds, (2**30, INT32_MAX), product(ENDS, ENDS))
    ):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(scaled_fast(kind, multiplier, zeros))
        models.append(load_model(path, f"m{number}", kernels))
        assert models[-1].program.steps[-1].kernel.startswith(kernels)

    def run(models: Sequence[CompiledModel], inputs: Sequence[Int8Array]) -> list[Int8Array]:
        return [result.outputs for result in run_on_target(models, inputs, machine)]

    assert compare(models, run)[1] == []


@pytest.mark.parametrize("kind", ["pointwise", "window", "depthwise"])
def test_beyond_its_limits_it_is_not_used(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(scaled_fast(kind, INT32_MAX, (-128, 127), beyond=2**27))
    assert load_model(path, kernels="dsp").program.steps[-1].kernel in (
        *("conv_1x1", "conv_2d", "depthwise_conv_2d"),
    )


def _renamed(models: list[CompiledModel]) -> list[CompiledModel]:
    return [replace(model, name=f"m{number}") for number, model in enumerate(models)]


@pytest.mark.parametrize("multiplier", [2**30, INT32_MAX])
@pytest.mark.parametrize("kind", PRODUCTS)
def test_the_corners_are_there(kind: str, multiplier: int, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(products(kind, multiplier, (-128, 127), None))
    (step,) = load_model(path).program.steps
    arrays = {array.name: array.data for array in step.arrays()}
    assert set(arrays["multiplier"]) == {multiplier}
    assert set(arrays["shift"]) == set(SHIFTS)
