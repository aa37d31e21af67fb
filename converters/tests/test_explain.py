"""`vp compile --explain`: what it says is what the plan does."""

from __future__ import annotations

from pathlib import Path

import pytest

from exactness import SHARED_MODELS
from small_nets import Net
from vp_converters import load_model
from vp_converters.explain import Explanation, StepReport, explain
from vp_converters.planner import progress_bytes


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


def test_a_group_ends_where_all_rows_are_wanted(tmp_path: Path) -> None:
    net = Net((1, 32, 8, 4))
    first = net.conv(net.input)
    result = _explain(net, net.mean(net.conv(net.softmax(first))), tmp_path)
    reasons = [reason for group in result.groups for reason in group.end]
    kept = "operator 0 CONV_2D's output is kept whole, 1,024 bytes: read by operator 1"
    if len(result.groups) > 1 and result.groups[0].steps[-1].op_index == 0:
        assert kept in reasons
    assert "needs all rows" in _steps(result)[1].notes


def test_joined_calls_are_reported(tmp_path: Path) -> None:
    net = Net((1, 6, 6, 8))
    wide = net.conv(net.conv(net.input), kernel=1, channels=32)
    result = _explain(net, net.conv(wide, channels=8), tmp_path, ram=2**20)
    assert "all 6 rows in one call" in _steps(result)[1].notes
    end = "operator 1 CONV_2D makes all its rows in one call, which takes fewer instructions"
    assert all(end in group.end for group in result.groups[:-1])


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
