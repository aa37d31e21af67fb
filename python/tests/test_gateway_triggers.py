"""Triggers in virtual time: each node with a source captures once, what is lost is asked again."""

from __future__ import annotations

import pytest

from fleet_factory import FLEET_ID, KEY, make_fleet, make_image
from simulated_fleet import World, entries_of, ready
from variant_parallelism import wire
from variant_parallelism.errors import VpError
from variant_parallelism.gateway import Answer, Answered
from variant_parallelism.keys import group_key
from variant_parallelism.pattern import captured

NETWORK = {"gateway": "10.0.0.254", "multicast": "239.77.80.1:47801"}
SHAPE = (64, 64, 1)


def fleet_of(udp: int = 5, serial: int = 0, *, without: int = 0, group: bool = True) -> World:
    """A fleet whose last `without` nodes have no source, in a multicast group or not."""
    fleet = make_fleet(serial=serial, udp=udp, network=NETWORK if group else None)
    count = udp + serial - without
    return ready(World(fleet, sensors=range(count)))


def body_of(world: World, node: int | None, data: bytes) -> wire.Body:
    message = wire.Deframer().push(data)[0].message if node in world.bytes_per_s else data
    return wire.decode(message, group_key(KEY, FLEET_ID))[1]


def triggers(world: World, since: int = 0) -> list[tuple[int | None, wire.Trigger]]:
    """Triggers that the gateway sent, to whom (None: the group)."""
    bodies = [(node, body_of(world, node, data)) for _, node, data in world.sent[since:]]
    return [(node, body) for node, body in bodies if isinstance(body, wire.Trigger)]


def check(world: World, answer: Answer, nodes: list[int], k: int = 2) -> None:
    """These nodes have voted, each for its own capture, of which there was one."""
    assert answer.triggered
    assert [vote.node for vote in answer.votes] == nodes
    for vote in answer.votes:
        image = captured(vote.node, answer.request, SHAPE).tobytes()
        assert vote.entries == entries_of(vote.node, image, k, 10)
        assert world.nodes[vote.node].captures.count(answer.request) == 1


def lose_trigger(world: World, node: int | None) -> None:
    """Lose the next trigger that goes to a node, or to the group (None)."""
    left = [1]

    def loses(to: int | None, data: bytes) -> bool:
        lost = bool(left) and to == node and isinstance(body_of(world, to, data), wire.Trigger)
        if lost:
            left.pop()
        return lost

    world.loses = loses


def lose_answers(world: World, node: int, times: int = 1) -> None:
    """Lose the next predictions of a node."""
    left = [times]

    def tap(sender: int, message: bytes) -> bytes | None:
        kind = wire.peek(message).type
        if sender == node and left[0] and kind is wire.MessageType.PREDICTION:
            left[0] -= 1
            return None
        return message

    world.tap = tap


def test_one_message_to_the_group_brings_every_nodes_own_capture() -> None:
    world = fleet_of(5)
    for _ in range(20):
        before = len(world.sent)
        answer = world.answer_of(world.trigger())
        check(world, answer, [0, 1, 2, 3, 4])
        assert triggers(world, before) == [(None, wire.Trigger(answer.request, 2, False))]
        assert (answer.missing, answer.errors) == ((), {})
        assert all(vote.inference_ms == 20.0 for vote in answer.votes)
        assert all(vote.latency_ms == pytest.approx(32) for vote in answer.votes)
    counters = world.core.counters
    assert (counters.requests, counters.answers, counters.lost) == (20, 20, 0)


def test_without_a_group_each_node_gets_its_own() -> None:
    world = fleet_of(3, 2, group=False)
    before = len(world.sent)
    answer = world.answer_of(world.trigger(k=3))
    check(world, answer, [0, 1, 2, 3, 4], k=3)
    expected = {(node, wire.Trigger(answer.request, 3, False)) for node in range(5)}
    assert len(triggers(world, before)) == 5 and set(triggers(world, before)) == expected


def test_lines_and_the_group_side_by_side() -> None:
    world = fleet_of(3, 2)
    before = len(world.sent)
    check(world, world.answer_of(world.trigger()), [0, 1, 2, 3, 4])
    assert {node for node, _ in triggers(world, before)} == {0, 1, None}


def test_nodes_without_a_source_are_not_asked_and_say_why() -> None:
    world = fleet_of(3, 2, without=2)
    before = len(world.sent)
    answer = world.answer_of(world.trigger())
    check(world, answer, [0, 1, 2])
    assert answer.missing == (3, 4)
    assert answer.errors == dict.fromkeys((3, 4), "the node has no input source")
    assert {node for node, _ in triggers(world, before)} == {0, 1, 2}
    assert all(world.core.nodes[node].counters.lost == 0 for node in (3, 4))


def test_a_fleet_without_any_source_is_an_error_and_not_a_wait() -> None:
    world = ready(World(make_fleet()))
    with pytest.raises(VpError, match="no node that was heard of has an input source"):
        world.trigger()
    assert world.core.counters.requests == 0


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"k": 11}, "k must be 1 to 10"),
        ({"deadline_s": 0.0}, "the deadline must be over 0"),
    ],
)
def test_impossible_terms(terms: dict[str, float], text: str) -> None:
    world = fleet_of(2)
    with pytest.raises(VpError, match=text):
        world.core.trigger(world.now, terms.get("k"), terms.get("deadline_s"))  # type: ignore[arg-type]
    with pytest.raises(VpError, match="label 10 is no class"):
        world.core.trigger(world.now, None, None, 10)


def test_a_label_comes_back() -> None:
    world = fleet_of(2)
    request = world.core.trigger(world.now, None, None, 4)
    world._collect()
    assert world.answer_of(request.id).label == 4


@pytest.mark.parametrize("to", [None, 3, 0])
def test_a_lost_trigger_is_asked_again_by_itself(to: int | None) -> None:
    world = fleet_of(4, 1)
    lose_trigger(world, to)
    before = len(world.sent)
    answer = world.answer_of(world.trigger(deadline_s=5))
    check(world, answer, [0, 1, 2, 3, 4])
    again = [node for node, body in triggers(world, before) if body.report]
    lost = [1, 2, 3, 4] if to is None else [to]
    assert len(again) == len(lost) and set(again) == set(lost)
    assert answer.latency_ms < 500


def test_a_lost_answer_is_brought_again_without_another_capture() -> None:
    world = fleet_of(3)
    lose_answers(world, 1, times=2)
    answer = world.answer_of(world.trigger(deadline_s=5))
    check(world, answer, [0, 1, 2])
    assert world.core.counters.duplicate == 0


def test_a_slow_source_is_asked_and_not_taken_for_dead() -> None:
    world = fleet_of(3)
    world.nodes[2].capture_s = 1.5
    answer = world.answer_of(world.trigger(deadline_s=5))
    check(world, answer, [0, 1, 2])
    assert answer.latency_ms == pytest.approx(1522, abs=2)


def test_everything_lossy_and_every_capture_counts_once() -> None:
    world = fleet_of(4, 1)
    world.faults.loss = world.faults.duplication = world.faults.reorder = 0.2
    world.group_loss = 0.2
    for _ in range(30):
        check(world, world.answer_of(world.trigger(deadline_s=20)), [0, 1, 2, 3, 4])


def test_a_network_without_multicast_costs_a_time_out_now_and_then() -> None:
    world = fleet_of(4)
    world.group_loss = 1.0
    slow = 0
    for _ in range(40):
        answer = world.answer_of(world.trigger(deadline_s=5))
        check(world, answer, [0, 1, 2, 3])
        slow += answer.latency_ms > 50
    assert 1 <= slow <= 3
    assert sum(node is None for node, _ in triggers(world)) == slow


def test_a_node_that_restarts_meanwhile_captures_again() -> None:
    world = fleet_of(3)
    world.nodes[1].capture_s = 0.5
    request = world.trigger(deadline_s=5)
    world.run(0.1)
    world.nodes[1].capture_s = 0.01
    world.nodes[1].reboot()
    answer = world.answer_of(request)
    assert [vote.node for vote in answer.votes] == [0, 1, 2]
    assert world.nodes[1].captures == [request, request]
    assert answer.latency_ms < 150


def test_a_dead_node_is_not_waited_for_and_returns() -> None:
    world = fleet_of(3)
    world.nodes[1].alive = False
    answer = world.answer_of(world.trigger(deadline_s=1))
    check(world, answer, [0, 2])
    world.run(4)
    answer = world.answer_of(world.trigger(deadline_s=1))
    check(world, answer, [0, 2])
    assert answer.latency_ms < 100
    world.nodes[1].reboot()
    world.run(1)
    check(world, world.answer_of(world.trigger(deadline_s=1)), [0, 1, 2])


def test_a_node_that_comes_up_meanwhile_is_asked_if_nobody_else_can_answer() -> None:
    fleet = make_fleet(serial=0, udp=2)
    world = World(fleet, sensors=range(2))
    for node in world.nodes.values():
        node.alive = False
    world.run(1)
    request = world.trigger(deadline_s=5)
    world.run(1)
    world.nodes[1].reboot()
    answer = world.answer_of(request)
    assert [vote.node for vote in answer.votes] == [1]


def test_no_node_in_time_is_no_answer() -> None:
    world = fleet_of(2)
    for node in world.nodes.values():
        node.capture_s = 60
    answer = world.answer_of(world.trigger(deadline_s=1))
    assert (answer.class_index, answer.votes, answer.missing) == (None, (), (0, 1))
    assert answer.triggered and answer.latency_ms == pytest.approx(1000)


def test_the_gateways_new_boot_counter_drops_captures_and_they_are_made_again() -> None:
    world = fleet_of(3)
    for node in world.nodes.values():
        node.capture_s = 0.3
    request = world.trigger(deadline_s=5)
    world.run(0.1)
    world.core._out.raise_boot()
    answer = world.answer_of(request)
    assert [vote.node for vote in answer.votes] == [0, 1, 2]


def test_a_trigger_sends_no_image_along() -> None:
    world = fleet_of(2)
    world.answer_of(world.trigger())
    image = world.classify(make_image(world.fleet))
    assert not image.triggered and len(image.votes) == 2
    answered = [event for event in world.events if isinstance(event, Answered)]
    assert [event.image is None for event in answered] == [True, False]


def test_slow_nodes_are_known_for_it_and_stay_in_the_group() -> None:
    world = fleet_of(4)
    for node in world.nodes.values():
        node.capture_s, node.compute_s = 0.2, 0.8
    for _ in range(30):
        check(world, world.answer_of(world.trigger(deadline_s=9)), [0, 1, 2, 3])
    before = len(world.sent)
    for _ in range(5):
        check(world, world.answer_of(world.trigger(deadline_s=9)), [0, 1, 2, 3])
    assert [node for node, _ in triggers(world, before)] == [None] * 5


def test_what_was_lost_is_not_taken_for_slowness() -> None:
    world = fleet_of(2)
    world.nodes[1].compute_s = 0.3
    lose_answers(world, 1, times=4)
    assert world.answer_of(world.trigger(deadline_s=20)).latency_ms > 1000
    world.nodes[1].compute_s = 0.02
    for _ in range(5):
        lose_answers(world, 1)
        answer = world.answer_of(world.trigger(deadline_s=20))
        check(world, answer, [0, 1])
        assert answer.latency_ms < 700


def test_an_answer_stays_as_it_was_whatever_becomes_of_its_nodes() -> None:
    world = fleet_of(3)
    before = world.answer_of(world.trigger())
    told = list(before.votes)
    world.core.quarantine(world.now, 1, True, "dirty")
    during = world.answer_of(world.trigger())
    world.core.quarantine(world.now, 1, False, "clean")
    after = world.answer_of(world.trigger())
    assert [vote.counted for vote in before.votes] == [True] * 3
    assert [vote.node for vote in during.votes if vote.counted] == [0, 2]
    assert [vote.counted for vote in after.votes] == [True] * 3
    assert before.votes == told
