"""A fleet file that changes while requests are in flight, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_factory import make_fleet, make_image, make_manifest
from simulated_fleet import World, entries_of, ready, states
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway import Answer, NodeChanged
from variant_parallelism.gateway.combining import FleetCombiner
from variant_parallelism.gateway.reloading import changes, check_reload

VARIANTS = 8
FLEET = make_fleet(manifest=make_manifest(VARIANTS), serial=1, udp=3, deadline_ms=5000, k=3)


def table(number: int, variant: int | None = None, address: int | None = None) -> NodeTable:
    name = f"v{number if variant is None else variant}"
    endpoint = f"10.0.0.{number if address is None else address}:5000"
    return NodeTable(id=number, variant=name, board="mps2-an386", udp=endpoint)


def having(fleet: Fleet, *nodes: NodeTable, **keys: object) -> Fleet:
    return replace(fleet, table=fleet.table.model_copy(update={"nodes": [*nodes], **keys}))


def without(fleet: Fleet, *ids: int) -> Fleet:
    return having(fleet, *(node for node in fleet.nodes if node.id not in ids))


def sound(fleet: Fleet, answer: Answer, image: bytes) -> None:
    """Its votes are what those nodes answer, and its scores what these votes add up to."""
    assert {vote.node: vote.entries for vote in answer.votes} == {
        vote.node: entries_of(vote.node, image, 3, 10) for vote in answer.votes
    }
    if answer.votes:
        shares = FleetCombiner(fleet)(
            np.array([vote.node for vote in answer.votes]),
            np.array([[index for index, _ in vote.entries] for vote in answer.votes]),
            np.array([[score for _, score in vote.entries] for vote in answer.votes], np.int8),
        )
        np.testing.assert_allclose(answer.scores, shares)


def answer_of(world: World, request: int) -> Answer:
    while not any(answer.request == request for answer in world.answers()):
        assert world.step(world.now + 60)
    return next(answer for answer in world.answers() if answer.request == request)


def test_a_node_that_goes_is_not_waited_for_and_its_vote_counts_if_it_came() -> None:
    for late in (False, True):
        world = ready(World(FLEET))
        image = make_image(FLEET)
        for node in (2, 3):
            world.nodes[node].compute_s = 1.0
        world.nodes[1].compute_s = 1.0 if late else 0.01
        request = world.submit(image)
        world.run(0.5)
        told = world.reload(without(FLEET, 1))
        assert (told.removed, str(told)) == ((1,), "node 1 removed")
        assert world.answers() == []
        answer = answer_of(world, request)
        voters = [vote.node for vote in answer.votes]
        assert (voters, answer.missing) == ([0, 2, 3] if late else [0, 1, 2, 3], ())
        sound(FLEET, answer, image.tobytes())
        assert world.classify(image).missing == ()
        assert [node.id for node in world.core.nodes.values()] == [0, 2, 3]


def test_the_last_one_that_was_waited_for_goes() -> None:
    world = ready(World(FLEET))
    world.nodes[1].compute_s = 4.0
    request = world.submit(make_image(FLEET))
    world.run(1.0)
    assert world.answers() == []
    world.reload(without(FLEET, 1))
    assert [answer.request for answer in world.answers()] == [request]
    changed = [event for event in world.events if isinstance(event, NodeChanged)]
    assert (changed[-1].node, changed[-1].reason) == (1, "left the fleet file")


def test_whoever_is_left_is_asked_when_all_that_were_have_gone() -> None:
    world = ready(World(FLEET))
    image = make_image(FLEET)
    for node in world.nodes.values():
        node.compute_s = 3.0
    request = world.submit(image)
    world.run(0.5)
    fresh = having(FLEET, table(5), table(6))
    told = world.reload(fresh)
    assert (told.removed, told.added) == ((0, 1, 2, 3), (5, 6))
    answer = answer_of(world, request)
    assert {vote.node for vote in answer.votes} & {5, 6}
    sound(fresh, answer, image.tobytes())


def test_a_board_that_runs_something_else_now() -> None:
    world = ready(World(FLEET))
    image = make_image(FLEET)
    world.nodes[3].compute_s = 1.0
    request = world.submit(image)
    world.run(0.5)
    fresh = having(FLEET, *FLEET.nodes[:1], table(1, variant=7), *FLEET.nodes[2:])
    assert str(world.reload(fresh)) == "node 1 changed"
    answer = answer_of(world, request)
    # Its old vote was here, and counts with the old weight.
    assert [(vote.node, vote.variant) for vote in answer.votes][1] == (1, "v1")
    sound(FLEET, answer, image.tobytes())
    world.run(0.5)
    again = world.classify(image)
    assert [(vote.node, vote.variant) for vote in again.votes][1] == (1, "v7")
    assert (again.missing, set(states(world).values())) == ((), {"up"})
    sound(fresh, again, image.tobytes())


def test_a_node_that_is_reached_in_another_way_keeps_its_request() -> None:
    world = ready(World(FLEET))
    world.nodes[2].compute_s = 1.0
    request = world.submit(make_image(FLEET))
    world.run(0.3)
    moved = having(FLEET, *FLEET.nodes[:2], table(2, address=77), *FLEET.nodes[3:])
    assert world.reload(moved).moved == (2,)
    answer = answer_of(world, request)
    assert answer.missing == ()
    assert world.core.nodes[2].status().address == "10.0.0.77:5000"
    assert world.core.counters.replayed == 0


def test_a_node_that_comes_back_cannot_be_replayed() -> None:
    world = ready(World(FLEET))
    world.reload(without(FLEET, 1))
    world.run(2.0)
    recorded = [message for node, message in world.heard if node == 1]
    world.reload(FLEET)
    world.nodes[1].alive = False
    before = world.core.counters.replayed
    for message in recorded:
        world.core.datagram(world.now, 1, message)
    assert world.core.counters.replayed == before + len(recorded)
    assert states(world)[1] == "unknown"


def test_other_settings_hold_for_what_is_asked_from_then_on() -> None:
    world = ready(World(FLEET))
    image = make_image(FLEET)
    request = world.submit(image)
    world.reload(having(FLEET, *FLEET.nodes, k=1, deadline_ms=50, hello_ms=500))
    assert len(answer_of(world, request).votes[0].entries) == 3
    assert len(world.classify(image, deadline_s=5).votes[0].entries) == 1
    for node in world.nodes.values():
        node.compute_s = 30.0
    assert world.classify(image).latency_ms == pytest.approx(50)
    for node in world.nodes.values():
        node.alive = False
    world.run(2.0)
    assert set(states(world).values()) == {"dead"}


CHANGES: dict[str, Callable[[Fleet], Fleet]] = {
    "name": lambda f: having(f, *f.nodes, name="other"),
    "id": lambda f: having(f, *f.nodes, id=9),
    "key_file": lambda f: replace(f, key=bytes(32)),
    "gateway.listen": lambda f: having(
        f, *f.nodes, gateway=f.table.gateway.model_copy(update={"listen": "0.0.0.0:1"})
    ),
    "gateway.http": lambda f: having(
        f, *f.nodes, gateway=f.table.gateway.model_copy(update={"http": "127.0.0.1:1"})
    ),
    "manifest: classes": lambda f: replace(f, manifest=make_manifest(VARIANTS, classes=9)),
    "manifest: input": lambda f: replace(f, manifest=make_manifest(VARIANTS, side=32)),
}


@pytest.mark.parametrize("key", CHANGES)
def test_what_needs_a_restart_is_named(key: str) -> None:
    with pytest.raises(VpError, match=rf"^fleet.toml: {key}: changed; restart to apply$"):
        check_reload(FLEET, CHANGES[key](FLEET))


def test_what_changes_between_two_files() -> None:
    fresh = having(FLEET, table(1, variant=6), table(2, address=9), FLEET.nodes[3], table(4))
    told = changes(FLEET, fresh)
    assert (told.removed, told.added, told.moved, told.replaced) == ((0,), (4,), (2,), (1,))
    assert str(told) == "node 0 removed, node 4 added, node 2 moved, node 1 changed"
    assert str(changes(FLEET, FLEET)) == "the same nodes"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_random_reloads_lose_no_request(seed: int, multicast: bool) -> None:
    chance = random.Random(seed)
    network: dict[str, Any] = {"gateway": "10.0.0.254", "multicast": "239.77.80.1:47801"}
    keys = {"network": network} if multicast else {}
    first = make_fleet(
        manifest=make_manifest(VARIANTS), serial=1, udp=3, deadline_ms=30_000, k=3, **keys
    )
    world = ready(World(first, seed=seed))
    world.faults.loss = chance.choice([0.0, 0.05])
    asked: dict[int, tuple[bytes, set[int]]] = {}
    steady = set(world.core.nodes)
    for _ in range(chance.randrange(3, 12)):
        image = make_image(first, chance.randrange(5))
        up = {node for node, state in states(world).items() if state == "up"}
        asked[world.submit(image)] = (image.tobytes(), up)
        world.run(chance.choice([0.0, 0.003, 0.02, 0.1, 0.6]))
        nodes = {node.id: node for node in world.fleet.nodes}
        for _ in range(chance.randrange(3)):
            number = chance.randrange(1, VARIANTS)
            deed = chance.choice(["add", "remove", "change", "move"])
            if deed == "remove":
                nodes.pop(number, None)
            elif deed == "add" or number in nodes:
                variant = chance.randrange(VARIANTS) if deed == "change" else None
                address = 100 + chance.randrange(50) if deed == "move" else None
                nodes[number] = table(number, variant, address)
        told = world.reload(having(world.fleet, *nodes.values()))
        steady -= set(told.removed) | set(told.replaced)
        assert [node.id for node in world.core.nodes.values()] == list(nodes)
    world.run(40)
    assert sorted(answer.request for answer in world.answers()) == sorted(asked)
    for answer in world.answers():
        image_bytes, up = asked[answer.request]
        voters = {vote.node for vote in answer.votes}
        assert voters >= steady & up
        assert not voters & set(answer.missing)
        for vote in answer.votes:
            assert vote.entries == entries_of(vote.node, image_bytes, 3, 10)
    world.faults.loss = 0.0
    assert world.classify(make_image(first)).missing == ()


def test_a_core_keeps_only_what_is_there(tmp_path: Path) -> None:
    world = ready(World(FLEET))
    for _ in range(50):
        world.submit(make_image(FLEET))
        world.reload(without(FLEET, 1, 2))
        world.run(0.05)
        world.reload(FLEET)
        world.run(0.3)
    world.run(10)
    assert set(states(world).values()) == {"up"}
    assert len(world.core.nodes) == 4
    assert len(world.answers()) == 50
