"""Random graphs: the compiled C against tflite_micro, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exactness import KINDS, Int8Array, case, cases, host_runner, mismatches
from random_graphs import small_graph
from vp_converters import CompiledModel
from vp_converters.target import MPS2_AN386, SANITIZED_HOST, Machine, run_on_target

BATCH = 200


def _in_batches(kind: str, count: int, folder: Path, inputs: int, runner: object) -> None:
    for start in range(0, count, BATCH):
        batch = list(cases(kind, min(BATCH, count - start), folder, inputs, start))
        assert mismatches(batch, runner) == []


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_host(kind: str, tmp_path: Path, scale: int) -> None:
    _in_batches(kind, 60 * scale, tmp_path, 4, host_runner(tmp_path))


def _machine_runner(machine: Machine) -> object:
    def run(models: Sequence[CompiledModel], inputs: Sequence[Int8Array]) -> list[Int8Array]:
        return [result.outputs for result in run_on_target(models, inputs, machine)]

    return run


def _mixed(folder: Path, count: int) -> list[list[object]]:
    """``count`` graphs of every kind, other ones than the host's test has, in batches."""
    everything = [c for kind in KINDS for c in cases(kind, count, folder, 3, start=10**6)]
    return [everything[i : i + BATCH] for i in range(0, len(everything), BATCH)]


def test_on_an_emulated_cortex_m4f(tmp_path: Path, emulated: None, scale: int) -> None:
    for batch in _mixed(tmp_path, 8 * scale):
        assert mismatches(batch, _machine_runner(MPS2_AN386)) == []


def test_under_sanitizers_with_all_warnings(tmp_path: Path, scale: int) -> None:
    for batch in _mixed(tmp_path, 4 * scale):
        assert mismatches(batch, _machine_runner(SANITIZED_HOST)) == []


@given(rng=st.randoms(note_method_calls=False, use_true_random=False), seed=st.integers(0, 99))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_failing_graph_shrinks(rng: random.Random, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "graph.tflite"
    path.write_bytes(small_graph(rng))
    one = case(path, "graph", 2)
    np.random.default_rng(seed).shuffle(one.inputs)
    assert mismatches([one], host_runner(tmp_path)) == []
