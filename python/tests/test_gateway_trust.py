"""Who may take part and what is believed: models, keys, fleets, counters; in virtual time."""

from __future__ import annotations

import re

import pytest

from fleet_factory import FLEET_ID, KEY, make_fleet, make_image, make_manifest
from simulated_fleet import World, ready, states
from variant_parallelism import wire
from variant_parallelism.gateway import Warned
from variant_parallelism.keys import node_key
from variant_parallelism.manifest import model_hash


def test_answers_to_requests_that_nobody_made_are_foreign() -> None:
    world = ready(World(make_fleet(serial=0, udp=2)))
    world.nodes[0].send(wire.Prediction(12345, 1.0, ((1, 1), (2, 0))))
    world.run(0.1)
    assert world.core.counters.foreign == 1


def test_an_answer_with_another_k_than_asked_for_is_not_taken() -> None:
    world = ready(World(make_fleet(serial=0, udp=1)))
    request = world.submit(make_image(world.fleet), k=2, deadline_s=0.5)
    world.nodes[0].send(wire.Prediction(request, 1.0, ((1, 1),)))
    world.run(1)
    (answer,) = world.answers()
    assert len(answer.votes[0].entries) == 2
    assert world.core.counters.foreign == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hash": model_hash(b"unheard of")}, "its model .* is not in manifest.json"),
        ({"hash": model_hash(b"v2")}, "it runs v2 but the fleet file says v1"),
        ({"classes": 11}, "it has 11 classes, the fleet 10"),
    ],
    ids=["unknown hash", "another variant", "classes"],
)
def test_a_node_with_another_model_is_refused(change: dict[str, object], reason: str) -> None:
    world = World(make_fleet(serial=0, udp=3))
    node = world.nodes[1]
    for name, value in change.items():
        setattr(node, name, value)
    world.settle()
    assert states(world) == {0: "up", 1: "refused", 2: "up"}
    assert re.fullmatch(reason, world.core.nodes[1].status().reason)
    request = world.submit(make_image(world.fleet), deadline_s=5)
    node.classes = 10
    node.send(wire.Prediction(request, 1.0, ((1, 127), (2, -128))))
    world.run(1)
    (answer,) = world.answers()
    assert [vote.node for vote in answer.votes] == [0, 2]
    assert world.core.counters.refused == 1


def test_a_node_that_cannot_hold_an_image_is_refused() -> None:
    world = World(make_fleet(serial=0, udp=1, manifest=make_manifest(3, side=300)))
    world.settle()
    reason = world.core.nodes[0].reason
    assert reason == "it holds images of 65536 bytes, not 90000"


def test_counters_of_an_earlier_run_are_not_believed() -> None:
    fleet = make_fleet(serial=0, udp=1)
    world = World(fleet, highest={0: 50 << 16})
    world.run(5)
    assert states(world) == {0: "unknown"}
    assert world.core.counters.replayed >= 3
    (warning,) = [event for event in world.events if isinstance(event, Warned)]
    assert warning.text.startswith("node 0 repeats counters up to boot 50")
    node = world.nodes[0]
    node.counter = 51 << 16
    node.start()
    world.settle()
    assert states(world) == {0: "up"}


def test_the_boot_counter_rises_when_the_sequence_is_used_up() -> None:
    boots: list[int] = []
    fleet = make_fleet(serial=0, udp=2)
    world = ready(World(fleet, on_boot=boots.append))
    world.core._out._sequence = 65536 - 5
    for seed in range(3):
        image = make_image(fleet, seed)
        assert len(world.classify(image).votes) == 2
    assert boots == [101]
    assert all(node.dropped == 0 for node in world.nodes.values())


def test_a_restart_whose_hello_was_lost_is_noticed_by_its_counter() -> None:
    fleet = make_fleet(serial=0, udp=1)
    world = ready(World(fleet))
    world.tap = drop_hellos
    node = world.nodes[0]
    node.hash = model_hash(b"reflashed")
    node.reboot()
    request = world.submit(make_image(fleet), deadline_s=1)
    node.send(wire.Prediction(request, 1.0, ((1, 127), (2, 0))))
    world.run(0.005)
    assert world.core.counters.refused == 1
    world.tap = lambda node, message: message
    world.run(2)
    (answer,) = world.answers()
    assert answer.votes == ()
    assert states(world) == {0: "refused"}


def drop_hellos(node: int, message: bytes) -> bytes | None:
    return None if wire.peek(message).type is wire.MessageType.HELLO else message


def test_messages_at_another_nodes_link_are_foreign() -> None:
    fleet = make_fleet(serial=0, udp=2)
    world = ready(World(fleet))
    message = wire.encode(
        wire.Sack(1, 0, ()), fleet=FLEET_ID, node=1, counter=9 << 16, key=node_key(KEY, 7, 1)
    )
    world.core.datagram(world.now, 0, message)
    world.core.datagram(world.now, None, message)
    assert world.core.counters.foreign == 2


def test_two_fleets_with_one_key_do_not_hear_each_other() -> None:
    fleet = make_fleet(serial=0, udp=1)
    world = ready(World(fleet))
    other = wire.encode(
        wire.Sack(1, 0, ()), fleet=FLEET_ID + 1, node=0, counter=9 << 16, key=node_key(KEY, 8, 0)
    )
    world.core.datagram(world.now, 0, other)
    assert world.core.counters.foreign == 1


def test_a_fleet_without_a_key_works_and_refuses_tagged_messages() -> None:
    fleet = make_fleet(serial=1, udp=1, key=None)
    world = ready(World(fleet))
    assert len(world.classify(make_image(fleet), deadline_s=5).votes) == 2
    tagged = wire.encode(wire.Discover(), fleet=FLEET_ID, node=1, counter=9 << 16, key=KEY)
    world.core.datagram(world.now, 1, tagged)
    assert world.core.counters.forged == 1


def test_untagged_and_forged_messages_are_counted_and_dropped() -> None:
    fleet = make_fleet(serial=0, udp=1)
    world = ready(World(fleet))
    request = world.submit(make_image(fleet), deadline_s=0.01)
    lie = wire.Prediction(request, 1.0, ((9, 127), (8, 126)))
    where = {"fleet": FLEET_ID, "node": 0, "counter": 99 << 16, "classes": 10}
    world.core.datagram(world.now, 0, wire.encode(lie, key=None, **where))  # type: ignore[arg-type]
    other = node_key(KEY, FLEET_ID, 1)
    world.core.datagram(world.now, 0, wire.encode(lie, key=other, **where))  # type: ignore[arg-type]
    world.run(1)
    assert world.core.counters.forged == 2
    (answer,) = world.answers()
    assert answer.votes == ()


def test_a_recorded_message_is_refused_the_second_time() -> None:
    fleet = make_fleet(serial=0, udp=1)
    world = ready(World(fleet))
    world.classify(make_image(fleet))
    answers, duplicates = world.core.counters.answers, world.core.counters.duplicate
    replayed = world.core.counters.replayed
    for node, message in list(world.heard):
        world.core.datagram(world.now, node, message)
    counters = world.core.counters
    assert counters.replayed - replayed == len(world.heard)
    assert (counters.answers, counters.duplicate) == (answers, duplicates)
