"""A gateway on real ports whose fleet changes: ways are opened, closed and moved."""

from __future__ import annotations

import asyncio
import os
import pty
from pathlib import Path

from fleet_factory import make_image
from loopback_nodes import loopback_fleet, nodes_of, run, tcp_url
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.serial_link import open_port


def having(fleet: Fleet, ids: list[int]) -> Fleet:
    return fleet.with_nodes([node for node in fleet.nodes if node.id in ids], fleet.table.gateway)


def test_ways_are_closed_and_opened_again(tmp_path: Path) -> None:
    async def test() -> None:
        master, slave = pty.openpty()
        device = os.ttyname(slave)
        fleet = loopback_fleet([device, tcp_url()], udp=2)
        async with nodes_of(fleet, {0: master}), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(4, 20) == 4
            await gateway.reload(having(fleet, [1, 3]))
            assert [node.id for node in gateway.nodes()] == [1, 3]
            # The port is free for others now.
            open_port(device, 115200).close()
            answer = await gateway.classify(make_image(fleet))
            assert ([vote.node for vote in answer.votes], answer.missing) == ([1, 3], ())
            await gateway.reload(fleet)
            assert await gateway.wait_for_nodes(4, 20) == 4
            assert (await gateway.classify(make_image(fleet, 1))).missing == ()
        os.close(master)
        os.close(slave)

    run(test)


def test_the_first_udp_node_comes_with_a_reload(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([tcp_url()], udp=1)
        serial = having(fleet, [0])
        async with nodes_of(fleet, {}), Gateway(serial, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(1, 20) == 1
            asking = [asyncio.create_task(gateway.classify(make_image(fleet, n))) for n in range(3)]
            await gateway.reload(fleet)
            assert all({0} <= {v.node for v in a.votes} for a in await asyncio.gather(*asking))
            assert await gateway.wait_for_nodes(2, 20) == 2
            assert (await gateway.classify(make_image(fleet))).missing == ()

    run(test)


def test_a_node_that_the_operator_left_out_stays_so(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(2, 20) == 2
            gateway.quarantine(1, True, "odd votes")
            await gateway.reload(having(fleet, [0]))
            await gateway.reload(fleet)
            async with asyncio.timeout(20):
                while gateway.nodes()[1].state != "quarantined":
                    await asyncio.sleep(0.01)
            assert gateway.nodes()[1].reason == "odd votes"

    run(test)
