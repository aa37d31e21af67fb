"""What a message costs does not depend on how many nodes and requests there are."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from fleet_factory import make_fleet, make_image
from simulated_fleet import World, entries_of, ready
from variant_parallelism import wire


def calls(work: Callable[[], object]) -> int:
    """How many functions are called during `work`, Python's and C's."""
    count = 0

    def called(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def vote_calls(nodes: int, requests: int) -> int:
    """The calls for one vote of one node, with so many nodes and open requests."""
    fleet = make_fleet(serial=0, udp=nodes)
    world = ready(World(fleet))
    for node in world.nodes.values():
        node.compute_s = 1000
    image = make_image(fleet)
    numbers = [world.submit(image, k=2, deadline_s=500) for _ in range(requests)]
    world.run(0.3)
    vote = wire.Prediction(numbers[0], 1.0, entries_of(1, image.tobytes(), 2, 10))
    sender = world.nodes[1]
    sender.counter += 1
    message = wire.encode(
        vote,
        fleet=fleet.table.id,
        node=1,
        counter=sender.counter,
        key=sender.key,
        classes=10,
    )
    before = world.core.nodes[1].counters.answers

    def arrive() -> None:
        world.core.datagram(world.now, 1, message)
        world.core.wake_at()

    count = calls(arrive)
    assert world.core.nodes[1].counters.answers == before + 1
    return count


@pytest.mark.parametrize(("nodes", "requests"), [(40, 1), (4, 30), (40, 30)])
def test_a_vote_costs_no_more_with_more_nodes_or_requests(nodes: int, requests: int) -> None:
    assert vote_calls(nodes, requests) <= vote_calls(4, 2) + 5


def test_a_wake_up_looks_only_at_what_is_due() -> None:
    costs = []
    for nodes in (4, 60):
        world = ready(World(make_fleet(serial=0, udp=nodes)))
        world.run(0.05)
        costs.append(calls(lambda world=world: world.core.poll(world.now)))  # type: ignore[misc]
    assert costs[1] <= costs[0] + 5
