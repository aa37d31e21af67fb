"""The pull schedule: which rows are made, kept and taken over."""

from __future__ import annotations

import random
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plan_simulation import EXAMPLES, random_cuts, random_program
from small_nets import Net
from vp_converters.lowering import lower
from vp_converters.lowering.step import Program
from vp_converters.reader import read_graph
from vp_converters.schedule import INPUT, Call, Ring, Schedule, make_schedule


def _together(program: Program) -> Schedule:
    return make_schedule(program, [range(len(program.steps))])


def _ring(schedule: Schedule, tensor: int) -> Ring:
    (found,) = (ring for ring in schedule.rings if tensor in ring.tensors)
    return found


def _calls(schedule: Schedule, step: int) -> int:
    return sum(call.step == step for call in schedule.calls)


def test_rows_are_made_as_late_as_they_are_wanted() -> None:
    net = Net((1, 4, 4, 4))
    schedule = _together(net.program(net.conv(net.input)))
    order = [(call.step, call.number) for call in schedule.calls]
    wanted = [(INPUT, 0), (INPUT, 1), (0, 0), (INPUT, 2), (0, 1), (INPUT, 3), (0, 2), (0, 3)]
    assert order == wanted
    assert _ring(schedule, net.input).rows == 3


def test_a_chain_of_windows_keeps_three_rows_of_each_tensor() -> None:
    net = Net((1, 16, 16, 4))
    first = net.conv(net.input)
    second = net.conv(first)
    third = net.conv(second, stride=2)
    schedule = _together(net.program(third))
    assert [_ring(schedule, t).rows for t in (net.input, first, second)] == [3, 3, 3]
    assert _ring(schedule, third).rows == 8


def test_between_groups_tensors_are_whole() -> None:
    net = Net((1, 8, 8, 4))
    first = net.conv(net.input)
    second = net.conv(first)
    schedule = make_schedule(net.program(second), [range(1), range(1, 2)])
    assert _ring(schedule, first).rows == 8
    assert [step for step, _ in groupby(c.step for c in schedule.calls if c.step != INPUT)] == [
        0,
        1,
    ]


def test_rows_that_nobody_reads_are_not_made() -> None:
    net = Net((1, 9, 9, 4))
    first = net.conv(net.input)
    second = net.conv(first, kernel=2, stride=2, padding="VALID")
    program = net.program(second)
    for groups in ([range(2)], [range(1), range(1, 2)]):
        schedule = make_schedule(program, groups)
        assert _calls(schedule, 0) == 8
        assert _calls(schedule, 1) == 4


def test_a_stride_beyond_the_kernel_skips_rows() -> None:
    net = Net((1, 9, 9, 4))
    schedule = _together(net.program(net.conv(net.input, kernel=1, stride=3)))
    assert _calls(schedule, INPUT) == 7
    assert _ring(schedule, net.input).rows == 1


def test_a_global_pool_reads_each_row_as_it_comes() -> None:
    net = Net((1, 8, 8, 4))
    first = net.conv(net.input)
    pooled = net.mean(first)
    schedule = _together(net.program(pooled))
    assert _calls(schedule, 1) == 8
    assert _ring(schedule, first).rows == 1
    begin, end = schedule.spans[1]
    assert (_ring(schedule, pooled).first, end) == (begin, len(schedule.calls) - 1)


def test_a_sum_takes_over_the_rows_of_its_operand() -> None:
    net = Net((1, 8, 8, 4))
    first = net.conv(net.input)
    second = net.conv(first)
    total = net.add(second, first)
    schedule = _together(net.program(total))
    assert _ring(schedule, total).tensors == (second, total)
    assert _ring(schedule, first).rows == 3


def test_what_is_read_later_is_not_taken_over() -> None:
    net = Net((1, 8, 8, 4))
    first = net.conv(net.input)
    total = net.add(first, first)
    last = net.add(net.conv(first), total)
    schedule = _together(net.program(last))
    assert first not in _ring(schedule, total).tensors


def test_the_output_is_never_taken_over() -> None:
    net = Net((1, 4, 4, 4))
    first = net.conv(net.input)
    net.add(first, first)
    data = net.model.build([net.input], [first])
    program = lower(read_graph(data))
    assert len(program.steps) == 2
    assert _ring(_together(program), first).tensors == (first,)


def test_a_view_with_other_rows_needs_its_tensor_whole() -> None:
    net = Net((1, 8, 4, 4))
    first = net.conv(net.input)
    last = net.conv(net.reshape(first, (1, 4, 8, 4)))
    schedule = _together(net.program(last))
    assert _ring(schedule, first).rows == 8
    assert _ring(schedule, net.input).rows == 3


@given(st.randoms(note_method_calls=False, use_true_random=False))
@settings(max_examples=60 * EXAMPLES, deadline=None)
def test_every_group_comes_once_and_every_call_in_order(rng: random.Random) -> None:
    program = random_program(rng)
    groups = random_cuts(rng, len(program.steps))
    schedule = make_schedule(program, groups)
    assert [number for group in schedule.groups for number in group] == list(
        range(len(program.steps))
    )
    numbers: dict[int, int] = {}
    for call in schedule.calls:
        assert call == Call(call.step, numbers.get(call.step, 0))
        numbers[call.step] = call.number + 1
    owners = {number: group for group in groups for number in group}
    order = [owners[call.step].start for call in schedule.calls if call.step != INPUT]
    assert order == sorted(order)
    for number, step in enumerate(program.steps):
        assert numbers.get(number, 0) <= program.calls(step)


def test_groups_must_hold_every_step() -> None:
    net = Net((1, 4, 4, 4))
    program = net.program(net.conv(net.conv(net.input)))
    with pytest.raises(ValueError, match="groups"):
        make_schedule(program, [range(1)])
