"""Simulated nodes on real sockets and in real time, for tests of the gateway's links."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, TypeVar

from fleet_factory import make_fleet
from free_ports import free_ports
from simulated_fleet import SimulatedNode
from variant_parallelism import wire
from variant_parallelism.fleet import Fleet, GatewayTable, NodeTable

T = TypeVar("T")


class LoopbackFleet:
    """Runs one `SimulatedNode` per node of a fleet at the endpoints that the fleet names.

    UDP nodes own a socket; serial ones a TCP server (`socket://`) or the master of a pty. It is
    the `world` of its nodes: their clock is the event loop's.
    """

    def __init__(
        self, fleet: Fleet, gateway: tuple[str, int] | None, sensors: Collection[int] = ()
    ) -> None:
        """`sensors` are the nodes that have an input source of their own."""
        self.fleet = fleet
        self.sensors = sensors
        self.ids = itertools.count()
        self.nodes: dict[int, SimulatedNode] = {}
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._senders: dict[int, Callable[[bytes], None]] = {}
        self._plugs: dict[int, Callable[[], None]] = {}
        self._closers: list[Callable[[], Any]] = []

    @property
    def now(self) -> float:
        return self._loop.time()

    def at(self, delay: float, action: Callable[[], None]) -> None:
        self._loop.call_later(delay, action)

    def to_gateway(self, node: int, message: bytes) -> None:
        send = self._senders.get(node)
        if send is not None:
            send(message)

    async def start_udp(self, node_id: int, port: int, host: str = "127.0.0.1") -> int:
        """A UDP node at a port of the loopback interface (0: any); returns the port."""
        transport, _ = await self._loop.create_datagram_endpoint(
            lambda: _Datagrams(self, node_id), local_addr=(host, port)
        )
        self._closers.append(transport.close)
        self._senders[node_id] = lambda message: transport.sendto(message, self._gateway)
        self._add(node_id)
        return int(transport.get_extra_info("sockname")[1])

    async def join(self, node_id: int, group: tuple[str, int]) -> None:
        """Have a UDP node hear what is sent to a multicast group on the loopback interface."""
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind(group)
        membership = socket.inet_aton(group[0]) + socket.inet_aton("127.0.0.1")
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        transport, _ = await self._loop.create_datagram_endpoint(
            lambda: _Datagrams(self, node_id), sock=receiver
        )
        self._closers.append(transport.close)

    async def start_tcp(self, node_id: int, port: int, boot: int = 1) -> None:
        """A serial node behind a TCP port, as an emulator offers it."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            def unplug() -> None:
                server.close()
                writer.transport.abort()

            self._plugs[node_id] = unplug
            self._senders[node_id] = lambda message: writer.write(wire.frame(message))
            deframer = wire.Deframer()
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(4096):
                    self._deliver(node_id, deframer, data)
            self._senders.pop(node_id, None)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        self._closers.append(server.close)
        self._add(node_id, boot)

    def unplug(self, node_id: int) -> None:
        """Cut a serial node's connection; nothing listens at its port any more. A pty's master is
        left to its owner to close."""
        self.nodes[node_id].alive = False
        self._plugs.pop(node_id)()

    def start_pty(self, node_id: int, master: int, boot: int = 1) -> None:
        """A serial node at the other end of a pty."""
        tty.setraw(master)
        deframer = wire.Deframer()
        self._loop.add_reader(
            master, lambda: self._deliver(node_id, deframer, os.read(master, 4096))
        )
        self._closers.append(lambda: self._loop.remove_reader(master))
        self._plugs[node_id] = lambda: self._pull(node_id, master)
        self._senders[node_id] = lambda message: os.write(master, wire.frame(message))
        self._add(node_id, boot)

    def _pull(self, node_id: int, master: int) -> None:
        self._loop.remove_reader(master)
        del self._senders[node_id]

    def _add(self, node_id: int, boot: int = 1) -> None:
        table = next(node for node in self.fleet.nodes if node.id == node_id)
        self.nodes[node_id] = SimulatedNode(self, table, boot)  # type: ignore[arg-type]

    def _deliver(self, node_id: int, deframer: wire.Deframer, data: bytes) -> None:
        for message, _ in deframer.push(data):
            self.nodes[node_id].receive(message)

    def close(self) -> None:
        for node in self.nodes.values():
            node.alive = False
        for close in self._closers:
            close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, fleet: LoopbackFleet, node_id: int) -> None:
        self._fleet = fleet
        self._node_id = node_id

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        node = self._fleet.nodes.get(self._node_id)
        if node is not None:
            node.receive(data)


def run(test: Callable[[], Awaitable[T]]) -> T:
    """Run a test's coroutine with a limit, so that a hang is a failure."""

    async def limited() -> T:
        async with asyncio.timeout(60):
            return await test()

    return asyncio.run(limited())


def loopback_fleet(
    serial: list[str], udp: int, deadline_ms: float = 20_000, **table: object
) -> Fleet:
    """Nodes 0.. on the serial URLs, then `udp` nodes on free ports."""
    nodes = [
        NodeTable(id=index, variant=f"v{index}", board="mps2-an386", serial=url)
        for index, url in enumerate(serial)
    ]
    listen, *ports = free_ports(socket.SOCK_DGRAM, 1 + udp)
    for index, port in enumerate(ports, start=len(serial)):
        endpoint = f"127.0.0.1:{port}"
        nodes.append(NodeTable(id=index, variant=f"v{index}", board="mps2-an386", udp=endpoint))
    gateway = GatewayTable(listen=f"127.0.0.1:{listen}")
    return make_fleet(nodes, gateway=gateway, deadline_ms=deadline_ms, **table)


@contextlib.asynccontextmanager
async def nodes_of(
    fleet: Fleet, masters: dict[int, int], sensors: Collection[int] = ()
) -> AsyncIterator[LoopbackFleet]:
    """The fleet's nodes, running; `masters` are the pty ends of the serial nodes on a pty."""
    host, port = fleet.table.gateway.listen.split(":")
    nodes = LoopbackFleet(fleet, (host, int(port)), sensors)
    try:
        for node in fleet.nodes:
            if node.id in masters:
                nodes.start_pty(node.id, masters[node.id])
            elif node.serial is not None and node.serial.startswith("socket://"):
                await nodes.start_tcp(node.id, int(node.serial.rpartition(":")[2]))
            elif node.udp is not None:
                await nodes.start_udp(node.id, int(node.udp.rpartition(":")[2]))
        yield nodes
    finally:
        nodes.close()
        await asyncio.sleep(0.01)  # Transports close their sockets in the loop's next turn.


def tcp_url() -> str:
    (port,) = free_ports(socket.SOCK_STREAM, 1)
    return f"socket://127.0.0.1:{port}"
