"""The memory plan: no call finds other bytes than those it should."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exactness import SHARED_MODELS, graph_bytes
from plan_simulation import (
    EXAMPLES,
    PlanError,
    Simulation,
    program_of,
    random_cuts,
    random_program,
    with_fewer_rows,
)
from random_graphs import GraphMaker
from vp_converters import load_model
from vp_converters.planner import ALIGNMENT, Plan, place_buffers, plan_memory, progress_bytes
from vp_converters.schedule import make_schedule

RANDOM = st.randoms(note_method_calls=False, use_true_random=False)


def _check(plan: Plan) -> None:
    program = plan.program
    Simulation(plan).run()
    assert plan.arena_size % ALIGNMENT == 0
    assert plan.buffers[0].kind == "progress"
    assert plan.buffers[0].offset == 0
    assert plan.buffers[0].size == progress_bytes(program)
    for buffer in plan.buffers:
        assert buffer.offset % ALIGNMENT == 0
        assert buffer.end <= plan.arena_size
        assert buffer.first <= buffer.last
    for a, b in combinations(plan.buffers, 2):
        if a.overlaps(b):
            assert a.end <= b.offset or b.end <= a.offset
    placed = [t for buffer in plan.buffers for t in buffer.tensors]
    assert len(placed) == len(set(placed))
    assert plan.arena_size >= _most_live(plan)


def _most_live(plan: Plan) -> int:
    """Most bytes in use at a time."""
    return max(
        sum(b.size for b in plan.buffers if b.first <= time <= b.last)
        for time in range(-1, len(plan.schedule.calls) + 1)
    )


@given(RANDOM)
@settings(max_examples=80 * EXAMPLES, deadline=None)
def test_random_graphs(rng: random.Random) -> None:
    program = random_program(rng)
    _check(plan_memory(program))


@given(RANDOM)
@settings(max_examples=80 * EXAMPLES, deadline=None)
def test_random_cuts(rng: random.Random) -> None:
    program = random_program(rng)
    groups = random_cuts(rng, len(program.steps))
    _check(place_buffers(program, make_schedule(program, groups)))


@given(RANDOM)
@settings(max_examples=40 * EXAMPLES, deadline=None)
def test_one_row_less_is_too_few(rng: random.Random) -> None:
    program = random_program(rng)
    groups = random_cuts(rng, len(program.steps))
    plan = place_buffers(program, make_schedule(program, groups))
    for buffer in plan.buffers:
        if buffer.rows > 1:
            with pytest.raises(PlanError):
                Simulation(with_fewer_rows(plan, buffer)).run()


@pytest.mark.parametrize("kernels", ["portable", "dsp", "mve"])
@pytest.mark.parametrize("name", SHARED_MODELS)
def test_shared_models(name: str, kernels: str, models_dir: Path) -> None:
    model = load_model(models_dir / f"{name}.tflite", kernels=kernels)
    _check(model.plan)
    assert model.arena_size <= _most_live(model.plan) * 1.02 + 64


def test_an_addition_takes_over_an_operand() -> None:
    maker = GraphMaker(random.Random(1))
    model = maker.model
    source = model.activation((1, 64), 0.1, 0)
    first, second = (model.activation((1, 64), 0.1, 0) for _ in range(2))
    model.op("ADD", [source, source], [first])
    model.op("ADD", [first, first], [second])
    program = program_of(model.build([source], [second]))
    plan = plan_memory(program)
    assert plan.rows[source] is plan.rows[first] is plan.rows[second]
    assert plan.arena_size == progress_bytes(program) + 6 + 64 == 80


def test_an_operand_that_is_read_later_stays() -> None:
    maker = GraphMaker(random.Random(1))
    model = maker.model
    source = model.activation((1, 64), 0.1, 0)
    first, second = (model.activation((1, 64), 0.1, 0) for _ in range(2))
    model.op("ADD", [source, source], [first])
    model.op("ADD", [first, source], [second])
    plan = plan_memory(program_of(model.build([source], [second])))
    assert plan.rows[source] is not plan.rows[first]
    assert plan.rows[second] in (plan.rows[source], plan.rows[first])


def test_a_reshape_costs_nothing() -> None:
    program = program_of(graph_bytes("flatten", "one"))
    plan = plan_memory(program)
    assert program.steps == ()
    assert [buffer.kind for buffer in plan.buffers] == ["progress", "rows"]
    assert plan.rows[program.graph.input] is plan.rows[program.graph.output]
