"""A fleet that is spread over gateways, on real sockets: gateways, nodes and workers of a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fleet_factory import KEY, make_fleet, make_image, make_manifest, write_fleet_file
from free_ports import free_ports
from loopback_nodes import LoopbackFleet, nodes_of
from mosquitto_broker import Broker, Listener
from simulated_node import SimulatedNode, entries_of
from sink_events import until
from variant_parallelism.fleet import Fleet, GatewayTable, NodeTable
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.combining import FleetCombiner
from variant_parallelism.workers import Spread, Worker, make_spread
from variant_parallelism.workers.messages import AnswerMessage
from variant_parallelism.workers_table import WorkersTable

CLASSES = 10
HEARTBEAT_S = 0.5
ANSWER = "vp/simulated/answer"


def part(
    ids: Sequence[int],
    gateway: str,
    port: int,
    *,
    key: bytes | None = KEY,
    deadline_ms: int = 20_000,
    **table: Any,
) -> Fleet:
    """The fleet file of one gateway, with UDP nodes of these ids, for the broker at a port."""
    listen, *ports = free_ports(socket.SOCK_DGRAM, 1 + len(ids))
    nodes = [
        NodeTable(id=node, variant=f"v{node}", board="mps2-an386", udp=f"127.0.0.1:{place}")
        for node, place in zip(ids, ports, strict=True)
    ]
    workers = {"host": "127.0.0.1", "port": port, "gateway": gateway, "heartbeat_s": HEARTBEAT_S}
    return make_fleet(
        nodes,
        manifest=make_manifest(variants=6, classes=CLASSES, side=16),
        key=key,
        gateway=GatewayTable(listen=f"127.0.0.1:{listen}"),
        deadline_ms=deadline_ms,
        workers=WorkersTable(**(workers | table)),
    )


def three_parts(port: int, **options: Any) -> list[Fleet]:
    """Gateways a, b and c with two nodes each."""
    return [
        part([2 * index, 2 * index + 1], name, port, **options) for index, name in enumerate("abc")
    ]


@contextlib.asynccontextmanager
async def gateway_of(
    fleet: Fleet, folder: Path, sensors: Sequence[int] = ()
) -> AsyncIterator[tuple[Gateway, Spread, LoopbackFleet]]:
    """A gateway with its nodes, all of them up, as one of several; `sensors` are those with an
    input source."""
    assert fleet.table.workers is not None
    state = folder / fleet.table.workers.gateway
    async with (
        nodes_of(fleet, {}, sensors) as nodes,
        Gateway(fleet, state_dir=state) as gateway,
        make_spread(gateway, fleet) as spread,
    ):
        assert spread is not None
        assert await gateway.wait_for_nodes(len(fleet.nodes), 30) == len(fleet.nodes)
        yield gateway, spread, nodes


class Parts:
    """Gateways of one fleet, with their nodes by id."""

    def __init__(
        self, fleets: Sequence[Fleet], parts: Sequence[tuple[Gateway, Spread, LoopbackFleet]]
    ) -> None:
        self.fleets = fleets
        self.gateways = [gateway for gateway, _, _ in parts]
        self.spreads = [spread for _, spread, _ in parts]
        self.nodes: dict[int, SimulatedNode] = {}
        for _, _, nodes in parts:
            self.nodes |= nodes.nodes

    @property
    def kept(self) -> int:
        """Reports whose answer their gateway has not seen."""
        return sum(spread.waiting for spread in self.spreads)

    def count(self, name: str) -> int:
        return sum(getattr(spread.counters, name) for spread in self.spreads)

    def scores(self, seed: int) -> list[float]:
        """What one gateway with all the nodes makes of an image."""
        nodes = [node for fleet in self.fleets for node in fleet.nodes]
        table = self.fleets[0].table.model_copy(update={"nodes": nodes, "workers": None})
        combine = FleetCombiner(replace(self.fleets[0], table=table))
        image = make_image(self.fleets[0], seed).tobytes()
        ids = sorted(node.id for node in nodes)
        entries = np.array([entries_of(node, image, 2, CLASSES) for node in ids])
        shares = combine(np.array(ids), entries[:, :, 0], entries[:, :, 1].astype(np.int8))
        return [float(share) for share in shares]

    async def meet(self, workers: int) -> None:
        """Every gateway knows every other one, and that there is a worker for every request."""
        await until(
            lambda: all(
                len(spread.gateways()) == len(self.spreads)
                and len(spread.workers()) == workers
                and spread.is_served == (workers > 0)
                for spread in self.spreads
            )
        )


@contextlib.asynccontextmanager
async def gateways(
    fleets: Sequence[Fleet], folder: Path, sensors: Sequence[int] = ()
) -> AsyncIterator[Parts]:
    async with contextlib.AsyncExitStack() as stack:
        parts = [
            await stack.enter_async_context(gateway_of(fleet, folder, sensors)) for fleet in fleets
        ]
        yield Parts(fleets, parts)


def worker(fleet: Fleet, answers: list[AnswerMessage] | None = None) -> Worker:
    assert fleet.table.workers is not None
    return Worker(fleet, fleet.table.workers, (answers if answers is not None else []).append)


def write_part(fleet: Fleet, folder: Path) -> Path:
    """A fleet file with its key, for another process; its HTTP API has a port of its own."""
    assert fleet.table.workers is not None
    folder.mkdir()
    key = folder / "fleet.key"
    key.write_text(KEY.hex(), encoding="ascii")
    key.chmod(0o600)
    nodes = [node.model_dump(exclude_none=True) for node in fleet.nodes]
    (http,) = free_ports(socket.SOCK_STREAM, 1)
    gateway = {"listen": fleet.table.gateway.listen, "http": f"127.0.0.1:{http}"}
    path = write_fleet_file(
        folder, nodes, manifest=fleet.manifest, key_file="fleet.key", gateway=gateway
    )
    table = fleet.table.workers.model_dump(exclude_unset=True)
    lines = ["", "[workers]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@contextlib.asynccontextmanager
async def worker_process(fleet: Fleet, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`vp aggregate`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "variant_parallelism.cli", "aggregate", str(write_part(fleet, folder))),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def listening(broker: Broker, *topics: str) -> AsyncIterator[Listener]:
    listener = Listener(broker, *topics)
    try:
        await until(lambda: listener.subscribed)
        yield listener
    finally:
        listener.close()


def answers_of(listener: Listener) -> list[dict[str, Any]]:
    """Every answer that was published, also if more than once."""
    return [json.loads(payload) for payload in listener.of(ANSWER)]
