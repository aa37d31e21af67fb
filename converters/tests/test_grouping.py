"""Where programs are cut, and which steps make all their rows at once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exactness import graph_bytes
from plan_simulation import EXAMPLES, Simulation, program_of, random_cuts, random_program
from small_nets import Net
from vp_converters import CompiledModel, ConversionError, load_model
from vp_converters.cost import call_cost, joining_saves
from vp_converters.grouping import Grouping, group_costs
from vp_converters.host import HostLibrary, HostModel
from vp_converters.lowering.step import Program
from vp_converters.planner import Plan, plan_grouping, plan_memory, progress_bytes

RANDOM = st.randoms(note_method_calls=False, use_true_random=False)


def _most_live(plan: Plan) -> int:
    times = range(-1, len(plan.schedule.calls) + 1)
    return max(sum(b.size for b in plan.buffers if b.first <= t <= b.last) for t in times)


def _groupings(count: int) -> Iterator[tuple[range, ...]]:
    for cuts in range(count):
        for inner in combinations(range(1, count), cuts):
            edges = (0, *inner, count)
            yield tuple(range(a, b) for a, b in pairwise(edges))


@given(RANDOM)
@settings(max_examples=60 * EXAMPLES, deadline=None)
def test_the_cost_of_groups_is_the_peak_of_their_plan(rng: random.Random) -> None:
    program = random_program(rng)
    groups = random_cuts(rng, len(program.steps))
    plan = plan_grouping(program, Grouping(tuple(groups)))
    costs = group_costs(program)
    estimate = max((costs[group] for group in groups), default=0) + progress_bytes(program)
    assert estimate >= _most_live(plan)
    if len(groups) == 1:
        assert estimate == _most_live(plan)


@given(RANDOM)
@settings(max_examples=20 * EXAMPLES, deadline=None)
def test_no_grouping_is_smaller(rng: random.Random) -> None:
    program = random_program(rng)
    if not 2 <= len(program.steps) <= 7:
        return
    best = min(
        plan_grouping(program, Grouping(groups)).arena_size
        for groups in _groupings(len(program.steps))
    )
    assert plan_memory(program).arena_size <= best * 1.02 + 16


def test_any_grouping_computes_the_same(tmp_path: Path, cache_dir: Path) -> None:
    rng = random.Random(7)
    models: list[CompiledModel] = []
    for number in range(8):
        path = tmp_path / f"graph{number}.tflite"
        path.write_bytes(graph_bytes("graph", f"grouping-{number}"))
        model = load_model(path)
        models.append(model)
        program = program_of(model.data)
        single = tuple(range(n, n + 1) for n in range(len(program.steps)))
        ways = [
            Grouping(tuple(random_cuts(rng, len(program.steps)))),
            Grouping(tuple(random_cuts(rng, len(program.steps)))),
            Grouping(single, frozenset(joining_saves(program))),
        ]
        for place, way in enumerate(ways):
            plan = plan_grouping(program, way)
            Simulation(plan).run()
            models.append(replace(model, name=f"{model.name}way{place}", plan=plan))
    library = HostLibrary(models, cache_dir, ("-O1",))
    hosts = [HostModel.from_library(model, library) for model in models]
    for first in range(0, len(hosts), 4):
        shape = (3, *hosts[first].compiled.input_shape)
        values = np.random.default_rng(first).integers(-128, 128, shape, dtype=np.int8)
        expected = hosts[first].run(values)
        for host in hosts[first + 1 : first + 4]:
            np.testing.assert_array_equal(host.run(values), expected, host.compiled.name)


@pytest.mark.parametrize(
    ("source", "target"), [((1, 64), (1, 8, 8, 1)), ((1, 4, 4, 8), (1, 8, 2, 8))]
)
def test_a_view_has_rows_of_its_own(
    source: tuple[int, ...], target: tuple[int, ...], tmp_path: Path, cache_dir: Path
) -> None:
    net = Net(source)
    path = tmp_path / "view.tflite"
    path.write_bytes(net.data(net.conv(net.reshape(net.input, target))))
    same = Net(target)
    other = tmp_path / "image.tflite"
    other.write_bytes(same.data(same.conv(same.input)))
    view, image = (HostModel(load_model(p), cache_dir) for p in (path, other))
    values = np.random.default_rng(1).integers(-128, 128, source, dtype=np.int8)
    np.testing.assert_array_equal(view.run(values), image.run(values.reshape(target)))


def _pointwise_program() -> Program:
    net = Net((1, 6, 6, 8))
    wide = net.conv(net.conv(net.input), kernel=1, channels=32)
    return net.program(net.conv(net.conv(wide, channels=8), kernel=1))


def test_pointwise_steps_between_whole_tensors_are_joined() -> None:
    program = _pointwise_program()
    assert sorted(joining_saves(program)) == [1, 3]
    fast = plan_memory(program, ram=2**20)
    assert [step.is_joined for step in fast.program.steps] == [False, True, False, True]
    assert [fast.schedule.spans[n][0] - fast.schedule.spans[n][1] for n in (1, 3)] == [0, 0]


def test_more_memory_never_costs_more_instructions() -> None:
    program = _pointwise_program()
    least = plan_memory(program).arena_size
    costs = []
    for ram in (least, least + 300, least + 600, 2**16):
        plan = plan_memory(program, ram)
        Simulation(plan).run()
        assert plan.arena_size <= ram
        costs.append(sum(call_cost(plan.program, step) for step in plan.program.steps))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_too_little_memory_names_the_least_possible() -> None:
    program = _pointwise_program()
    least = plan_memory(program).arena_size
    with pytest.raises(
        ConversionError, match=rf"at least {least:,} bytes, more than the 100 given"
    ):
        plan_memory(program, ram=100)


def test_a_schedule_that_is_too_long_for_rings_goes_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net((1, 30, 1, 2))
    program = net.program(net.conv(net.conv(net.conv(net.input))))
    assert len(plan_memory(program).schedule.groups) == 1
    monkeypatch.setattr("vp_converters.planner.MAX_ENTRIES", 70)
    plan = plan_memory(program)
    assert len(plan.schedule.groups) == 3
    Simulation(plan).run()


@given(RANDOM)
@settings(max_examples=30 * EXAMPLES, deadline=None)
def test_a_budget_is_kept(rng: random.Random) -> None:
    program = random_program(rng)
    least = plan_memory(program).arena_size
    plan = plan_memory(program, ram=int(least * rng.uniform(1, 3)))
    Simulation(plan).run()
