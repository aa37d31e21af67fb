"""One image's way to a multicast group, step by step."""

from __future__ import annotations

import pytest

from variant_parallelism.gateway.cast import Cast
from variant_parallelism.gateway.dispatch import WINDOW, Chunk, Timing, Transfer
from variant_parallelism.wire import Sack

Sent = list[tuple[int | None, Chunk]]


class Group:
    """A cast to some nodes; `report` is a node's word on what it misses of the chunks so far."""

    def __init__(self, chunks: int, nodes: int, doubted: tuple[int, ...] = ()) -> None:
        self.transfers = {node: Transfer(chunks, Timing(None), 0.0) for node in range(nodes)}
        self.cast = Cast(chunks, self.transfers, doubted, 0.0)
        self.chunks = chunks
        self.counter = 0
        self.known = 0

    def due(self, now: float) -> Sent:
        sent = self.cast.due(now)
        self.known = max([self.known, *(c.number + 1 for _, c in sent if c.number is not None)])
        return sent

    def report(self, now: float, *nodes: int, missing: tuple[int, ...] = ()) -> None:
        gaps = [(number, 1) for number in missing]
        rest = [(self.known, self.chunks - self.known)] if self.known < self.chunks else []
        for node in nodes:
            self.counter += 1
            sack = Sack(1, self.known - len(missing), (*gaps, *rest))
            self.transfers[node].acknowledge(sack, self.counter, now)

    def expire(self, *nodes: int) -> tuple[float, Sent]:
        """Let these nodes' time-outs pass until they are late; the time, and what was sent."""
        sent: Sent = []
        while not all(self.transfers[node].late for node in nodes):
            now = max(self.transfers[node].wake for node in nodes)
            sent += self.due(now)
        return now, sent


def burst(*numbers: int, again: bool = False) -> Sent:
    return [(None, Chunk(number, number == numbers[-1], again)) for number in numbers]


def test_the_next_burst_waits_for_the_last_report() -> None:
    group = Group(8, 3)
    assert group.due(0) == burst(0, 1, 2, 3, 4, 5)
    group.report(0.001, 0)
    assert group.due(0.001) == []
    group.report(0.002, 1)
    assert group.due(0.002) == []
    assert all(len(transfer.flying) in (0, WINDOW) for transfer in group.transfers.values())
    group.report(0.003, 2)
    assert group.due(0.003) == burst(6, 7)
    assert group.cast.over
    assert group.cast.behind == []


def test_what_one_misses_goes_to_it_alone_within_its_window() -> None:
    group = Group(20, 3)
    group.due(0)
    group.report(0.001, 0, 2)
    group.report(0.001, 1, missing=(1, 3))
    assert group.due(0.001) == [
        (1, Chunk(1, False, True)),
        (1, Chunk(3, True, True)),
        *burst(6, 7, 8, 9),
    ]
    assert [len(transfer.flying) for transfer in group.transfers.values()] == [4, 6, 4]


def test_what_several_miss_goes_to_the_group_again() -> None:
    group = Group(20, 4)
    group.due(0)
    group.report(0.001, 0)
    group.report(0.001, 1, missing=(2, 4))
    group.report(0.001, 2, missing=(2,))
    group.report(0.001, 3, missing=(0,))
    assert group.due(0.001) == [
        (1, Chunk(4, True, True)),
        (3, Chunk(0, True, True)),
        (None, Chunk(2, False, True)),
        *burst(6, 7, 8, 9),
    ]


def test_who_misses_a_whole_window_alone_gets_it_alone() -> None:
    group = Group(24, 2)
    group.due(0)
    group.report(0.001, 0, 1)
    group.due(0.001)
    group.report(0.002, 0)
    now = group.transfers[1].wake
    assert group.due(now) == [(1, Chunk(None, True, False))]
    group.report(now, 1, missing=tuple(range(6, 12)))
    assert [(node, chunk.number) for node, chunk in group.due(now)] == [
        (1, number) for number in range(6, 12)
    ]
    group.report(now, 1)
    assert group.due(now) == burst(12, 13, 14, 15, 16, 17)


def test_a_lost_report_costs_a_question() -> None:
    group = Group(18, 2)
    group.due(0)
    group.report(0.001, 0)
    late = group.transfers[1].wake
    assert group.cast.wake_at() == late
    assert group.due(late) == [(1, Chunk(None, True, False))]
    group.report(late + 0.001, 1, missing=(5,))
    assert group.due(late + 0.001) == [
        (1, Chunk(5, True, True)),
        *burst(6, 7, 8, 9, 10),
    ]


def test_who_does_not_answer_is_not_waited_for_until_it_reports() -> None:
    group = Group(30, 3)
    group.due(0)
    group.report(0.001, 0, 1)
    now, sent = group.expire(2)
    assert [chunk.number for node, chunk in sent if node == 2] == [None, None]
    assert sent[-6:] == burst(6, 7, 8, 9, 10, 11)
    group.report(now + 0.001, 0, 1)
    assert group.due(now + 0.001) == burst(12, 13, 14, 15, 16, 17)
    assert len(group.transfers[2].flying) == WINDOW
    group.report(now + 0.002, 2, missing=(7,))
    group.report(now + 0.002, 0, 1)
    assert group.due(now + 0.002) == [
        (2, Chunk(7, True, True)),
        *burst(18, 19, 20, 21, 22),
    ]
    assert group.cast.behind == []


def test_who_is_late_again_and_again_is_left_behind_and_asked_at_the_end() -> None:
    group = Group(60, 2)
    now = 0.0
    group.due(now)
    for _ in range(3):
        group.report(now, 0)
        now, _ = group.expire(1)
        group.report(now, 1)
        group.due(now)
    while not group.cast.over:
        group.report(now, 0)
        sent = group.due(now)
        assert all(node is None or chunk.number is None for node, chunk in sent)
        now += 0.001
    assert group.cast.behind == [1]
    assert group.transfers[1].due(now) == [Chunk(None, True, False)]
    group.report(now, 1, missing=(40,))
    assert group.transfers[1].due(now) == [Chunk(40, True, False)]


def test_whom_multicast_does_not_reach_is_left_out_at_its_first_report() -> None:
    group = Group(30, 3)
    group.due(0)
    group.report(0.001, 0, 1)
    now = group.transfers[2].wake
    group.due(now)
    group.report(now, 2, missing=tuple(range(6)))
    assert group.due(now) == burst(6, 7, 8, 9, 10, 11)
    assert group.cast.behind == [2]


def test_who_takes_clearly_longer_than_half_of_the_others_is_not_waited_for() -> None:
    group = Group(30, 4)
    group.due(0)
    group.report(0.01, 0, 1)
    assert group.due(0.01) == []
    assert group.cast.wake_at() == pytest.approx(0.015)
    group.report(0.014, 2)
    assert group.due(0.014) == []
    assert group.due(0.0151) == burst(6, 7, 8, 9, 10, 11)
    group.report(0.025, 0, 1, 2)
    assert group.due(0.025) == burst(12, 13, 14, 15, 16, 17)
    assert len(group.transfers[3].flying) == WINDOW
    assert group.cast.behind == [3]


def test_who_lags_by_more_than_a_burst_stays_out_of_step_until_it_has_caught_up() -> None:
    group = Group(36, 3)
    group.due(0)
    for now in (0.01, 0.02, 0.03):
        group.report(now, 0, 1)
        group.due(now)
        group.due(now + 0.0051)
    group.known = 6
    group.report(0.036, 2)
    group.known = 24
    group.report(0.04, 0, 1)
    assert group.due(0.04) == burst(24, 25, 26, 27, 28, 29)
    group.known = 24
    group.report(0.041, 2)
    group.known = 30
    group.report(0.05, 0, 1)
    assert group.due(0.05) == []
    group.report(0.051, 2)
    assert group.due(0.051) == burst(30, 31, 32, 33, 34, 35)
    assert group.cast.behind == []


def test_jitter_of_some_milliseconds_puts_nobody_out_of_step() -> None:
    group = Group(12, 2)
    group.due(0)
    group.report(0.0005, 0)
    assert group.due(0.0005) == []
    assert group.due(0.004) == []
    group.report(0.004, 1)
    assert group.due(0.004) == burst(6, 7, 8, 9, 10, 11)
    assert group.cast.behind == []


def test_it_is_over_at_once_if_multicast_reaches_nobody() -> None:
    group = Group(30, 2)
    group.due(0)
    now = group.transfers[0].wake
    group.due(now)
    group.report(now, 0, 1, missing=tuple(range(6)))
    assert group.due(now) == []
    assert group.cast.over
    assert group.cast.behind == [0, 1]


def test_if_all_are_late_it_waits_for_one() -> None:
    group = Group(30, 2)
    group.due(0)
    now, _ = group.expire(0, 1)
    assert not group.cast.over
    group.report(now, 1)
    assert group.due(now) == burst(6, 7, 8, 9, 10, 11)


def test_the_doubted_are_not_waited_for_before_they_report() -> None:
    group = Group(30, 3, doubted=(2,))
    group.due(0)
    group.report(0.001, 0, 1)
    assert group.due(0.001) == burst(6, 7, 8, 9, 10, 11)
    group.report(0.002, 0, 1, 2)
    group.due(0.002)
    assert len(group.transfers[2].flying) == WINDOW
    assert group.cast.behind == []


def test_who_joins_has_heard_what_it_says() -> None:
    group = Group(30, 2)
    group.due(0)
    group.transfers[2] = Transfer(30, Timing(None), 0.001)
    group.cast.join(2, group.transfers[2], 0.001)
    group.report(0.001, 0, 1)
    group.report(0.001, 2, missing=(0, 1))
    assert [(node, chunk.number) for node, chunk in group.due(0.001)] == [
        (2, 0),
        (2, 1),
        *((None, number) for number in range(6, 10)),
    ]


def test_who_is_dropped_is_not_waited_for() -> None:
    group = Group(30, 2)
    group.due(0)
    group.report(0.001, 0)
    group.cast.drop(1)
    assert group.due(0.001) == burst(6, 7, 8, 9, 10, 11)
    group.cast.drop(0)
    assert group.due(0.002) == []
    assert group.cast.over
