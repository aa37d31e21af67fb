"""The gateway's history: buckets by a fake clock, states, votes, quantiles, memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from page_fleet import PageFleet
from sink_events import answered
from variant_parallelism.errors import VpError
from variant_parallelism.gateway import Answered, Counters, Event, NodeChanged, NodeStatus
from variant_parallelism.gateway.types import State
from variant_parallelism.gateway.web.errors import Problem
from variant_parallelism.gateway.web.history import SPANS, History

START, WALL = 1000.0, 1_800_000_000.0


class Watched:
    """A gateway as far as its history looks at it, with both clocks in the test's hands."""

    def __init__(self, nodes: int = 3) -> None:
        self.now = START
        self.wall = WALL
        self.states: dict[int, State] = {node: "up" for node in range(nodes)}
        self.listeners: list[Callable[[Event], None]] = []
        self.history = History(self, lambda: self.now, lambda: self.wall)
        self.history.begin()

    def nodes(self) -> list[NodeStatus]:
        return [
            NodeStatus(node, "v0", "b", "udp", "a", state, "", None, None, Counters())
            for node, state in self.states.items()
        ]

    def on_event(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def change(self, node: int, state: State) -> None:
        self.states[node] = state
        self.tell(NodeChanged(node, state, "because"))

    def wait(self, seconds: float, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.now += seconds / ticks
            self.wall += seconds / ticks
            self.history.roll()

    def up(self, span: str = "10min") -> dict[int, list[int | None]]:
        return {node["id"]: node["up"] for node in self.history.window(span).json()["nodes"]}


def labelled(event: Answered, label: int) -> Answered:
    return Answered(dataclasses.replace(event.answer, label=label))


def test_answers_are_counted_in_the_bucket_of_their_time() -> None:
    watched = Watched()
    watched.tell(labelled(answered(1, 3), 3))
    watched.tell(labelled(answered(2, 3), 5))
    watched.wait(4.99)
    watched.tell(answered(3, None))
    watched.wait(0.02)
    watched.tell(answered(4, 7))
    told = watched.history.window("10min").json()
    assert told["answered"][-2:] == [2, 1]
    assert told["lost"][-2:] == [1, 0]
    assert told["labelled"][-2:] == [2, 0]
    assert told["correct"][-2:] == [1, 0]
    assert told["seconds"][-3:] == [0, 5, 0.01]
    assert told["time"][-3:] == [None, WALL, WALL + 5]
    assert sum(told["answered"]) == 3
    assert [(node["votes"], node["agreed"]) for node in told["nodes"]] == [(3, 3), (3, 3), (0, 0)]
    assert {len(told[name]) for name in ("time", "seconds", "answered", "latency_p50_ms")} == {120}


def test_an_answer_that_is_slow_to_be_rolled_still_lands_in_its_own_bucket() -> None:
    watched = Watched()
    watched.now += 12
    watched.wall += 12
    watched.tell(answered(1, 3))
    assert watched.history.window("10min").json()["answered"][-3:] == [0, 0, 1]


def test_the_share_of_time_that_a_node_was_up() -> None:
    watched = Watched()
    watched.wait(1)
    watched.change(1, "dead")
    watched.change(2, "quarantined")
    watched.wait(3)
    watched.change(1, "up")
    watched.wait(6)
    up = watched.up()
    assert up[0][-3:] == [100, 100, None]
    assert up[1][-3:] == [40, 100, None]
    assert up[2][-3:] == [100, 100, None]
    assert watched.up("hour")[1][-1] == 70
    assert watched.up("day")[1][-1] == 70


def test_agreement_is_told_point_by_point_for_one_node() -> None:
    watched = Watched()
    for request in range(3):
        event = answered(request, 3)
        liar = dataclasses.replace(event.answer.votes[1], entries=((7, 90), (3, 0)))
        votes = (event.answer.votes[0], liar if request else event.answer.votes[1])
        watched.tell(Answered(dataclasses.replace(event.answer, votes=votes)))
        watched.wait(5)
    node = watched.history.window("10min", 1).json()["node"]
    assert (node["id"], node["votes"][-4:], node["agreed"][-4:]) == (1, [1, 1, 1, 0], [1, 0, 0, 0])


def test_old_buckets_give_way_and_the_spans_agree() -> None:
    watched = Watched(1)
    for _ in range(25 * 60):
        watched.tell(answered(0, 3))
        watched.wait(60)
    sums = {span: sum(watched.history.window(span).json()["answered"]) for span in SPANS}
    assert abs(sums["10min"] - 10) <= 1
    assert abs(sums["hour"] - 60) <= 1
    assert abs(sums["day"] - 24 * 60) <= 10
    assert watched.up("day")[0][:-1] == [100] * 143


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_wall_clock_that_is_set_moves_labels_only(jump: float) -> None:
    watched = Watched()
    watched.tell(answered(1, 3))
    watched.wait(5)
    watched.wall += jump
    watched.tell(answered(2, 3))
    watched.wait(5)
    told = watched.history.window("10min").json()
    assert told["answered"][-3:] == [1, 1, 0]
    assert told["seconds"][-3:] == [5, 5, 0]
    assert told["time"][-3:-1] == [WALL, pytest.approx(WALL + 5 + jump)]
    assert watched.up()[0][-3:] == [100, 100, None]


def test_quantiles_are_within_a_bin() -> None:
    watched = Watched()
    for index in range(1, 1001):
        watched.tell(answered(index, 3, latency_ms=index / 10))
    told = watched.history.window("10min").json()
    assert told["latency_p50_ms"][-1] == pytest.approx(50, rel=0.1)
    assert told["latency_p95_ms"][-1] == pytest.approx(95, rel=0.1)
    assert told["latency_p50_ms"][-2] is None
    for extreme in (0.0, 1e9):
        watched.wait(5)
        watched.tell(answered(1, 3, latency_ms=extreme))
        value = watched.history.window("10min").json()["latency_p50_ms"][-1]
        assert value < 0.2 if extreme == 0 else value > 90_000


def test_nodes_come_and_go_and_leave_no_trace_to_others() -> None:
    watched = Watched(2)
    watched.tell(answered(1, 3))
    watched.wait(5)
    del watched.states[0]
    watched.wait(5)
    watched.states[9] = "dead"
    watched.wait(5)
    told = watched.history.window("10min").json()
    assert [node["id"] for node in told["nodes"]] == [1, 9]
    assert told["nodes"][1]["votes"] == 0
    assert watched.up()[9][-4:] == [None, None, None, None]
    watched.change(9, "up")
    watched.wait(5)
    assert watched.up()[9][-2:] == [100, None]
    watched.states[10] = "up"
    watched.tell(NodeChanged(10, "up", "hello"))
    watched.wait(5)
    assert watched.up()[10][-2:] == [100, None]
    watched.tell(answered(2, 3))


def test_memory_is_what_is_promised_and_does_not_grow() -> None:
    few, many = Watched(0).history.nbytes, Watched(500)
    at_first = many.history.nbytes
    assert few < 900_000
    assert (at_first - few) / 500 == 2160 * 12
    for request in range(20):
        many.tell(answered(request))
        many.wait(600)
    assert many.history.nbytes == at_first < 14_000_000


def test_an_unknown_span_or_node_is_named() -> None:
    history = Watched().history
    with pytest.raises(VpError, match="span='week' is none of 10min, hour, day"):
        history.window("week")
    with pytest.raises(Problem, match="the fleet has no node 77"):
        history.window("hour", 77)


def test_it_listens_inside_its_block_only() -> None:
    async def main() -> None:
        watched = Watched()
        before = len(watched.listeners)
        with History(watched) as history:
            assert len(watched.listeners) == before + 1
            watched.tell(answered(1, 3))
            assert history.window().json()["answered"][-1] == 1
        assert len(watched.listeners) == before

    asyncio.run(main())


def test_a_running_gateway_counts_the_votes_of_its_nodes(tmp_path: Path) -> None:
    with PageFleet(tmp_path, 3) as fleet:
        fleet.ask(5)
        told = fleet.history("10min", 1)
    assert sum(told["answered"]) == 5
    assert (sum(told["labelled"]), told["point_s"]) == (3, 5)
    assert [(node["votes"], node["agreed"]) for node in told["nodes"]] == [(5, 5)] * 3
    assert (sum(told["node"]["votes"]), sum(told["node"]["agreed"])) == (5, 5)
