"""A fleet that is spread over gateways, on real sockets: gateways, nodes and workers of a test."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fleet_factory import KEY, make_fleet, make_manifest, write_fleet_file
from free_ports import free_ports
from loopback_nodes import LoopbackFleet, nodes_of
from simulated_node import entries_of
from sink_events import until
from variant_parallelism.fleet import Fleet, GatewayTable, NodeTable
from variant_parallelism.gateway import Gateway, Vote
from variant_parallelism.gateway.combining import FleetCombiner
from variant_parallelism.workers.spread import Spread, make_spread
from variant_parallelism.workers_table import WorkersTable

CLASSES = 10
HEARTBEAT_S = 0.5


def part(
    names: Sequence[int],
    gateway: str,
    port: int,
    *,
    key: bytes | None = KEY,
    deadline_ms: int = 20_000,
    **table: Any,
) -> Fleet:
    """The fleet file of one gateway, whose nodes are `names` (UDP, on free ports)."""
    listen, *ports = free_ports(socket.SOCK_DGRAM, 1 + len(names))
    nodes = [
        NodeTable(id=node, variant=f"v{node}", board="mps2-an386", udp=f"127.0.0.1:{place}")
        for node, place in zip(names, ports, strict=True)
    ]
    workers = {"host": "127.0.0.1", "port": port, "gateway": gateway, "heartbeat_s": HEARTBEAT_S}
    return make_fleet(
        nodes,
        manifest=make_manifest(variants=6, classes=CLASSES, side=16),
        key=key,
        gateway=GatewayTable(listen=f"127.0.0.1:{listen}", http="127.0.0.1:1"),
        deadline_ms=deadline_ms,
        workers=WorkersTable(**(workers | table)),
    )


@contextlib.asynccontextmanager
async def gateway_of(
    fleet: Fleet, folder: Path, compute_s: float = 0.02
) -> AsyncIterator[tuple[Gateway, Spread, LoopbackFleet]]:
    """A gateway with its nodes, all of them up, as one of several."""
    assert fleet.table.workers is not None
    state = folder / fleet.table.workers.gateway
    async with (
        nodes_of(fleet, {}) as nodes,
        Gateway(fleet, state_dir=state) as gateway,
        make_spread(gateway, fleet) as spread,
    ):
        assert spread is not None
        for node in nodes.nodes.values():
            node.compute_s = compute_s
        assert await gateway.wait_for_nodes(len(fleet.nodes), 30) == len(fleet.nodes)
        yield gateway, spread, nodes


def union(fleets: Sequence[Fleet]) -> Fleet:
    """One gateway with all the nodes."""
    return replace(
        fleets[0],
        table=fleets[0].table.model_copy(
            update={"nodes": [node for fleet in fleets for node in fleet.nodes], "workers": None}
        ),
    )


def expected_scores(fleets: Sequence[Fleet], image: bytes, k: int) -> list[float]:
    """What one gateway with all the nodes combines."""
    whole = union(fleets)
    nodes = sorted(node.id for node in whole.nodes)
    entries = np.array([entries_of(node, image, k, CLASSES) for node in nodes])
    combine = FleetCombiner(whole)
    shares = combine(np.array(nodes), entries[:, :, 0], entries[:, :, 1].astype(np.int8))
    return [float(share) for share in shares]


async def all_shared(spreads: Sequence[Spread], workers: int) -> None:
    """Every gateway knows every other one, and hears that all partitions are served."""
    await until(
        lambda: all(
            len(spread.gateways()) == len(spreads)
            and len(spread.workers()) == workers
            and spread.is_served
            for spread in spreads
        )
    )


def nodes_in(votes: Sequence[Vote]) -> list[int]:
    return [vote.node for vote in votes]


def write_worker_file(fleet: Fleet, folder: Path) -> Path:
    """A fleet file for `vp aggregate`: with its key, at the same broker."""
    assert fleet.table.workers is not None
    folder.mkdir()
    key = folder / "fleet.key"
    key.write_text(KEY.hex(), encoding="ascii")
    key.chmod(0o600)
    nodes = [node.model_dump(exclude_none=True) for node in fleet.nodes]
    path = write_fleet_file(folder, nodes, manifest=fleet.manifest, key_file="fleet.key")
    table = fleet.table.workers.model_dump(exclude_unset=True)
    lines = ["", "[workers]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def worker_command(fleet_file: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "variant_parallelism.cli", "aggregate", *options, str(fleet_file)]
