"""`vp compile --explain`: what it says is what the plan does."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exactness import SHARED_MODELS, graph_bytes
from plan_simulation import EXAMPLES
from random_graphs import small_graph
from small_nets import Net
from vp_converters import load_model
from vp_converters.backends import KERNELS
from vp_converters.explain import Explanation, StepReport, explain
from vp_converters.passes import run_and_report
from vp_converters.planner import progress_bytes
from vp_converters.reader import read_graph


def _explain(net: Net, output: int, folder: Path, ram: int | None = None) -> Explanation:
    path = folder / "net.tflite"
    path.write_bytes(net.data(output))
    return explain(load_model(path, ram=ram))


def _steps(explanation: Explanation) -> list[StepReport]:
    return [step for group in explanation.groups for step in group.steps]


def test_a_folded_pad_names_the_operator_that_took_it(tmp_path: Path) -> None:
    net = Net((1, 8, 8, 4))
    result = _explain(net, net.conv(net.pad(net.input, 1), padding="VALID"), tmp_path)
    assert result.passes == ("operator 0 PAD is folded into operator 1 CONV_2D",)


def test_dropped_operators_and_views_are_named(tmp_path: Path) -> None:
    net = Net((1, 8, 8, 4))
    net.conv(net.input)
    result = _explain(net, net.softmax(net.reshape(net.input, (1, 256))), tmp_path)
    assert result.passes == (
        "operator 0 CONV_2D is dropped: nobody reads it",
        "operator 1 RESHAPE is another view of the same memory",
    )


def test_a_chain_of_shapes_is_constant(tmp_path: Path) -> None:
    for number in range(9):
        path = tmp_path / f"flatten{number}.tflite"
        path.write_bytes(graph_bytes("flatten", f"chain-{number}"))
        result = explain(load_model(path))
        if len(result.passes) > 1:
            break
    assert result.passes == (
        "operator 0 SHAPE is a constant",
        "operator 1 STRIDED_SLICE is a constant",
        "operator 2 PACK is a constant",
        "operator 3 RESHAPE is another view of the same memory",
    )
    assert result.groups == ()


def test_a_folded_dilation_names_its_convolution() -> None:
    net = Net((1, 8, 8, 4))
    split = net.tensor((4, 4, 4, 4))
    block = net.model.constant([2, 2], "int32")
    none = net.model.constant([[0, 0], [0, 0]], "int32")
    weights = net.model.constant(np.ones((4, 1, 1, 4), np.int8), scales=[0.01])
    made, joined = net.tensor((4, 4, 4, 4)), net.tensor((1, 8, 8, 4))
    net.model.op("SPACE_TO_BATCH_ND", [net.input, block, none], [split])
    net.model.op(
        "CONV_2D",
        [split, weights, -1],
        [made],
        Padding="VALID",
        StrideH=1,
        StrideW=1,
        DilationHFactor=1,
        DilationWFactor=1,
    )
    net.model.op("BATCH_TO_SPACE_ND", [made, block, none], [joined])
    _, changes = run_and_report(read_graph(net.data(joined)))
    assert [(c.op.kind, c.into) for c in changes] == [
        ("SPACE_TO_BATCH_ND", 1),
        ("BATCH_TO_SPACE_ND", 1),
    ]


def test_rings_are_reported(tmp_path: Path) -> None:
    net = Net((1, 16, 16, 4))
    result = _explain(net, net.mean(net.conv(net.conv(net.input))), tmp_path)
    assert result.input == "streamed in: 3 of 16 rows, 192 bytes kept"
    first, second, pooled = _steps(result)
    assert (first.rows, first.height, first.bytes) == (3, 16, 192)
    assert (second.rows, second.bytes) == (1, 64)
    assert "takes each row as it comes" in pooled.notes
    assert len(result.groups) == 1
    assert result.groups[0].end == ()


def test_activations_and_places_are_reported(tmp_path: Path) -> None:
    net = Net((1, 16, 16, 4))
    first = net.conv(net.input, activation="RELU6")
    result = _explain(net, net.mean(net.add(net.conv(first), first)), tmp_path)
    steps = _steps(result)
    assert "RELU6 is the clamp" in steps[0].notes
    assert "in place of operator 1 CONV_2D's output" in steps[2].notes


def test_a_step_that_needs_all_rows_says_so(tmp_path: Path) -> None:
    net = Net((1, 32, 8, 4))
    result = _explain(net, net.mean(net.conv(net.softmax(net.conv(net.input)))), tmp_path)
    first, second, *_ = _steps(result)
    assert "needs all rows" in second.notes
    assert (first.rows, first.height) == (32, 32)


def test_a_group_ends_where_memory_would_rise(tmp_path: Path) -> None:
    net = Net((1, 16, 16, 4))
    small = net.conv(net.conv(net.input, channels=32), stride=4, channels=4)
    result = _explain(net, net.mean(net.conv(net.conv(small, channels=64), channels=64)), tmp_path)
    kept, reason = result.groups[0].end
    assert kept == "operator 1 CONV_2D's output is kept whole, 64 bytes: read by operator 2"
    match = re.fullmatch(
        r"one group with the next would need ([\d,]+) bytes, two need ([\d,]+)", reason
    )
    assert match is not None
    together, apart = (int(number.replace(",", "")) for number in match.groups())
    assert together > apart == max(group.bytes for group in result.groups)


def test_joined_calls_are_reported(tmp_path: Path) -> None:
    net = Net((1, 6, 6, 8))
    wide = net.conv(net.conv(net.input), kernel=1, channels=32)
    result = _explain(net, net.conv(wide, channels=8), tmp_path, ram=2**20)
    assert "all 6 rows in one call" in _steps(result)[1].notes
    end = "operator 1 CONV_2D makes all its rows in one call, which takes fewer instructions"
    assert all(end in group.end for group in result.groups[:-1])


@given(st.randoms(note_method_calls=False, use_true_random=False))
@settings(max_examples=25 * EXAMPLES, deadline=None)
def test_random_graphs_are_explained(rng: random.Random) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.tflite"
        path.write_bytes(small_graph(rng))
        model = load_model(path, kernels=rng.choice(KERNELS))
    result = explain(model)
    assert [step.step for step in _steps(result)] == list(range(len(model.program.steps)))
    assert all(0 < group.bytes <= model.arena_size for group in result.groups)
    assert all(group.end for group in result.groups[:-1])
    json.dumps(result.as_json())


@pytest.mark.parametrize("name", SHARED_MODELS)
def test_shared_models(name: str, models_dir: Path) -> None:
    model = load_model(models_dir / f"{name}.tflite")
    result = explain(model)
    steps = _steps(result)
    assert [step.step for step in steps] == list(range(len(model.program.steps)))
    assert max(group.bytes for group in result.groups) <= model.arena_size
    assert model.arena_size - max(group.bytes for group in result.groups) < 64
    for group, after in zip(result.groups, result.groups[1:], strict=False):
        assert len(group.end) >= 2
        assert any("kept whole" in reason for reason in group.end)
        assert after.group == group.group + 1
    assert min(group.bytes for group in result.groups) > progress_bytes(model.program)
