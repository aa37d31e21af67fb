"""Virtual nodes before the real gateway: what they answer, and what they do wrong, adds up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from fleet_factory import make_fleet, make_image, make_manifest
from free_ports import free_ports
from loopback_nodes import loopback_fleet, run
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, load_fleet
from variant_parallelism.gateway import Counters, Gateway
from variant_parallelism.virtual import (
    AnswerTable,
    NodeFaults,
    VirtualNodes,
    VirtualProcess,
    rule,
    write_virtual_fleet,
)

NODES = 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    gateway, nodes = free_ports(socket.SOCK_DGRAM, 2)
    return write_virtual_fleet(
        tmp_path, NODES, ports=(gateway, nodes), deadline_ms=20_000, hello_ms=500
    )


@contextlib.asynccontextmanager
async def gateway_of(fleet: Fleet, folder: Path) -> AsyncIterator[Gateway]:
    async with Gateway(fleet, state_dir=folder) as gateway:
        assert await gateway.wait_for_nodes(len(fleet.nodes), 30) == len(fleet.nodes)
        yield gateway


async def until(reached: Callable[[], bool]) -> None:
    while not reached():
        await asyncio.sleep(0.02)


def column(fleet: Fleet, node: int) -> int:
    return [v.name for v in fleet.manifest.variants].index(fleet.nodes[node].variant)


def test_answers_follow_the_rule_by_multicast(path: Path) -> None:
    fleet = load_fleet(path)

    async def test() -> None:
        with VirtualNodes(fleet) as nodes:
            async with gateway_of(fleet, path.parent) as gateway:
                for seed in range(5):
                    image = make_image(fleet, seed)
                    answer = await gateway.classify(image, k=3)
                    assert [vote.node for vote in answer.votes] == list(range(NODES))
                    for vote in answer.votes:
                        assert vote.entries == rule(image, column(fleet, vote.node), 10, 3)
                assert gateway.counters.multicast > 0
                counts = nodes.total()
                assert counts.predictions >= 5 * NODES
                assert counts.rejected == 0

    run(test)


def test_each_node_may_have_a_port_of_its_own(tmp_path: Path) -> None:
    fleet = loopback_fleet([], 3)

    async def test() -> None:
        with VirtualNodes(fleet):
            async with gateway_of(fleet, tmp_path) as gateway:
                image = make_image(fleet)
                answer = await gateway.classify(image)
                assert [vote.entries for vote in answer.votes] == [
                    rule(image, at, 10, 2) for at in range(3)
                ]
                assert gateway.counters.multicast == 0

    run(test)


def test_recorded_answers_come_back(path: Path) -> None:
    fleet = load_fleet(path)
    images = [make_image(fleet, seed) for seed in range(20)]
    columns = [
        lambda image, k, at=at: tuple(
            ((int(image[0, 0, 0]) + at + i) % 10, 90 - i) for i in range(k)
        )
        for at in range(len(fleet.manifest.variants))
    ]
    recorded = AnswerTable.record(images, columns, 4)
    recorded.save(path.parent / "answers.npz")
    table = AnswerTable.load(path.parent / "answers.npz")

    async def test() -> None:
        with VirtualNodes(fleet, table=table, answer_ms=2):
            async with gateway_of(fleet, path.parent) as gateway:
                for image in images[:4]:
                    answer = await gateway.classify(image)
                    for vote in answer.votes:
                        at = column(fleet, vote.node)
                        assert vote.entries == columns[at](image, 2)
                        assert vote.entries == table.entries(image, at, 2)
                        assert vote.inference_ms >= 2
                unknown = make_image(fleet, 99)
                answer = await gateway.classify(unknown)
                assert answer.votes[0].entries == rule(unknown, 0, 10, 2)

    run(test)


def test_a_node_dies_and_comes_back(path: Path) -> None:
    fleet = load_fleet(path)

    async def test() -> None:
        with VirtualNodes(fleet) as nodes:
            async with gateway_of(fleet, path.parent) as gateway:

                def is_state(node: int, state: str) -> bool:
                    return gateway.nodes()[node].state == state

                before = gateway.nodes()[2].boot
                nodes.die(2)
                await until(lambda: is_state(2, "dead"))
                answer = await gateway.classify(make_image(fleet))
                assert answer.missing == (2,)
                nodes.revive(2)
                await until(lambda: is_state(2, "up"))
                answer = await gateway.classify(make_image(fleet))
                assert answer.missing == ()
                assert gateway.nodes()[2].boot == before + 1

    run(test)


def test_what_nodes_do_wrong_is_counted_by_the_gateway(path: Path) -> None:
    fleet = load_fleet(path)

    async def test() -> None:
        with VirtualNodes(fleet, seed=3) as nodes:
            async with gateway_of(fleet, path.parent) as gateway:
                nodes.fault(0, NodeFaults(drop=0.2))
                nodes.fault(1, NodeFaults(duplicate=0.5))
                nodes.fault(2, NodeFaults(garble=0.2))
                nodes.fault(3, NodeFaults(forge=0.5))
                for seed in range(40):
                    image = make_image(fleet, seed)
                    answer = await gateway.classify(image)
                    assert answer.class_index == rule(image, 0, 10, 1)[0][0]
                    assert len(answer.votes) == NODES
                for node in range(4):
                    nodes.fault(node, NodeFaults())
                counts = nodes.counts()

                def heard(node: int) -> Counters:
                    return gateway.nodes()[node].counters

                def wrong(node: int) -> int:
                    # Damage may leave a stranger's header, or none.
                    return heard(node).forged + heard(node).damaged + heard(node).foreign

                assert counts[0].dropped > 0
                await until(lambda: heard(1).replayed == counts[1].duplicated > 0)
                await until(lambda: wrong(2) == counts[2].garbled > 0)
                await until(lambda: heard(3).forged == counts[3].forged > 0)

    run(test)


def test_liars_and_stallers(path: Path) -> None:
    fleet = load_fleet(path)

    async def test() -> None:
        with VirtualNodes(fleet) as nodes:
            async with gateway_of(fleet, path.parent) as gateway:
                nodes.fault(1, NodeFaults(lie=True))
                nodes.fault(4, NodeFaults(stall=True))
                image = make_image(fleet)
                answer = await gateway.classify(image, deadline_ms=400)
                right = rule(image, 0, 10, 1)[0][0]
                votes = {vote.node: vote.entries[0][0] for vote in answer.votes}
                assert votes.pop(1) == (right + 1) % 10
                assert votes == dict.fromkeys((0, 2, 3, 5, 6), right)
                counts = nodes.counts()
                assert counts[1].lies >= 1
                assert counts[4].stalled >= 1

    run(test)


def test_nodes_in_a_process_of_their_own(path: Path) -> None:
    fleet = load_fleet(path)
    sent = path.parent / "sent"
    sent.write_bytes(bytes(8 << 16))

    async def test() -> None:
        with VirtualProcess(path, sent=sent) as nodes:
            assert nodes.ids == list(range(NODES))
            async with gateway_of(fleet, path.parent) as gateway:
                answer = await gateway.classify(make_image(fleet))
                assert len(answer.votes) == NODES
                times = np.fromfile(sent, np.uint64)
                assert np.flatnonzero(times).tolist() == [answer.request]
                assert nodes.total().predictions >= NODES
                assert nodes.cpu_s() > 0
                nodes.fault(0, NodeFaults(stall=True))
                answer = await gateway.classify(make_image(fleet), deadline_ms=400)
                assert 0 in answer.missing
                every = await asyncio.gather(*(asyncio.to_thread(nodes.counts) for _ in range(20)))
                assert all(counts.keys() == set(range(NODES)) for counts in every)

    run(test)


def test_mistakes_end_in_one_line(path: Path) -> None:
    fleet = load_fleet(path)
    with VirtualNodes(fleet), pytest.raises(VpError, match="Address already in use"):
        VirtualNodes(fleet).__enter__()
    with pytest.raises(VpError, match=r"node 1 is at 10\.0\.0\.1:5000: .* live at 127"):
        VirtualNodes(make_fleet())
    few = AnswerTable.record([make_image(fleet)], [lambda image, k: ((1, 5),)], 1)
    with pytest.raises(VpError, match="for 1 variants, the fleet has 5"):
        VirtualNodes(fleet, table=few)
    no_table = path.parent / "no.npz"
    no_table.write_text("no")
    with pytest.raises(VpError, match="is no table of answers"):
        AnswerTable.load(no_table)
    lost = path.parent / "none.toml"
    with pytest.raises(VpError, match=r"the virtual nodes ended: .*none\.toml"):
        VirtualProcess(lost).__enter__()


def test_the_table_is_by_image() -> None:
    fleet = make_fleet(manifest=make_manifest(3))
    image = make_image(fleet)
    table = AnswerTable.record([image], [lambda image, k: ((3, 7), (1, -2))] * 3, 2)
    assert table.entries(image, 1, 2) == ((3, 7), (1, -2))
    image[5, 5, 0] ^= 1
    with pytest.raises(KeyError):
        table.entries(image, 1, 2)
