"""Nodes that call a request superseded, rightly or not: when that says something of the gateway's
boot counter. In virtual time."""

from __future__ import annotations

import pytest

from fleet_factory import make_fleet, make_image
from simulated_fleet import World, entries_of, ready
from variant_parallelism import wire
from variant_parallelism.gateway import Warned

NETWORK = {"gateway": "10.0.0.254", "multicast": "239.77.80.1:47801"}


def warnings(world: World) -> list[str]:
    return [event.text for event in world.events if isinstance(event, Warned)]


@pytest.mark.parametrize("triggers", [False, True])
def test_a_slow_node_that_hears_newer_requests_is_right(triggers: bool) -> None:
    """Its image, under a number of its own already, is replaced by what the group is sent."""
    boots: list[int] = []
    world = ready(
        World(
            make_fleet(serial=0, udp=4, network=NETWORK, deadline_ms=10_000),
            sensors=range(4) if triggers else (),
            on_boot=boots.append,
        )
    )
    images = [make_image(world.fleet, seed) for seed in range(4)]
    world.nodes[3].compute_s = 1.0
    world.submit(images[0], deadline_s=0.05)
    world.run(0.1)
    wanted = world.submit(images[1])
    world.run(0.1)
    world.submit(images[2], deadline_s=0.05)
    world.run(0.1)
    assert world.core._book.open[wanted].numbers.keys() == {3}
    if triggers:
        # The group does not wait for a member that answers no questions.
        world.core._sending._triggers._mute.add(3)
        world.trigger()
    else:
        world.submit(images[3])
    world.run(10)
    (answer,) = (answer for answer in world.answers() if answer.request == wanted)
    assert [vote.node for vote in answer.votes] == [0, 1, 2, 3]
    for vote in answer.votes:
        assert vote.entries == entries_of(vote.node, images[1].tobytes(), 2, 10)
    assert (boots, warnings(world)) == ([], [])


def test_an_error_about_an_old_number_says_nothing() -> None:
    boots: list[int] = []
    world = ready(World(make_fleet(serial=0, udp=2), on_boot=boots.append))
    world.nodes[1].compute_s = 1.0
    request = world.submit(make_image(world.fleet), deadline_s=5)
    world.run(0.1)
    for _ in range(20):
        world.nodes[1].send(wire.NodeError(request, wire.ErrorCode.SUPERSEDED))
    world.run(3)
    (answer,) = world.answers()
    assert [vote.node for vote in answer.votes] == [0, 1]
    assert (boots, warnings(world)) == ([], [])
    assert (world.core.counters.errors, world.core.counters.late) == (1, 19)


def test_one_node_makes_the_boot_counter_jump_once() -> None:
    boots: list[int] = []
    world = ready(World(make_fleet(serial=0, udp=3), on_boot=boots.append))
    liar = world.nodes[2]
    liar._chunk = lambda body: liar.send(  # type: ignore[method-assign]
        wire.NodeError(body.request, wire.ErrorCode.SUPERSEDED)
    )
    for seed in range(5):
        answer = world.classify(make_image(world.fleet, seed), deadline_s=5)
        assert [vote.node for vote in answer.votes] == [0, 1]
        assert answer.errors == {2: wire.ErrorCode.SUPERSEDED.text}
    assert len(boots) == 1
    assert len(warnings(world)) == 2
