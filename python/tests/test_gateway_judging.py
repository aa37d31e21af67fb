"""Judged nodes in virtual time: liars and stallers, stragglers, and nodes that are spared."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import simulated_node
from fleet_factory import make_fleet, make_image
from simulated_fleet import Faults, World, ready, states
from variant_parallelism import wire
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Answer, NodeChanged

LIE = 9


def fleet_of(nodes: int, *, combine: str | None = None, **judging: Any) -> Fleet:
    if combine is not None:
        judging["combine"] = combine
    return make_fleet(serial=0, udp=nodes, judging=judging, deadline_ms=1000)


@pytest.fixture
def liars(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Nodes that answer class 9, whatever they see, as sure as can be."""
    lying: set[int] = set()
    honest = simulated_node.entries_of

    def entries_of(node: int, image: bytes, k: int, classes: int) -> simulated_node.Entries:
        if node in lying:
            return ((LIE, 127), (0, -128))[:k]
        return honest(node, image, k, classes)

    monkeypatch.setattr(simulated_node, "entries_of", entries_of)
    return lying


def right_class(world: World, seed: int) -> int:
    image = make_image(world.fleet, seed)
    return simulated_node.entries_of(-1, image.tobytes(), 1, 10)[0][0]


def images_of_others(world: World, count: int) -> list[int]:
    """Seeds of images whose right class is not the liars'."""
    seeds = [seed for seed in range(3 * count) if right_class(world, seed) != LIE]
    return seeds[:count]


def ask(world: World, seed: int, gap_s: float = 0.03) -> Answer:
    answer = world.classify(make_image(world.fleet, seed))
    world.run(gap_s)
    return answer


def changes(world: World, node: int) -> list[tuple[str, str]]:
    """What was told of a node after it was up first."""
    told = [event for event in world.events if isinstance(event, NodeChanged)]
    return [(event.state, event.reason) for event in told if event.node == node][1:]


def failing(world: World, node: int, message: bytes) -> bytes:
    """A node's message, but an error in place of a prediction."""
    key = world.nodes[node].key
    header, body = wire.decode(message, key, classes=10)
    if not isinstance(body, wire.Prediction):
        return message
    error = wire.NodeError(body.request, wire.ErrorCode.MODEL)
    return wire.encode(error, fleet=7, node=node, counter=header.counter, key=key)


@pytest.mark.parametrize("combine", ["trimmed-mean", "median", "agreement"])
def test_two_liars_among_five_change_no_answer(liars: set[int], combine: str) -> None:
    world = ready(World(fleet_of(5, combine=combine)))
    liars.update((3, 4))
    for seed in images_of_others(world, 10):
        assert ask(world, seed).class_index == right_class(world, seed)
    world = ready(World(fleet_of(5)))
    turned = [ask(world, seed).class_index == LIE for seed in images_of_others(world, 10)]
    assert any(turned), "the scaled sum does not withstand them"


def test_a_liar_is_quarantined_and_taken_back(liars: set[int]) -> None:
    world = ready(World(fleet_of(5, quarantine=True, window=16)))
    seeds = images_of_others(world, 60)
    liars.add(2)
    for seed in seeds[:20]:
        ask(world, seed)
    assert states(world)[2] == "quarantined"
    answer = ask(world, seeds[20])
    counted = {vote.node: vote.counted for vote in answer.votes}
    assert counted == {0: True, 1: True, 2: False, 3: True, 4: True}
    assert world.core.nodes[2].counters.uncounted > 0
    assert world.core.counters.uncounted == world.core.nodes[2].counters.uncounted
    liars.clear()
    for seed in seeds[20:60]:
        ask(world, seed)
    assert states(world)[2] == "up"
    (left, reason), (back, news) = changes(world, 2)
    assert (left, back) == ("quarantined", "up")
    assert reason == "agreed with the others in 0% of its recent votes, and 50% are wanted"
    assert news.startswith("taken back: agreed with the others in ")
    status = world.core.statuses()[2]
    assert status.estimate is not None and status.estimate.agreement is not None
    assert status.reason.startswith("mps2-an386, firmware")


def test_nobody_waits_for_a_node_in_quarantine_but_it_is_asked(liars: set[int]) -> None:
    world = ready(World(fleet_of(3)))
    world.nodes[1].compute_s = 0.3
    world.core.quarantine(world.now, 1, True, "too slow for us")
    answer = ask(world, 0, gap_s=0.5)
    assert [vote.node for vote in answer.votes] == [0, 2]
    assert answer.latency_ms < 200
    assert world.core.nodes[1].counters.late == 1
    slow = world.core.statuses()[1].estimate
    assert slow is not None and slow.latency_p50_ms is not None and slow.latency_p50_ms > 290
    assert slow.reliability == pytest.approx(1.0), "it would have been in time"


def test_a_late_vote_of_a_request_that_was_given_up_changes_no_reliability() -> None:
    world = ready(World(fleet_of(3)))
    world.nodes[1].compute_s = 0.3
    ask(world, 0)
    request = world.core.submit(world.now, make_image(world.fleet, 1), None, None)
    world.run(0.1)
    world.core.cancel(request)
    known = world.core.statuses()[1].estimate
    world.run(1)
    now = world.core.statuses()[1].estimate
    assert known is not None and now is not None
    assert (now.reliability, now.samples) == (known.reliability, known.samples + 1)


def test_the_operator_takes_back_what_the_gateway_left_out(liars: set[int]) -> None:
    world = ready(World(fleet_of(4, quarantine=True)))
    liars.add(1)
    for seed in images_of_others(world, 20):
        ask(world, seed)
    assert states(world)[1] == "quarantined"
    assert world.core.quarantined() == {}, "only the operator's are kept between runs"
    world.core.quarantine(world.now, 1, False, "I know better")
    world.run(0.1)
    assert changes(world, 1)[-1] == ("up", "I know better")
    estimate = world.core.statuses()[1].estimate
    assert estimate is not None and estimate.agreement is None
    for seed in images_of_others(world, 20):
        ask(world, seed)
    assert states(world)[1] == "quarantined", "but it still lies"


def test_the_votes_of_quarantined_nodes_are_better_than_none() -> None:
    world = ready(World(fleet_of(3)))
    world.core.quarantine(world.now, 1, True, "why not")
    world.nodes[1].compute_s = 0.2
    for node in (0, 2):
        world.nodes[node].alive = False
    answer = ask(world, 0)
    assert [(vote.node, vote.counted) for vote in answer.votes] == [(1, True)]
    assert answer.class_index == right_class(world, 0)
    assert world.core.counters.lost == 0


def test_a_node_in_quarantine_that_dies_comes_back_into_it() -> None:
    world = ready(World(fleet_of(3)))
    world.core.quarantine(world.now, 1, True, "dirty")
    world.nodes[1].alive = False
    world.run(5)
    assert states(world)[1] == "dead"
    world.nodes[1].reboot()
    world.run(2)
    assert states(world)[1] == "quarantined"
    world.core.quarantine(world.now, 1, False, "cleaned")
    world.run(0.1)
    assert changes(world, 1)[-1] == ("up", "cleaned")


def test_a_node_that_stalls_is_quarantined_and_the_answers_are_quick_again() -> None:
    world = ready(World(fleet_of(4, quarantine=True, window=16)))
    world.nodes[3].compute_s = 30.0
    for seed in range(20):
        ask(world, seed)
    assert states(world)[3] == "quarantined"
    assert ask(world, 50).latency_ms < 100
    assert "answered 0% of its recent requests in time" in changes(world, 3)[0][1]


def test_a_straggler_does_not_hold_the_answers_with_an_automatic_deadline() -> None:
    world = ready(World(fleet_of(4, deadline="auto")))
    for seed in range(20):
        assert len(ask(world, seed).votes) == 4
    world.nodes[3].compute_s = 0.7
    latencies = [ask(world, seed, gap_s=0.8).latency_ms for seed in range(20, 60)]
    assert max(latencies) < 350
    assert np.median(latencies[-10:]) < 250
    assert world.core.nodes[3].counters.late >= 39
    assert world.core.counters.lost == 0


def test_no_answer_is_lost_when_the_network_becomes_slower() -> None:
    world = ready(World(fleet_of(4, deadline="auto")))
    for seed in range(20):
        ask(world, seed)
    world.delay_s = 0.15
    answers = [ask(world, seed, gap_s=0.5) for seed in range(20, 60)]
    assert all(len(answer.votes) >= 2 for answer in answers), "a quorum at least"
    assert [len(answer.votes) for answer in answers[-20:]] == [4] * 20, "it has learnt"
    assert world.core.counters.lost == 0


def test_when_those_that_count_fail_a_vote_from_quarantine_is_waited_for() -> None:
    world = ready(World(fleet_of(3, deadline="auto")))
    for seed in range(20):
        ask(world, seed)
    world.core.quarantine(world.now, 1, True, "dirty")
    world.nodes[1].compute_s = 0.5
    world.tap = lambda node, message: failing(world, node, message) if node != 1 else message
    answer = world.classify(make_image(world.fleet))
    assert [(vote.node, vote.counted) for vote in answer.votes] == [(1, True)]
    assert set(answer.errors) == {0, 2}
    assert 500 < answer.latency_ms < 700


def test_a_deadline_of_the_caller_is_kept() -> None:
    world = ready(World(fleet_of(4, deadline="auto")))
    for seed in range(20):
        ask(world, seed)
    world.nodes[3].compute_s = 0.7
    answer = world.classify(make_image(world.fleet), deadline_s=0.9)
    assert len(answer.votes) == 4


def test_the_automatic_deadline_counts_from_when_the_nodes_were_sent_the_request() -> None:
    """Requests wait for each other in the nodes' queues; that is not the nodes' slowness."""
    world = ready(World(fleet_of(3, deadline="auto")))
    for seed in range(20):
        ask(world, seed)
    requests = [world.submit(make_image(world.fleet, seed)) for seed in range(10)]
    world.run(3)
    votes = {answer.request: len(answer.votes) for answer in world.answers()}
    assert [votes[request] for request in requests] == [3] * 10


def test_nodes_are_spared_when_the_first_ones_agree() -> None:
    world = ready(World(fleet_of(5, first=2, confidence=0.7, everyone_every=1000)))
    answer = ask(world, 0)
    assert len(answer.votes) == 2 and len(answer.spared) == 3
    assert set(answer.spared).isdisjoint(vote.node for vote in answer.votes)
    assert answer.missing == ()
    assert answer.class_index == right_class(world, 0)
    counters = world.core.counters
    assert (counters.early, counters.spared, counters.answers, counters.lost) == (1, 3, 1, 0)
    for node in answer.spared:
        assert world.core.nodes[node].counters.spared == 1
        assert world.core.nodes[node].counters.lost == 0


def test_the_group_is_spared_too() -> None:
    network = {"gateway": "10.0.0.100", "multicast": "239.1.2.3:5001"}
    judging = {"first": 2, "confidence": 0.7, "everyone_every": 5}
    world = ready(World(make_fleet(serial=0, udp=5, judging=judging, network=network)))
    for seed in range(4):
        answer = ask(world, seed)
        assert len(answer.spared) == 3
    assert [data for _, node, data in world.sent if node is None] == []
    assert world.core.counters.foreign == 0
    assert sum(len(node.answers) for node in world.nodes.values()) == 8
    assert len(ask(world, 4).votes) == 5
    assert any(node is None for _, node, _ in world.sent), "what all are asked goes to the group"


def test_equal_nodes_are_spared_in_turn_and_all_are_asked_now_and_then() -> None:
    world = ready(World(fleet_of(5, first=2, confidence=0.7, everyone_every=10)))
    answers = [ask(world, seed) for seed in range(20)]
    assert [len(answer.votes) for answer in answers[9::10]] == [5, 5]
    spared = [node.counters.spared for node in world.core.nodes.values()]
    assert max(spared) - min(spared) <= 1
    estimates = [status.estimate for status in world.core.statuses()]
    assert all(e is not None and e.agreement == 1.0 for e in estimates)


def test_all_are_asked_where_the_first_ones_differ_or_doubt(liars: set[int]) -> None:
    world = ready(World(fleet_of(5, first=2, confidence=0.7, everyone_every=1000)))
    liars.update((0, 1))
    seed = images_of_others(world, 1)[0]
    first = ask(world, seed)
    assert len(first.votes) == 2, "two liars that collude are believed: so 3 were better"
    liars.remove(1)
    answers = [ask(world, seed) for _ in range(5)]
    assert {len(answer.votes) for answer in answers} >= {5}
    doubtful = ready(World(fleet_of(5, first=2, confidence=0.99, everyone_every=1000)))
    answer = ask(doubtful, 0)
    assert (len(answer.votes), answer.spared, doubtful.core.counters.early) == (5, (), 0)


def test_a_first_node_without_an_answer_costs_no_more_than_its_usual_time() -> None:
    world = ready(World(fleet_of(4, first=1, confidence=0.6, everyone_every=1000)))
    world.nodes[0].compute_s = 30.0
    assert world.core.nodes[0].variant.macs == world.core.nodes[1].variant.macs
    answer = ask(world, 0)
    assert {vote.node for vote in answer.votes} == {1, 2, 3}
    assert world.core.counters.lost == 0


def test_an_error_of_a_first_node_asks_the_others_at_once() -> None:
    world = ready(World(fleet_of(4, first=1, confidence=0.6, everyone_every=1000)))

    world.tap = lambda node, message: failing(world, node, message) if node == 0 else message
    world.nodes[0].compute_s = 0.05
    answer = world.classify(make_image(world.fleet))
    assert {vote.node for vote in answer.votes} == {1, 2, 3}
    assert answer.latency_ms < 300
    assert 0 in answer.errors


def test_a_first_node_that_dies_asks_the_others() -> None:
    world = ready(World(fleet_of(4, first=1, confidence=0.6, everyone_every=1000)))
    request = world.submit(make_image(world.fleet))
    world.nodes[0].alive = False
    world.core.link_down(world.now, 0, "unplugged")
    world.run(0.4)
    (answer,) = [answer for answer in world.answers() if answer.request == request]
    assert {vote.node for vote in answer.votes} == {1, 2, 3}


def test_accuracy_is_known_where_the_right_class_is() -> None:
    world = ready(World(fleet_of(3)))
    image = make_image(world.fleet)
    world.core.submit(world.now, image, None, None, right_class(world, 0))
    world.run(0.5)
    estimates = [status.estimate for status in world.core.statuses()]
    assert [e.accuracy for e in estimates if e is not None] == [1.0, 1.0, 1.0]


def test_another_judging_table_applies_from_the_next_request_on(liars: set[int]) -> None:
    world = ready(World(fleet_of(5)))
    liars.update((3, 4))
    seed = next(s for s in images_of_others(world, 20) if ask(world, s).class_index == LIE)
    known = world.core.statuses()[0].estimate
    world.reload(fleet_of(5, combine="median"))
    assert ask(world, seed).class_index == right_class(world, seed)
    estimate = world.core.statuses()[0].estimate
    assert known is not None and estimate is not None
    assert estimate.samples == known.samples + 1
    world.reload(fleet_of(6, first=2, confidence=0.5))
    world.run(1)
    assert len(ask(world, seed).spared) == 4
    world.reload(fleet_of(4, first=3, confidence=0.5, window=32))
    world.run(1)
    assert len(ask(world, seed).spared) == 1


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_with_everything_on_and_everything_failing(
    liars: set[int], seed: int
) -> None:
    fleet = fleet_of(
        6, combine="median", liars=1, first=2, confidence=0.7, deadline="auto", quarantine=True
    )
    world = ready(World(fleet, seed=seed))
    world.faults = Faults(loss=0.05, duplication=0.05, corruption=0.05, reorder=0.1)
    chance = random.Random(seed)
    seeds = images_of_others(world, 80)
    liars.add(chance.randrange(6))
    for number in seeds:
        node = world.nodes[chance.randrange(6)]
        if chance.random() < 0.1 and sum(other.alive for other in world.nodes.values()) > 3:
            node.alive = False
        elif not node.alive:
            node.reboot()
        node.compute_s = 0.3 if chance.random() < 0.05 else 0.02
        answer = ask(world, number, gap_s=chance.random() * 0.2)
        assert answer.class_index is not None
        voted = {vote.node for vote in answer.votes}
        assert voted | set(answer.missing) | set(answer.spared) == set(range(6))
        assert len(voted) + len(answer.missing) + len(answer.spared) == 6
    assert world.core.counters.lost == 0
