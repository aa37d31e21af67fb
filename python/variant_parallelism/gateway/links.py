"""The ways to a fleet's nodes: a serial port each, and one UDP socket for all the others."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import ANYWHERE, Fleet, NodeTable
from variant_parallelism.gateway.gate import Source
from variant_parallelism.gateway.serial_link import LinkSink, SerialLink
from variant_parallelism.gateway.udp_link import UdpLink, UdpSink

_RETRY_S = 2.0
_NAMES_S = 2.0
"""For how long the start waits for the addresses of nodes that have names."""

log = logging.getLogger("variant_parallelism.gateway")


class LinksSink(LinkSink, UdpSink, Protocol):
    """Where links report, always on the event loop's thread."""

    def slot_of(self, node_id: int) -> int: ...
    def on_group_up(self) -> None: ...


class Links:
    """Opens what a fleet's nodes are reached by, keeps it open, and sends."""

    def __init__(self, fleet: Fleet, sink: LinksSink) -> None:
        self._fleet = fleet
        self._sink = sink
        self._serial: dict[int, SerialLink] = {}
        self._udp: UdpLink | None = None
        self._opening: dict[int, asyncio.Task[Any]] = {}
        """First attempts that nobody waits for."""
        self._resolving: dict[int, asyncio.Task[Any]] = {}
        self._group: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open everything, and return once it is known how each attempt ended.

        VpError if no port at all opens, or the UDP port is taken. Attempts go on until `close`.
        """
        udp = [node for node in self._fleet.nodes if node.udp is not None]
        if udp:
            await self._bind()
        serial = [node for node in self._fleet.nodes if node.serial is not None]
        _, failures = await asyncio.gather(
            self._resolve(udp), asyncio.gather(*(self._open_serial(node) for node in serial))
        )
        reasons = [reason for reason in failures if reason is not None]
        if self._udp is None and len(reasons) == len(serial):
            raise VpError(f"no port of {self._fleet.path} opens: {'; '.join(reasons)}")

    def send(self, node_id: int | None, data: bytes) -> None:
        """Bytes for a node, or (None) for the multicast group; dropped where there is no way."""
        if node_id in self._serial:
            self._serial[node_id].send(data)
        elif self._udp is not None and node_id is not None:
            self._udp.send(node_id, data)
        elif self._udp is not None:
            self._udp.send_group(data)

    def flush(self) -> None:
        """Everything of one moment was handed to `send`."""
        if self._udp is not None:
            self._udp.flush()

    def move(self, node_id: int, source: Source) -> None:
        """A UDP node is at another address from now on."""
        for tasks in (self._opening, self._resolving):
            if node_id in tasks:
                tasks.pop(node_id).cancel()
        if self._udp is not None:
            self._udp.move_node(node_id, self._sink.slot_of(node_id), source)

    def call(self, source: Source, data: bytes) -> None:
        """A datagram to an address that is no node's."""
        if self._udp is not None:
            self._udp.call(source, data)

    async def prepare(self, fleet: Fleet) -> None:
        """Get what `fleet` needs and this one does not; VpError if that cannot be had."""
        if self._udp is None and any(node.udp is not None for node in fleet.nodes):
            await self._bind()

    async def release(self, nodes: list[int]) -> None:
        """Close the ways to these nodes; nothing is reported of them any more."""
        links = [self._serial.pop(node) for node in nodes if node in self._serial]
        for node in nodes:
            for tasks in (self._opening, self._resolving):
                if node in tasks:
                    tasks.pop(node).cancel()
            if self._udp is not None:
                self._udp.remove_node(node)
        await asyncio.gather(*(link.close() for link in links))

    def add(self, fleet: Fleet, opening: list[int]) -> None:
        """Open the ways to these nodes of `fleet`, which is the fleet from here on; nobody waits
        for slow names or ports."""
        self._fleet = fleet
        for node in fleet.nodes:
            if node.id in opening:
                way = self._open_serial(node) if node.serial is not None else self._resolve([node])
                self._opening[node.id] = asyncio.create_task(way)

    async def close(self) -> None:
        """Return once every port is free again."""
        tasks = [*self._opening.values(), *self._resolving.values()]
        tasks += [self._group] if self._group else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._serial.values()))
        if self._udp is not None:
            await self._udp.close()

    async def _open_serial(self, node: NodeTable) -> str | None:
        assert node.serial is not None
        link = self._serial[node.id] = SerialLink(node.id, node.serial, node.baud, self._sink)
        return await link.start()

    # UDP.

    async def _bind(self) -> None:
        udp = UdpLink(self._sink)
        await udp.bind(self._fleet.table.gateway.listen)
        self._udp = udp
        network = self._fleet.table.network
        if network is None or network.multicast is None:
            return
        reason = udp.use_group(network.multicast, network.gateway)
        if reason is not None:
            log.warning("no multicast, every node gets its input by itself: %s", reason)
        else:
            self._group_is_up(network.multicast)
        self._group = asyncio.create_task(
            self._keep_group(udp, network.multicast, network.gateway, reason is None)
        )

    async def _keep_group(self, udp: UdpLink, group: str, interface: str, is_up: bool) -> None:
        """The interface may come later, or go and come back as another one."""
        while True:
            await asyncio.sleep(_RETRY_S)
            if udp.use_group(group, interface) is None and not is_up:
                is_up = True
                self._group_is_up(group)

    def _group_is_up(self, group: str) -> None:
        self._sink.on_group_up()
        log.info("multicast to %s for the nodes that listen to it", group)

    async def _resolve(self, nodes: list[NodeTable]) -> None:
        looking = [asyncio.create_task(self._address(node)) for node in nodes]
        try:
            if looking:
                await asyncio.wait(looking, timeout=_NAMES_S)
        except asyncio.CancelledError:
            for look in looking:
                look.cancel()
            raise
        if self._udp is not None:
            # What came before the nodes' addresses were known waits in the socket.
            await self._udp.start()
        for node, look in zip(nodes, looking, strict=True):
            reason = look.result() if look.done() else f"{node.udp}: is being looked up"
            self._report(node.id, reason)
            if reason is not None and node.udp != ANYWHERE:
                self._resolving[node.id] = asyncio.create_task(self._keep_resolving(node, look))

    async def _address(self, node: NodeTable) -> str | None:
        """None once a node has an address, or why it has none."""
        assert self._udp is not None and node.udp is not None
        if node.udp == ANYWHERE:
            return "waits for its HELLO from any address"
        return await self._udp.add_node(node.id, self._sink.slot_of(node.id), node.udp)

    async def _keep_resolving(self, node: NodeTable, look: asyncio.Task[str | None]) -> None:
        """Go on where the first look-up has failed, or takes long."""
        while True:
            if look.done():
                await asyncio.sleep(_RETRY_S)
                look = asyncio.create_task(self._address(node))
            reason = await look
            self._report(node.id, reason)
            if reason is None:
                self._resolving.pop(node.id, None)
                return

    def _report(self, node_id: int, reason: str | None) -> None:
        if reason is None:
            self._sink.on_link_up(node_id)
        else:
            self._sink.on_link_down(node_id, reason)
