"""Nodes that have names instead of addresses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loopback_nodes import loopback_fleet, nodes_of, run
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Gateway, links


def named(fleet: Fleet) -> Fleet:
    """The same with a name in the place of each node's address."""
    nodes = [
        node.model_copy(update={"udp": str(node.udp).replace("127.0.0.1", "localhost")})
        for node in fleet.nodes
    ]
    return fleet.with_nodes(nodes, fleet.table.gateway)


def test_a_name_that_nobody_resolves_holds_up_only_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=3)
        mixed = fleet.with_nodes(
            [fleet.nodes[0], *named(fleet).nodes[1:]],
            fleet.table.gateway,
        )
        loop = asyncio.get_running_loop()
        resolve, away = loop.getaddrinfo, asyncio.Event()

        async def slow(host: str, port: int, **options: int) -> object:
            if host == "localhost":
                await away.wait()
            return await resolve(host, port, **options)

        async with nodes_of(fleet, {}):
            monkeypatch.setattr(links, "_NAMES_S", 0.01)
            monkeypatch.setattr(loop, "getaddrinfo", slow)
            async with asyncio.timeout(20), Gateway(mixed, state_dir=tmp_path) as gateway:
                assert await gateway.wait_for_nodes(1, 20) == 1
                one, *others = gateway.nodes()
                assert one.state == "up"
                assert all("is being looked up" in node.reason for node in others)
                away.set()
                assert await gateway.wait_for_nodes(3, 20) == 3
            away.clear()
            # Nor does it hold up the end.
            async with asyncio.timeout(20), Gateway(mixed, state_dir=tmp_path):
                pass

    run(test)


def test_what_arrives_while_names_are_resolved_is_heard_and_not_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        fleet = named(loopback_fleet([], udp=2))
        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo
        ports = [int(str(node.udp).rpartition(":")[2]) for node in fleet.nodes]
        async with nodes_of(fleet, {}) as nodes:

            async def slow(host: str, port: int, **options: int) -> object:
                if port in ports:
                    for node in nodes.nodes.values():
                        node.send(node.hello())
                    await asyncio.sleep(0.05)
                return await resolve(host, port, **options)

            monkeypatch.setattr(loop, "getaddrinfo", slow)
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                assert await gateway.wait_for_nodes(2, 20) == 2
                # The four of meanwhile, and the answer to the call of each node.
                while gateway.counters.messages_in < 6:
                    await asyncio.sleep(0.01)
                assert (gateway.counters.foreign, gateway.counters.replayed) == (0, 0)

    run(test)
