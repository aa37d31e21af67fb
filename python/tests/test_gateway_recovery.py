"""Requests that change hands, and nodes that do not listen; in virtual time."""

from __future__ import annotations

import random

import pytest

from fleet_factory import KEY, make_fleet, make_image
from simulated_fleet import HELLO_S, World, entries_of, ready, states
from variant_parallelism import wire
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Answer, Warned
from variant_parallelism.gateway.recovery import JUMPS


def warnings(world: World) -> list[str]:
    return [event.text for event in world.events if isinstance(event, Warned)]


def answer_of(world: World, request: int) -> Answer:
    (answer,) = [answer for answer in world.answers() if answer.request == request]
    return answer


def one_up_one_down() -> World:
    """Node 0 is up and slow, node 1 has been silent from the beginning."""
    world = World(make_fleet(serial=0, udp=2))
    world.nodes[1].alive = False
    world.nodes[0].compute_s = 60
    world.run(5)
    assert states(world) == {0: "up", 1: "dead"}
    return world


def test_a_node_that_came_up_later_answers_when_the_only_one_asked_dies() -> None:
    world = one_up_one_down()
    image = make_image(world.fleet)
    request = world.submit(image, deadline_s=30)
    world.run(0.5)
    world.nodes[1].reboot()
    world.run(0.5)
    assert states(world) == {0: "up", 1: "up"}
    assert world.core.nodes[1].counters.chunks == 0
    world.nodes[0].alive = False
    world.run(3 * HELLO_S + 0.5)
    answer = answer_of(world, request)
    (vote,) = answer.votes
    assert (vote.node, vote.entries) == (1, entries_of(1, image.tobytes(), 2, 10))
    assert answer.missing == (0,)
    assert world.core.counters.lost == 0


@pytest.mark.parametrize("newer", [1, 3])
def test_it_answers_also_if_it_has_begun_newer_requests_by_then(newer: int) -> None:
    """A node refuses request numbers older than its newest, so the old image gets a new one."""
    world = one_up_one_down()
    images = [make_image(world.fleet, seed) for seed in range(1 + newer)]
    oldest = world.submit(images[0], deadline_s=30)
    world.run(0.5)
    world.nodes[1].reboot()
    world.run(0.5)
    requests = [oldest, *(world.submit(image, deadline_s=30) for image in images[1:])]
    world.run(0.5)
    assert world.nodes[1].latest == requests[-1]
    world.nodes[0].alive = False
    world.run(3 * HELLO_S + 0.5)
    for request, image in zip(requests, images, strict=True):
        (vote,) = answer_of(world, request).votes
        assert vote.entries == entries_of(1, image.tobytes(), 2, 10)
    counters = world.core.counters
    assert (counters.answers, counters.lost, counters.errors) == (1 + newer, 0, 0)


def test_requests_that_change_hands_are_served_oldest_first() -> None:
    world = one_up_one_down()
    world.nodes[1].compute_s = 2
    first = world.submit(make_image(world.fleet, 0), deadline_s=60)
    world.run(0.5)
    world.nodes[1].reboot()
    world.run(0.1)
    later = [world.submit(make_image(world.fleet, seed), deadline_s=60) for seed in (1, 2)]
    world.run(0.1)
    world.nodes[0].alive = False
    world.core.link_down(world.now, 0, "unplugged")
    world._collect()
    queued = [request.id for request in world.core.nodes[1].queue]
    assert queued == [first, later[1]]
    world.run(10)
    assert [answer.request for answer in world.answers()] == [later[0], first, later[1]]
    assert world.core.counters.lost == 0


def test_when_all_that_were_asked_refuse_the_others_are_asked() -> None:
    world = one_up_one_down()
    request = world.submit(make_image(world.fleet), deadline_s=30)
    world.run(0.5)
    world.nodes[1].reboot()
    world.run(0.5)
    world.nodes[0].send(wire.NodeError(request, wire.ErrorCode.TOO_LARGE))
    world.run(0.5)
    answer = answer_of(world, request)
    assert [vote.node for vote in answer.votes] == [1]
    assert answer.errors == {0: wire.ErrorCode.TOO_LARGE.text}


def test_a_superseded_request_is_asked_once_more_under_a_new_number() -> None:
    world = ready(World(make_fleet(serial=0, udp=1)))
    image = make_image(world.fleet)
    world.nodes[0].latest = world.core._book._next
    answer = world.classify(image, deadline_s=5)
    assert [vote.entries for vote in answer.votes] == [entries_of(0, image.tobytes(), 2, 10)]
    assert world.core.counters.errors == 1
    assert (answer.errors, world.core._book._numbers) == ({}, {})


@pytest.mark.parametrize("ahead", [100, 0x7000])
def test_a_run_under_the_boot_counter_of_an_earlier_one_takes_a_higher(ahead: int) -> None:
    """The node knows later requests, and answers, of a gateway that lost its state file."""
    boots: list[int] = []
    world = ready(World(make_fleet(serial=1, udp=2), on_boot=boots.append))
    for node in world.nodes.values():
        node.gateway_boot = 100
        node.latest = world.core._book._next + ahead
    image = make_image(world.fleet)
    answer = world.classify(image, deadline_s=10)
    assert answer.errors == {}
    assert [vote.node for vote in answer.votes] == [0, 1, 2]
    for vote in answer.votes:
        assert vote.entries == entries_of(vote.node, image.tobytes(), 2, 10)
    assert boots == [100 + JUMPS[0]]
    assert len(warnings(world)) == 1


def test_a_node_that_calls_everything_superseded_is_asked_a_few_times_only() -> None:
    boots: list[int] = []
    world = ready(World(make_fleet(serial=0, udp=2), on_boot=boots.append))
    stubborn = world.nodes[1]
    stubborn._chunk = lambda body: stubborn.send(  # type: ignore[method-assign]
        wire.NodeError(body.request, wire.ErrorCode.SUPERSEDED)
    )
    answer = world.classify(make_image(world.fleet), deadline_s=10)
    assert [vote.node for vote in answer.votes] == [0]
    assert answer.errors == {1: wire.ErrorCode.SUPERSEDED.text}
    assert len(boots) <= len(JUMPS)
    assert len(warnings(world)) <= 2


def forgotten(fleet: Fleet, heard: int, boots: list[int]) -> World:
    """A gateway under boot counter 100 whose nodes have heard `heard`."""
    world = World(fleet, on_boot=boots.append)
    for node in world.nodes.values():
        node.gateway_boot = heard
        node.replay.accept(heard << 16)
    world.run(0.5)
    return world


@pytest.mark.parametrize("heard", [101, 4000, 120_000, 1_600_000])
@pytest.mark.parametrize("key", [KEY, None], ids=["keyed", "plain"])
def test_nodes_that_heard_a_higher_boot_counter_come_back(heard: int, key: bytes | None) -> None:
    boots: list[int] = []
    world = forgotten(make_fleet(serial=1, udp=2, key=key), heard, boots)
    assert set(states(world).values()) == {"up"}
    image = make_image(world.fleet)
    answer = world.classify(image, deadline_s=15)
    assert [vote.node for vote in answer.votes] == [0, 1, 2]
    for vote in answer.votes:
        assert vote.entries == entries_of(vote.node, image.tobytes(), 2, 10)
    assert boots[-1] > heard
    needed = next(count for count in (1, 2, 3) if 100 + sum(JUMPS[:count]) > heard)
    assert boots == [100 + sum(JUMPS[:count]) for count in range(1, needed + 1)]
    (warning,) = warnings(world)
    assert "takes what this gateway sends for old" in warning
    assert world.classify(make_image(world.fleet, 1), deadline_s=2).missing == ()
    world.run(20)
    assert boots[-1] == world.core._out.boot == 100 + sum(JUMPS[:needed])


@pytest.mark.parametrize("seed", range(21))
def test_one_jump_is_enough_whatever_was_on_its_way(seed: int) -> None:
    """What a slow line still carries at the jump is rejected after it, and is no reason to jump."""
    chance = random.Random(seed)
    boots: list[int] = []
    world = forgotten(make_fleet(serial=1, udp=1), 101, boots)
    world.run(chance.random() * HELLO_S)
    world.submit(make_image(world.fleet), deadline_s=15)
    for _ in range(3):
        world.bytes_per_s[0] = chance.choice([800.0, 1500.0, 3000.0, 6000.0, 11_000.0])
        world.delay_s = chance.choice([0.001, 0.05, 0.2, 0.5])
        world.run(1.5 * chance.random() * HELLO_S)
    world.delay_s = 0.001
    world.run(20)
    (answer,) = world.answers()
    assert (boots, answer.missing) == ([100 + JUMPS[0]], ())


def test_jumps_end_where_they_do_not_help() -> None:
    boots: list[int] = []
    world = forgotten(make_fleet(serial=0, udp=2), 10_000_000, boots)
    answer = world.classify(make_image(world.fleet), deadline_s=30)
    assert answer.votes == ()
    assert len(boots) == len(JUMPS)
    first, *hopeless = warnings(world)
    assert "raising ours" in first
    assert sorted(text.split(" takes")[0] for text in hopeless) == ["node 0", "node 1"]
    assert all("cut the node's power" in text for text in hopeless)
    for node in world.nodes.values():
        node.reboot()
    world.run(1)
    assert len(world.classify(make_image(world.fleet), deadline_s=5).votes) == 2


def test_the_boot_counter_never_jumps_past_half_of_its_range() -> None:
    boots: list[int] = []
    fleet = make_fleet(serial=0, udp=1)
    world = World(fleet, boot=(1 << 23) - 10, on_boot=boots.append)
    world.nodes[0].replay.accept((1 << 23) << 16)
    world.run(0.5)
    assert world.classify(make_image(fleet), deadline_s=5).votes == ()
    assert boots == []
    (warning,) = warnings(world)
    assert "cut the node's power" in warning


def test_a_node_that_answers_may_reject_what_it_likes() -> None:
    """Strangers' messages at a node's port are no reason to change the boot counter."""
    boots: list[int] = []
    world = ready(World(make_fleet(serial=0, udp=2), on_boot=boots.append))
    for seed in range(10):
        world.nodes[0].rejected += 100
        world.classify(make_image(world.fleet, seed), deadline_s=2)
        world.run(1)
    world.nodes[1].alive = False
    world.nodes[0].rejected += 100
    world.run(10)
    assert (boots, warnings(world)) == ([], [])


def test_a_lossy_way_is_no_reason_either() -> None:
    boots: list[int] = []
    world = ready(World(make_fleet(serial=0, udp=1), on_boot=boots.append))
    node = world.nodes[0]
    receive = node.receive
    node.receive = lambda message: None  # type: ignore[method-assign]
    world.classify(make_image(world.fleet), deadline_s=5)
    node.receive = receive  # type: ignore[method-assign]
    world.run(5)
    assert (boots, warnings(world)) == ([], [])


def before_anybody_spoke(fleet: Fleet) -> World:
    """A world where the HELLOs of booting were said to nobody."""
    world = World(fleet)
    world._queue.clear()
    return world


def test_a_node_that_never_answers_is_named_once() -> None:
    world = before_anybody_spoke(make_fleet(serial=1, udp=2))
    world.nodes[0].alive = world.nodes[1].alive = False
    world.run(2.9 * HELLO_S)
    assert states(world) == {0: "unknown", 1: "unknown", 2: "up"}
    assert warnings(world) == []
    world.run(30)
    assert warnings(world) == [
        "node 0 (v0) at /dev/none0 has not answered for 3 s: check its power, the port and its "
        "baud rate",
        "node 1 (v1) at 10.0.0.1:5000 has not answered for 3 s: check its power, the address and "
        "the network",
    ]


@pytest.mark.parametrize(
    ("key", "node", "message"),
    [
        (bytes(32), 0, "has another key: check key_file"),
        (KEY, 5, "is another node, or of another fleet"),
    ],
    ids=["key", "id"],
)
def test_a_node_that_answers_wrongly_is_named_too(key: bytes, node: int, message: str) -> None:
    world = before_anybody_spoke(make_fleet(serial=0, udp=1))
    world.nodes[0].key = key
    world.nodes[0].id = node
    world.to_gateway = lambda _, sent: world.core.datagram(world.now, 0, sent)  # type: ignore[method-assign]
    world.run(20)
    (warning,) = warnings(world)
    assert warning.startswith("node 0 (v0) at 10.0.0.0:5000 ")
    assert message in warning
