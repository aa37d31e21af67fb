"""Multicast beside unicast in the same fleets: overlapping requests, and a node slower than others.

Every node takes a while for each message, so that times come from the windows, as on real boards.
"""

from __future__ import annotations

import pytest

from fleet_factory import make_fleet, make_image, make_manifest
from simulated_fleet import Faults, World, entries_of, ready
from variant_parallelism.gateway import Answer, Warned
from variant_parallelism.gateway.dispatch import WINDOW
from variant_parallelism.wire import CHUNK_SIZE

NETWORK = {"gateway": "10.0.0.254", "multicast": "239.77.80.1:47801"}
SIDE = 166
CHUNKS = -(-SIDE * SIDE // CHUNK_SIZE)
NODES = 5
BUSY_S = 0.001
SLOW = 2


def fleet_of(*, group: bool, slow_s: float = BUSY_S, loss: float = 0.0) -> World:
    """Five nodes that take 1 ms a message in, but for one."""
    manifest = make_manifest(NODES, 10, SIDE)
    network = {"network": NETWORK} if group else {}
    world = ready(World(make_fleet(serial=0, udp=NODES, manifest=manifest, **network), seed=0))
    world.busy_s = dict.fromkeys(world.nodes, BUSY_S)
    world.busy_s[SLOW] = slow_s
    world.faults = Faults(loss=loss)
    return world


def keep_in_flight(world: World, depth: int, images: int) -> list[Answer]:
    """A new request whenever one of `depth` was answered; every answer is checked."""
    submitted: dict[int, int] = {}
    while len(world.answers()) < images:
        while len(submitted) - len(world.answers()) < depth and len(submitted) < images:
            seed = len(submitted)
            submitted[world.submit(make_image(world.fleet, seed), deadline_s=30)] = seed
        world.step(world.now + 1)
    for answer in world.answers():
        image = make_image(world.fleet, submitted[answer.request]).tobytes()
        assert [vote.node for vote in answer.votes] == list(world.nodes)
        assert all(vote.entries == entries_of(vote.node, image, 2, 10) for vote in answer.votes)
    assert world.core.counters.errors == 0
    assert [event for event in world.events if isinstance(event, Warned)] == []
    return world.answers()


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize(
    "compute_ms", [(20, 20, 20, 20, 20), (20, 22, 25, 27, 30), (115, 100, 105, 110, 100)]
)
def test_requests_in_flight_together_go_out_once_each(
    depth: int, compute_ms: tuple[int, ...]
) -> None:
    times = {}
    for group in (False, True):
        world = fleet_of(group=group)
        for node, milliseconds in enumerate(compute_ms):
            world.nodes[node].compute_s = milliseconds / 1000
        began = world.now
        keep_in_flight(world, depth, images=12)
        times[group] = world.now - began
    assert world.core.counters.multicast == world.core.counters.chunks == 12 * CHUNKS
    assert max(world.most_waiting.values()) == WINDOW
    assert times[True] < times[False] + 0.001


@pytest.mark.parametrize("depth", [1, 2])
def test_losses_do_not_end_multicast(depth: int) -> None:
    world = fleet_of(group=True, loss=0.01)
    keep_in_flight(world, depth, images=20)
    assert world.core.counters.chunks < 1.5 * 20 * CHUNKS


def test_a_node_far_behind_is_waited_for_now_and_then_at_most() -> None:
    """It takes 0.4 s for an image, the others 0.1 s; they have all images before it is halfway."""
    world = fleet_of(group=True)
    world.nodes[SLOW].compute_s = 0.4
    for seed in range(10):
        world.submit(make_image(world.fleet, seed), deadline_s=30)
    others = [node for node in world.nodes if node != SLOW]
    began = world.now
    while any(
        not request.settled(world.core.nodes[node])
        for request in world.core._book.open.values()
        for node in others
    ):
        world.step(world.now + 1)
    assert world.now - began < 10 * (CHUNKS * BUSY_S + 0.02 + 9 * 0.002) + 0.15


def test_an_image_heard_during_the_work_on_another_is_not_sent_again() -> None:
    world = fleet_of(group=True)
    world.nodes[SLOW].compute_s = 0.2
    keep_in_flight(world, 2, images=2)
    assert world.core.counters.chunks == 2 * CHUNKS


@pytest.mark.parametrize("slow_ms", [3, 5, 8, 12, 20, 40])
def test_a_slow_node_does_not_set_the_pace(slow_ms: int) -> None:
    quick = {}
    for group in (False, True):
        world = fleet_of(group=group, slow_s=slow_ms / 1000)
        answers = [world.classify(make_image(world.fleet, n), deadline_s=60) for n in range(4)]
        assert all(len(answer.votes) == NODES for answer in answers)
        quick[group] = [
            max(vote.latency_ms for vote in answer.votes if vote.node != SLOW) for answer in answers
        ]
    assert world.core.counters.multicast >= 4 * CHUNKS
    for alone, together in zip(quick[False], quick[True], strict=True):
        assert together < 1.5 * alone


@pytest.mark.parametrize("slow_ms", [3, 5, 8, 12, 20, 40])
def test_a_slow_node_costs_no_answer(slow_ms: int) -> None:
    """Ten images at once and a second for them, which unicast to the others just about fits in."""
    votes = {}
    for group in (False, True):
        world = fleet_of(group=group, slow_s=slow_ms / 1000)
        for seed in range(10):
            world.submit(make_image(world.fleet, seed), deadline_s=1)
        world.run(2)
        votes[group] = [{vote.node for vote in answer.votes} - {SLOW} for answer in world.answers()]
        assert world.core.counters.lost == 0
    assert votes[True] == votes[False]
