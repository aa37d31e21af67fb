"""The memory plan: buffers in use at the same time never share a byte."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exactness import SHARED_MODELS, graph_bytes
from random_graphs import GraphMaker, small_graph
from vp_converters import load_model
from vp_converters.lowering import lower
from vp_converters.lowering.step import Program
from vp_converters.passes import run_passes
from vp_converters.planner import ALIGNMENT, Plan, plan_memory
from vp_converters.reader import read_graph


def _program(data: bytes) -> Program:
    return lower(run_passes(read_graph(data)))


def _check(program: Program, plan: Plan) -> None:
    graph = program.graph
    assert plan.arena_size % ALIGNMENT == 0
    for buffer in plan.buffers:
        assert buffer.offset % ALIGNMENT == 0
        assert buffer.end <= plan.arena_size
        assert buffer.first <= buffer.last
        assert all(graph.tensors[t].size <= buffer.size for t in buffer.tensors)
    for a, b in combinations(plan.buffers, 2):
        if a.overlaps(b):
            assert a.end <= b.offset or b.end <= a.offset
    placed = [t for buffer in plan.buffers for t in buffer.tensors]
    assert len(placed) == len(set(placed))
    owner = {t: buffer for buffer in plan.buffers for t in buffer.tensors}
    assert owner[graph.input].first == -1
    assert owner[graph.output].last == len(program.steps)
    for number, step in enumerate(program.steps):
        for tensor in (*step.inputs, step.output):
            if graph.tensors[tensor].data is None:
                assert owner[tensor].first <= number <= owner[tensor].last
                assert plan.offsets[tensor] == owner[tensor].offset
        for position, tensor in enumerate(step.inputs):
            if owner.get(tensor) is owner[step.output]:
                assert position in step.in_place
        assert (number in plan.scratch) == (step.scratch > 0)
    live = [
        sum(b.size for b in plan.buffers if b.first <= step <= b.last)
        for step in range(-1, len(program.steps) + 1)
    ]
    assert plan.arena_size >= max(live)


@given(st.randoms(note_method_calls=False, use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_random_graphs(rng: random.Random) -> None:
    program = _program(small_graph(rng))
    _check(program, plan_memory(program))


@pytest.mark.parametrize("name", SHARED_MODELS)
def test_shared_models(name: str, models_dir: Path) -> None:
    model = load_model(models_dir / f"{name}.tflite")
    _check(model.program, model.plan)
    live = [
        sum(b.size for b in model.plan.buffers if b.first <= step <= b.last)
        for step in range(len(model.program.steps))
    ]
    assert model.arena_size <= max(live) + 64


def test_an_addition_takes_over_an_operand() -> None:
    maker = GraphMaker(random.Random(1))
    model = maker.model
    source = model.activation((1, 64), 0.1, 0)
    first, second = (model.activation((1, 64), 0.1, 0) for _ in range(2))
    model.op("ADD", [source, source], [first])
    model.op("ADD", [first, first], [second])
    program = _program(model.build([source], [second]))
    assert plan_memory(program).arena_size == 64


def test_an_operand_that_is_read_later_stays() -> None:
    maker = GraphMaker(random.Random(1))
    model = maker.model
    source = model.activation((1, 64), 0.1, 0)
    first, second = (model.activation((1, 64), 0.1, 0) for _ in range(2))
    model.op("ADD", [source, source], [first])
    model.op("ADD", [first, source], [second])
    program = _program(model.build([source], [second]))
    plan = plan_memory(program)
    assert plan.arena_size == 128
    assert plan.offsets[source] != plan.offsets[first]


def test_a_reshape_costs_nothing() -> None:
    program = _program(graph_bytes("flatten", "one"))
    plan = plan_memory(program)
    assert program.steps == ()
    assert len(plan.buffers) == 1
    assert plan.offsets[program.graph.input] == plan.offsets[program.graph.output]
