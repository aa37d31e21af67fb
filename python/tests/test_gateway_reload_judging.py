"""Reloads while a request is with the nodes asked first, and requests that fail by a mistake of the
gateway's own; in virtual time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fleet_factory import make_fleet, make_image, make_manifest
from simulated_fleet import World, ready, states
from variant_parallelism.aggregate import Method
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway import Answer, Warned
from variant_parallelism.gateway.combining import FleetCombiner
from variant_parallelism.gateway.reloading import check_reload
from variant_parallelism.judging_table import JudgingTable

FLEET = make_fleet(
    manifest=make_manifest(8), serial=0, udp=4, deadline_ms=2000, k=3, judging=JudgingTable(first=2)
)


def table(number: int, variant: int) -> NodeTable:
    endpoint = f"10.0.0.{number}:5000"
    return NodeTable(id=number, variant=f"v{variant}", board="mps2-an386", udp=endpoint)


def having(fleet: Fleet, *nodes: NodeTable) -> Fleet:
    return replace(fleet, table=fleet.table.model_copy(update={"nodes": [*nodes]}))


def one_of_two_voted(fleet: Fleet = FLEET) -> tuple[World, int, int, int]:
    """A world, its open request, and the nodes asked first: one has voted, one never will."""
    world = ready(World(fleet))
    for node in world.nodes.values():
        node.compute_s = 0.02
    world.nodes[1].compute_s = 30
    number = world.submit(make_image(FLEET))
    world.run(0.2)
    request = world.core._book.open[number]
    asked = [node for node in world.core.nodes.values() if request.asked(node)]
    (voted,) = (node.id for node in asked if request.has_vote(node))
    (silent,) = (node.id for node in asked if not request.has_vote(node))
    return world, number, voted, silent


def the_answer(world: World, number: int) -> Answer:
    world.run(5)
    (answer,) = (answer for answer in world.answers() if answer.request == number)
    assert world.core._book.open == {}
    return answer


@pytest.mark.parametrize("combine", ["vp", "agreement"])
def test_a_node_that_is_added_has_no_vote_in_a_request_of_before(
    combine: Method,
) -> None:
    """What combines the votes is that of the fleet that gave the first of them."""
    judging = JudgingTable(first=2, combine=combine)
    fleet = replace(FLEET, table=FLEET.table.model_copy(update={"judging": judging}))
    world, number, voted, silent = one_of_two_voted(fleet)
    kept = [node for node in fleet.nodes if node.id != voted]
    world.reload(having(fleet, *kept, table(50, variant=6)))
    answer = the_answer(world, number)
    assert {vote.node for vote in answer.votes} == {0, 1, 2, 3} - {silent}
    assert len(answer.votes) == 3
    assert world.classify(make_image(FLEET, 1)).class_index is not None


def test_a_board_that_is_replaced_has_one_vote() -> None:
    world, number, voted, silent = one_of_two_voted()
    nodes = [table(node.id, 7) if node.id == voted else node for node in FLEET.nodes]
    world.reload(having(FLEET, *nodes))
    answer = the_answer(world, number)
    assert {vote.node for vote in answer.votes} == {0, 1, 2, 3} - {silent}
    assert len(answer.votes) == 3
    assert [vote.variant for vote in answer.votes if vote.node == voted] == [f"v{voted}"]
    assert voted not in (*answer.missing, *answer.spared)


def test_the_first_ones_votes_are_the_answer_when_there_is_nobody_else_to_ask() -> None:
    world, _, voted, _ = one_of_two_voted()
    kept = [node for node in FLEET.nodes if node.id == voted]
    world.reload(having(FLEET, *kept, table(50, variant=6)))
    (answer,) = world.answers()
    assert [vote.node for vote in answer.votes] == [voted]
    assert answer.latency_ms < 500


def test_a_combiner_refuses_votes_of_nodes_that_it_does_not_know() -> None:
    combine = FleetCombiner(FLEET)
    classes, scores = np.array([[1, 2, 3]] * 2), np.zeros((2, 3), np.int8)
    for nodes in ([0, 7], [-1, 2]):
        with pytest.raises(ValueError, match="not all of the nodes"):
            combine(np.array(nodes), classes, scores)


def test_a_request_that_fails_ends_and_the_others_go_on() -> None:
    world = ready(World(make_fleet(serial=0, udp=3)))
    world.nodes[2].compute_s = 0.5
    first = world.submit(make_image(world.fleet), deadline_s=3)
    others = [world.submit(make_image(world.fleet, seed), deadline_s=3) for seed in (1, 2)]

    def broken(nodes: object, classes: object, scores: object) -> NDArray[np.float64]:
        raise IndexError("out of bounds")

    world.core._book.open[first].combiner = broken
    world.run(5)
    answers = {answer.request: answer for answer in world.answers()}
    assert (answers[first].class_index, answers[first].votes) == (None, ())
    assert answers[first].latency_ms < 1000
    assert all(len(answers[number].votes) == 3 for number in others)
    (told,) = (event.text for event in world.events if isinstance(event, Warned))
    assert told.startswith(f"request {first} failed: IndexError")
    assert (world.core.counters.answers, world.core.counters.lost) == (2, 1)
    assert len(world.classify(make_image(world.fleet, 3)).votes) == 3


def test_what_fails_after_the_answer_does_not_lose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready(World(make_fleet(serial=0, udp=3)))

    def broken(*ended: object) -> None:
        raise KeyError(7)

    monkeypatch.setattr(world.core._answering.moderator, "ended", broken)
    numbers = [world.submit(make_image(world.fleet, seed)) for seed in range(3)]
    world.run(5)
    assert sorted(answer.request for answer in world.answers()) == numbers
    assert all(len(answer.votes) == 3 for answer in world.answers())
    assert (world.core.counters.answers, world.core.counters.lost) == (3, 0)


def test_a_reload_that_no_slot_is_left_for_is_refused() -> None:
    """Slots are never used again, and 16 bits wide."""
    kept, changed = FLEET.nodes[:3], table(3, variant=7)
    fleet = having(FLEET, *kept, changed, table(50, variant=6))
    check_reload(FLEET, fleet, 65_533)
    with pytest.raises(VpError, match=r"^fleet.toml: nodes: over 65535 .*; restart to apply$"):
        check_reload(FLEET, fleet, 65_534)
    check_reload(FLEET, FLEET, 65_535)


def test_a_source_that_left_the_fleet_is_none() -> None:
    world = ready(World(make_fleet(serial=0, udp=2), sensors={1}))
    world.trigger()
    world.run(3)
    world.reload(having(world.fleet, world.fleet.nodes[0]))
    with pytest.raises(VpError, match="no node that was heard of has an input source"):
        world.trigger()


def test_a_node_that_left_is_not_in_quarantine() -> None:
    world = ready(World(make_fleet(serial=0, udp=3)))
    world.core.quarantine(world.now, 2, True, "dirty lens")
    world.run(1)
    assert states(world)[2] == "quarantined"
    world.reload(having(world.fleet, *world.fleet.nodes[:2]))
    assert not world.core.gate.quarantined.any()
    assert world.core.gate.able(with_source=False).tolist() == [0, 1]
