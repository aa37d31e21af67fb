"""A gateway with two UDP nodes of its own and its HTTP server, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from fleet_factory import make_fleet
from free_ports import free_ports
from loopback_nodes import LoopbackFleet
from variant_parallelism.fleet import Fleet, GatewayTable, NodeTable
from variant_parallelism.gateway import Event, Gateway
from variant_parallelism.gateway.web import HttpServer

NODES = 2
LIMIT_S = 60.0


@dataclasses.dataclass
class Served:
    """What runs. `fleet` has the HTTP port, and lies in the test's folder."""

    fleet: Fleet
    gateway: Gateway
    server: HttpServer
    nodes: LoopbackFleet

    @property
    def port(self) -> int:
        return self.server.port

    def tell(self, event: Event) -> None:
        """Have the gateway tell this."""
        for listener in self.gateway._listeners:
            listener(event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def served(
    folder: Path, *, alive: bool = True, metrics: bool = False, **table: object
) -> AsyncIterator[Served]:
    """`table` are keys of `[gateway]`; `metrics` puts something at /metrics."""
    (listen,) = free_ports(socket.SOCK_DGRAM, 1)
    tables = [
        NodeTable(id=index, variant=f"v{index}", board="mps2-an386", udp="127.0.0.1:1")
        for index in range(NODES)
    ]
    unplaced = make_fleet(tables, deadline_ms=20_000)
    nodes = LoopbackFleet(unplaced, ("127.0.0.1", listen))
    ports = [await nodes.start_udp(index, 0) for index in range(NODES)]
    placed = [
        table.model_copy(update={"udp": f"127.0.0.1:{port}"})
        for table, port in zip(tables, ports, strict=True)
    ]
    options = GatewayTable.model_validate({"listen": f"127.0.0.1:{listen}", **table})
    fleet = at(folder, unplaced.with_nodes(placed, options))
    for node in nodes.nodes.values():
        node.alive = alive
    try:
        async with asyncio.timeout(LIMIT_S), Gateway(fleet, state_dir=folder) as gateway:
            server = HttpServer(gateway, "127.0.0.1:0")

            async def render_metrics() -> tuple[bytes, str]:
                return b"# up\n", "text/plain"

            server.start(render_metrics if metrics else None)
            try:
                await gateway.wait_for_nodes(NODES if alive else 0, 20)
                known = options.model_copy(update={"http": f"127.0.0.1:{server.port}"})
                yield Served(fleet.with_nodes(placed, known), gateway, server, nodes)
            finally:
                await server.stop()
    finally:
        nodes.close()


def at(folder: Path, fleet: Fleet) -> Fleet:
    """The same fleet, with a file that would lie in `folder`."""
    return dataclasses.replace(fleet, path=folder / "fleet.toml")


def serve(
    folder: Path, test: Callable[[Served], Awaitable[None]], *, alive: bool = True, **table: object
) -> None:
    """Run a test's coroutine beside such a gateway."""

    async def main() -> None:
        async with served(folder, alive=alive, **table) as running:
            await test(running)

    asyncio.run(main())
