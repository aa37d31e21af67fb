"""Whole random networks against tflite_micro, on every kind of kernels and machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from exactness import Int8Array, Runner, host_runner
from fuzzing import compare, sanitized
from random_networks import FAMILIES, network
from vp_converters import CompiledModel, load_model
from vp_converters.target import MPS2_AN386, MPS3_AN547, Machine, run_on_target


def _check(
    families: Sequence[str],
    numbers: range,
    folder: Path,
    runner: Runner,
    kernels: str = "portable",
) -> None:
    models = []
    for family in families:
        for number in numbers:
            path = folder / f"{family}-{number}.tflite"
            path.write_bytes(network(family, path.stem))
            models.append(load_model(path, kernels=kernels))
    compared, differing = compare(models, runner)
    assert differing == []
    assert compared > 0.7 * len(models)


@pytest.mark.parametrize("family", FAMILIES)
def test_on_the_host(family: str, tmp_path: Path, scale: int) -> None:
    _check([family], range(4 * scale), tmp_path, host_runner(tmp_path))


def test_under_sanitizers_with_all_warnings(tmp_path: Path, scale: int) -> None:
    for start in range(1000, 1000 + 2 * scale, 2):
        _check(list(FAMILIES), range(start, start + 2), tmp_path, sanitized)


@pytest.mark.parametrize(
    ("machine", "kernels"),
    [(MPS2_AN386, "dsp"), (MPS3_AN547, "mve")],
    ids=["dsp", "mve"],
)
def test_on_emulated_boards(
    machine: Machine, kernels: str, tmp_path: Path, emulated: None, scale: int
) -> None:
    def run(models: Sequence[CompiledModel], inputs: Sequence[Int8Array]) -> list[Int8Array]:
        return [result.outputs for result in run_on_target(models, inputs, machine)]

    for start in range(2000, 2000 + 2 * scale, 2):
        _check(list(FAMILIES), range(start, start + 2), tmp_path, run, kernels)
