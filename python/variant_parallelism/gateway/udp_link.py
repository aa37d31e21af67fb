"""One UDP socket for all of a fleet's UDP nodes, and for the group that they listen to."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import parse_endpoint

Address = tuple[str, int]

_NO_HOST = "not a host name and a port"


class UdpLink(asyncio.DatagramProtocol):
    """Receives from anywhere, says which node an address belongs to, sends to nodes."""

    def __init__(self, on_datagram: Callable[[int | None, bytes], None]) -> None:
        self._on_datagram = on_datagram
        self._socket: socket.socket | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._address_of: dict[int, Address] = {}
        self._node_at: dict[Address, int] = {}
        self._group: Address | None = None
        self._lost = asyncio.Event()

    async def bind(self, listen: str) -> None:
        """Take `host:port`; VpError if that cannot be had. What arrives waits for `start`."""
        loop = asyncio.get_running_loop()
        try:
            host, port = parse_endpoint(listen)
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            self._socket = _bound([(info[0], info[4]) for info in found])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                why = "another program uses this port (a gateway that already runs?)"
            else:
                why = error.strerror or str(error)
            raise VpError(f"cannot listen on udp {listen}: {why}; see [gateway] listen") from None
        except ValueError:
            raise VpError(
                f"cannot listen on udp {listen}: {_NO_HOST}; see [gateway] listen"
            ) from None

    def use_group(self, group: str, interface: str) -> str | None:
        """Send to a group (`address:port`) through the interface that has this IPv4 address, after
        `bind`; None, or why that cannot be."""
        assert self._socket is not None
        if self._socket.family != socket.AF_INET:
            return "[gateway] listen is no IPv4 address"
        try:
            self._socket.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface)
            )
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return f"{interface} is no address of this machine; see [network] gateway"
            return f"{interface}: {error.strerror or error}; see [network] gateway"
        self._group = parse_endpoint(group)
        return None

    async def start(self) -> None:
        """Receive from here on: once the nodes' addresses are known, or their words are foreign."""
        if self._transport is not None:
            return
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, sock=self._socket)

    async def add_node(self, node_id: int, endpoint: str) -> str | None:
        """Resolve a node's `host:port`, after `bind`; None, or why it has no address."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            host, port = parse_endpoint(endpoint)
            found = await loop.getaddrinfo(
                host, port, family=self._socket.family, type=socket.SOCK_DGRAM
            )
        except OSError as error:
            return f"{endpoint}: {error.strerror or error}"
        except ValueError:
            return f"{endpoint}: {_NO_HOST}"
        address = (str(found[0][4][0]), int(found[0][4][1]))
        other = self._node_at.get(address)
        if other is not None and other != node_id:
            return f"{endpoint}: node {other} has the same address"
        self._address_of[node_id] = address
        self._node_at[address] = node_id
        return None

    def remove_node(self, node_id: int) -> None:
        """Forget a node's address, if it has one."""
        address = self._address_of.pop(node_id, None)
        if address is not None:
            del self._node_at[address]

    def send(self, node_id: int, data: bytes) -> None:
        address = self._address_of.get(node_id)
        if self._transport is not None and address is not None:
            self._transport.sendto(data, address)

    def send_group(self, data: bytes) -> None:
        if self._transport is not None and self._group is not None:
            self._transport.sendto(data, self._group)

    async def close(self) -> None:
        """Return once the port is free again."""
        if self._transport is not None:
            self._transport.close()
            await self._lost.wait()
        elif self._socket is not None:
            self._socket.close()

    # asyncio.DatagramProtocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._on_datagram(self._node_at.get((addr[0], addr[1])), data)

    def error_received(self, exc: Exception) -> None:
        """An unreachable node shows as silence."""


def _bound(addresses: list[tuple[int, tuple[Any, ...]]]) -> socket.socket:
    """A socket at the first of these (family, address) that can be had; OSError if none can."""
    problem = OSError("no address")
    for family, address in addresses:
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.bind(address)
        except OSError as error:
            bound.close()
            problem = error
        else:
            return bound
    raise problem
