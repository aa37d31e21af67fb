"""Whole networks against tflite_micro, before the softmax too, on the host and the Cortex-M4F."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exactness import REPOSITORY, SHARED_MODELS, case, mismatches
from vp_converters import CompiledModel, load_model
from vp_converters.host import HostModel
from vp_converters.oracle import Oracle, cut
from vp_converters.target import run_on_target

OWN_MODELS = sorted((REPOSITORY / "models").glob("*/*.tflite"))


def _check(path: Path, cache_dir: Path, inputs: int) -> None:
    one = case(path, path.stem, inputs)
    host = HostModel(one.model, cache_dir)
    assert mismatches([one], lambda models, batches: [np.stack([*map(host.run, one.inputs)])]) == []
    layers = [host.trace(values) for values in one.inputs[:2]]
    last = max(i for i, (step, _) in enumerate(layers[0]) if step.operator != "SOFTMAX")
    for number in sorted({0, last // 2, last}):
        step = layers[0][number][0]
        oracle = Oracle(cut(one.model.data, step.op_index + 1, step.output))
        for values, layer in zip(one.inputs, layers, strict=False):
            np.testing.assert_array_equal(layer[number][1], oracle.run(values), err_msg=step.name)


@pytest.mark.parametrize("name", SHARED_MODELS)
def test_shared_model(name: str, models_dir: Path, cache_dir: Path, scale: int) -> None:
    _check(models_dir / f"{name}.tflite", cache_dir, 30 * scale)


@pytest.mark.parametrize("path", OWN_MODELS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_own_model(path: Path, cache_dir: Path, scale: int) -> None:
    _check(path, cache_dir, 10 * scale)


def test_shared_models_on_an_emulated_cortex_m4f(
    models_dir: Path, emulated: None, scale: int
) -> None:
    batch = [case(models_dir / f"{name}.tflite", name, 2 * scale) for name in SHARED_MODELS]
    assert mismatches(batch, _on_target) == []


def test_own_models_on_an_emulated_cortex_m4f(emulated: None, scale: int) -> None:
    assert OWN_MODELS
    for family in sorted({path.parent for path in OWN_MODELS}):
        paths = sorted(family.glob("*.tflite"))
        assert mismatches([case(path, path.stem, 2 * scale) for path in paths], _on_target) == []


def _on_target(models: list[CompiledModel], inputs: list[np.ndarray]) -> list[np.ndarray]:
    return [result.outputs for result in run_on_target(models, inputs)]


def test_a_batch_is_its_inputs_one_by_one(models_dir: Path, cache_dir: Path) -> None:
    host = HostModel(load_model(models_dir / "resnet8.tflite"), cache_dir)
    batch = np.random.default_rng(0).integers(-128, 128, (3, 32, 32, 3), dtype=np.int8)
    together = host.run(batch)
    assert together.shape == (3, 10)
    for row, values in zip(together, batch, strict=True):
        np.testing.assert_array_equal(host.run(values).reshape(-1), row)
    with pytest.raises(ValueError, match="float64"):
        host.run(np.zeros((32, 32, 3)))
    with pytest.raises(ValueError, match="shape"):
        host.run(np.zeros((31, 32, 3), dtype=np.int8))
