"""A gateway whose network goes away and comes back. Runs in a network namespace of its own.

Prints a JSON object: what was seen. `LISTEN` is the gateway's endpoint, `FOLDER` its state folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path

import simulated_node
from fleet_factory import make_fleet, make_image
from loopback_nodes import LoopbackFleet
from variant_parallelism.fleet import GatewayTable, NodeTable
from variant_parallelism.gateway import Gateway

ADDRESS, PEER = "10.9.0.1", "10.9.0.2"
HELLO_S = 0.4


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def plug_in() -> None:
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for name in ("v0", "v1"):
        ip("link", "set", name, "up")


def address() -> None:
    for text in (ADDRESS, PEER):
        ip("addr", "add", f"{text}/24", "dev", "v0")


async def all_are(gateway: Gateway, state: str) -> None:
    async with asyncio.timeout(40):
        while any(node.state != state for node in gateway.nodes()):
            await asyncio.sleep(0.02)


async def main(listen: str, folder: Path) -> dict[str, object]:
    ip("link", "set", "lo", "up")
    plug_in()
    address()
    simulated_node.HELLO_S = HELLO_S
    nodes = [
        NodeTable(id=index, variant=f"v{index}", board="mps2-an386", udp=f"{PEER}:{5000 + index}")
        for index in range(2)
    ]
    fleet = make_fleet(
        nodes,
        gateway=GatewayTable(listen=listen),
        network={"gateway": ADDRESS, "multicast": "239.77.80.1:47801"},
        deadline_ms=20_000,
        hello_ms=int(1000 * HELLO_S),
    )
    board = LoopbackFleet(fleet, (ADDRESS, int(listen.rpartition(":")[2])))
    for node in nodes:
        await board.start_udp(node.id, 5000 + node.id, PEER)
        board.nodes[node.id].multicast = False
    answered: list[int] = []
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("variant_parallelism.gateway").addHandler(handler)
    logging.getLogger("variant_parallelism.gateway").setLevel(logging.INFO)
    from_the_start = listen.startswith(ADDRESS)
    if not from_the_start:
        ip("addr", "flush", "dev", "v0")
    async with Gateway(fleet, state_dir=folder) as gateway:
        if not from_the_start:
            async with asyncio.timeout(40):
                address()
                while not any("multicast to" in line for line in logged):
                    await asyncio.sleep(0.02)
        # An address that is lost, and an adapter that is pulled and comes back as another.
        await all_are(gateway, "up")
        answered.append(len((await gateway.classify(make_image(fleet))).votes))
        if from_the_start:
            ip("addr", "flush", "dev", "v0")
        else:
            ip("link", "del", "v0")
        asking = asyncio.create_task(gateway.classify(make_image(fleet)))
        await all_are(gateway, "dead")
        if not from_the_start:
            plug_in()
        address()
        answered.append(len((await asking).votes))
        await all_are(gateway, "up")
        answered.append(len((await gateway.classify(make_image(fleet))).votes))
        lost = gateway.counters.lost
    board.close()
    await asyncio.sleep(0.01)
    return {"answered": answered, "lost": lost, "logged": logged}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], Path(sys.argv[2])))))
