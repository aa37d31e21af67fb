"""Triggers beside images and other triggers: none takes from a node what it has not got whole."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fleet_factory import make_fleet, make_image
from simulated_fleet import World, entries_of, ready
from test_gateway_triggers import check, fleet_of, triggers
from variant_parallelism import wire
from variant_parallelism.gateway import Answer
from variant_parallelism.keys import group_key


def superseded(world: World) -> int:
    """Requests that nodes gave up for a newer one."""
    codes = []
    for node, message in world.heard:
        if wire.peek(message).type is wire.MessageType.ERROR:
            _, body = wire.decode(message, world.nodes[node].key)
            assert isinstance(body, wire.NodeError)
            codes.append(body.code)
    return codes.count(wire.ErrorCode.SUPERSEDED)


def check_image(world: World, answer: Answer, seed: int, nodes: list[int]) -> None:
    image = make_image(world.fleet, seed).tobytes()
    assert not answer.triggered
    assert [vote.node for vote in answer.votes] == nodes
    assert all(vote.entries == entries_of(vote.node, image, 2, 10) for vote in answer.votes)


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.01, 0.03])
def test_a_trigger_waits_for_an_image_that_is_on_its_way(group: bool, delay_s: float) -> None:
    world = fleet_of(3, 1, group=group)
    image = world.submit(make_image(world.fleet, 1), deadline_s=9)
    world.run(delay_s)
    trigger = world.trigger(deadline_s=9)
    check_image(world, world.answer_of(image), 1, [0, 1, 2, 3])
    check(world, world.answer_of(trigger), [0, 1, 2, 3])
    assert superseded(world) == 0


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.01, 0.03])
def test_an_image_waits_for_a_capture(group: bool, delay_s: float) -> None:
    world = fleet_of(3, 1, group=group)
    for node in world.nodes.values():
        node.capture_s = 0.05
    trigger = world.trigger(deadline_s=9)
    world.run(delay_s)
    image = world.submit(make_image(world.fleet, 1), deadline_s=9)
    check(world, world.answer_of(trigger), [0, 1, 2, 3])
    check_image(world, world.answer_of(image), 1, [0, 1, 2, 3])
    assert superseded(world) == 0


def test_many_of_both_at_once() -> None:
    world = fleet_of(3, 1)
    asked: list[tuple[int, int | None]] = []
    for seed in range(30):
        if seed % 3:
            asked.append((world.trigger(deadline_s=60), None))
        else:
            asked.append((world.submit(make_image(world.fleet, seed), deadline_s=60), seed))
        world.run(random.Random(seed).choice([0.0, 0.001, 0.02, 0.1]))
    for request, image in asked:
        if image is None:
            check(world, world.answer_of(request), [0, 1, 2, 3])
        else:
            check_image(world, world.answer_of(request), image, [0, 1, 2, 3])
    assert superseded(world) == 0
    assert world.core.counters.lost == 0


def test_triggers_come_one_after_the_other() -> None:
    world = fleet_of(4)
    before = len(world.sent)
    asked = [world.trigger(deadline_s=20) for _ in range(6)]
    for request in asked:
        check(world, world.answer_of(request), [0, 1, 2, 3])
    assert [node for node, _ in triggers(world, before)] == [None] * 6
    for node in world.nodes.values():
        assert node.captures[-6:] == asked
    assert superseded(world) == 0


def test_nodes_without_a_source_get_their_image_by_the_group_meanwhile() -> None:
    world = fleet_of(4, without=2)
    for node in (0, 1):
        world.nodes[node].compute_s = 0.3
    world.answer_of(world.trigger(deadline_s=9))
    trigger = world.trigger(deadline_s=9)
    world.run(0.005)
    image = world.submit(make_image(world.fleet, 1), deadline_s=9)
    check(world, world.answer_of(trigger), [0, 1])
    check_image(world, world.answer_of(image), 1, [0, 1, 2, 3])
    assert superseded(world) == 0


def test_a_slow_node_is_waited_for_a_little_and_misses_nothing() -> None:
    world = fleet_of(4)
    world.nodes[3].compute_s = 1.0
    before = len(world.sent)
    asked = [world.trigger(deadline_s=60) for _ in range(4)]
    check(world, world.answer_of(asked[-1]), [0, 1, 2, 3])
    for request in asked:
        check(world, world.answer_of(request), [0, 1, 2, 3])
    last = [when for when, _, data in world.sent[before:] if is_trigger(data)][-1]
    assert superseded(world) == 0
    quick = [
        vote.latency_ms
        for answer in world.answers()
        for vote in answer.votes
        if answer.request in asked and vote.node != 3
    ]
    assert max(quick) < 100 and last > 2


@pytest.mark.parametrize("nodes", [8, 40])
def test_a_group_whose_answers_pour_in_is_not_asked_one_by_one(nodes: int) -> None:
    world = fleet_of(nodes)
    for at, node in enumerate(world.nodes.values()):
        node.compute_s, node.capture_s = 0.001, 0.2 * (at + 1) / nodes
    before = len(world.sent)
    asked = [world.trigger(deadline_s=5) for _ in range(4)]
    for request in asked:
        check(world, world.answer_of(request), list(range(nodes)))
    sent = triggers(world, before)
    assert [(to, body.request) for to, body in sent if not body.report] == [
        (None, request) for request in asked
    ]


def is_trigger(data: bytes) -> bool:
    return wire.peek(data).type is wire.MessageType.TRIGGER


def test_a_mute_member_does_not_hold_up_the_group() -> None:
    """It keeps saying HELLO, and nothing else."""
    world = fleet_of(4)
    world.answer_of(world.trigger())
    key = group_key(world.fleet.key or b"", world.fleet.table.id)
    world.loses = lambda node, data: (
        node == 2 and isinstance(wire.decode(data, key)[1], wire.Trigger)
    )
    before, answers = len(world.sent), []
    for _ in range(12):
        answers.append(world.trigger(deadline_s=3))
        world.run(0.5)
    for request in answers:
        answer = world.answer_of(request)
        check(world, answer, [0, 1, 3])
        assert all(vote.latency_ms < 100 for vote in answer.votes)
    to_group = sum(node is None for node, _ in triggers(world, before))
    assert to_group >= 10
    world.loses = lambda node, data: False
    world.run(5)
    check(world, world.answer_of(world.trigger(deadline_s=3)), [0, 1, 2, 3])


def test_a_slow_source_that_answers_questions_keeps_its_capture() -> None:
    world = fleet_of(4)
    world.nodes[3].capture_s = 1.5
    first = world.trigger(deadline_s=9)
    world.run(1.0)
    second = world.trigger(deadline_s=9)
    for request in (first, second):
        check(world, world.answer_of(request), [0, 1, 2, 3])
    assert superseded(world) == 0


def test_a_node_that_went_away_gets_nothing_that_waited_for_it() -> None:
    world = fleet_of(1, 2)
    for node in (0, 1):
        world.nodes[node].capture_s = 2.0
    first, second = world.trigger(deadline_s=9), world.trigger(deadline_s=9)
    world.run(0.1)
    world.nodes[1].alive = False
    world.core.link_down(world.now, 1, "unplugged")
    before = len(world.sent)
    check(world, world.answer_of(first), [0, 2])
    check(world, world.answer_of(second), [0, 2])
    assert all(node != 1 for node, _ in triggers(world, before))


def test_a_restarted_node_gets_the_older_request_under_a_new_number() -> None:
    """It heard a newer trigger first: its answer counts for the older one all the same."""
    world = fleet_of(2, group=False)
    world.nodes[1].alive = False
    first = world.trigger(deadline_s=30)
    world.run(0.5)
    second = world.trigger(deadline_s=30)
    world.run(0.5)
    world.nodes[1].reboot()
    answer = world.answer_of(first)
    check(world, world.answer_of(second), [0, 1])
    assert [vote.node for vote in answer.votes] == [0, 1]


def test_requests_go_round_the_numbers() -> None:
    fleet = make_fleet(serial=0, udp=2, network=None)
    world = ready(World(fleet, sensors=range(2), first_request=65533))
    requests = []
    for seed in range(6):
        requests.append(world.trigger())
        check(world, world.answer_of(requests[-1]), [0, 1])
        check_image(world, world.classify(make_image(fleet, seed)), seed, [0, 1])
    assert requests == [65533, 65535, 1, 3, 5, 7]
    assert superseded(world) == 0


@pytest.mark.parametrize("seed", range(5))
def test_anything_in_any_order_over_bad_links(seed: int) -> None:
    """Images and triggers at random times, messages lost, doubled and late, nodes that restart."""
    dice = random.Random(seed)
    world = fleet_of(3, 1, without=1)
    world.faults.loss = world.faults.duplication = world.faults.reorder = 0.1
    world.group_loss = 0.1
    asked: list[tuple[int, int | None]] = []
    for number in range(25):
        if dice.random() < 0.6:
            asked.append((world.trigger(deadline_s=60), None))
        else:
            asked.append((world.submit(make_image(world.fleet, number), deadline_s=60), number))
        if dice.random() < 0.1:
            world.nodes[dice.randrange(4)].reboot()
        world.run(dice.choice([0.0, 0.01, 0.1, 0.5]))
    for request, image in asked:
        answer = world.answer_of(request)
        if image is not None:
            check_image(world, answer, image, [0, 1, 2, 3])
        else:
            assert [vote.node for vote in answer.votes] == [0, 1, 2]
            assert answer.errors == {3: "the node has no input source"}
    assert world.core.counters.lost == 0


def test_nodes_that_leave_and_join_while_others_capture() -> None:
    """The fleet file changes between two triggers of which neither is answered."""
    world = fleet_of(4, 1)
    for node in world.nodes.values():
        node.capture_s = 0.5
    first, second = world.trigger(deadline_s=9), world.trigger(deadline_s=9)
    world.run(0.3)
    whole = world.fleet
    left = [node for node in whole.nodes if node.id not in (0, 2)]
    world.reload(replace(whole, table=whole.table.model_copy(update={"nodes": left})))
    check(world, world.answer_of(first), [1, 3, 4])
    check(world, world.answer_of(second), [1, 3, 4])
    mute = world.trigger(deadline_s=3)
    world.nodes[3].alive = False
    world.run(1.0)
    world.reload(whole)
    check(world, world.answer_of(mute), [1, 4])
    world.nodes[3].reboot()
    world.run(2)
    check(world, world.answer_of(world.trigger(deadline_s=9)), [0, 1, 2, 3, 4])
