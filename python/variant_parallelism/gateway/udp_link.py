"""One UDP socket for all of a fleet's UDP nodes, and for the group that they listen to.

On Linux datagrams are read and sent in batches, by the gate; elsewhere one by one, by asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import parse_endpoint
from variant_parallelism.gateway.gate import Gate, Source

Address = tuple[str, int]

_NO_HOST = "not a host name and a port"
_RECEIVE_BUFFER = 4 << 20
"""Bytes of answers that may wait, if the system permits (net.core.rmem_max): a thousand nodes that
answer at once fill the usual 208 KiB."""
_MAX_UNSENT = 4096
"""Datagrams that wait for the system to take them; what comes on top is lost."""

HAS_BATCHES = sys.platform == "linux"


class UdpSink(Protocol):
    """Where a link reports, always on the event loop's thread."""

    @property
    def gate(self) -> Gate: ...
    def on_datagram(self, node_id: int | None, data: bytes, source: Source | None) -> None: ...
    def on_socket(self, socket: int) -> None:
        """Datagrams wait at the socket, whose file descriptor this is."""


class UdpLink(asyncio.DatagramProtocol):
    """Receives from anywhere, says which node an address belongs to, sends to nodes."""

    def __init__(self, sink: UdpSink) -> None:
        self._sink = sink
        self._socket: socket.socket | None = None
        self._reads_batches = False
        self._slot_of: dict[int, int] = {}
        self._unsent: list[tuple[int, bytes]] = []
        self._is_full = False
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
        if self._transport is not None or self._reads_batches:
            return
        assert self._socket is not None
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        loop = asyncio.get_running_loop()
        if HAS_BATCHES:
            self._reads_batches = True
            loop.add_reader(self._socket, self._sink.on_socket, self._socket.fileno())
        else:
            await loop.create_datagram_endpoint(lambda: self, sock=self._socket)

    async def add_node(self, node_id: int, slot: int, endpoint: str) -> str | None:
        """Resolve the `host:port` of a node, after `bind`, and tell the gate, which knows the node
        by this slot; None, or why it has no address."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            host, port = parse_endpoint(endpoint)
            found: list[Any] = _numeric(host, port, self._socket.family) or await loop.getaddrinfo(
                host, port, family=self._socket.family, type=socket.SOCK_DGRAM
            )
        except OSError as error:
            return f"{endpoint}: {error.strerror or error}"
        except ValueError:
            return f"{endpoint}: {_NO_HOST}"
        place = found[0][4]
        address = (str(place[0]), int(place[1]))
        other = self._node_at.get(address)
        if other is not None and other != node_id:
            return f"{endpoint}: node {other} has the same address"
        self.remove_node(node_id)
        self._address_of[node_id] = address
        self._node_at[address] = node_id
        self._slot_of[node_id] = slot
        scope = int(place[3]) if len(place) > 3 else 0
        plain = ip_address(address[0].partition("%")[0])
        self._sink.gate.set_address(slot, plain, address[1], scope)
        return None

    def move_node(self, node_id: int, slot: int, source: Source) -> None:
        """A node is here from now on; one that was here before is nowhere."""
        self.remove_node(node_id)
        address = (str(source.host), source.port)
        if address in self._node_at:
            self.remove_node(self._node_at[address])
        self._address_of[node_id], self._node_at[address] = address, node_id
        self._slot_of[node_id] = slot
        self._sink.gate.set_address(slot, source.host, source.port, source.scope)

    def remove_node(self, node_id: int) -> None:
        """Forget a node's address, if it has one."""
        address = self._address_of.pop(node_id, None)
        if address is not None:
            del self._node_at[address]
            self._sink.gate.set_address(self._slot_of.pop(node_id), None)

    def send(self, node_id: int, data: bytes) -> None:
        """Send to a node, now or at the next `flush`."""
        if self._reads_batches:
            slot = self._slot_of.get(node_id)
            if slot is not None and len(self._unsent) < _MAX_UNSENT:
                self._unsent.append((slot, data))
            return
        address = self._address_of.get(node_id)
        if self._transport is not None and address is not None:
            self._transport.sendto(data, address)

    def call(self, source: Source, data: bytes) -> None:
        """Send to an address that is no node's."""
        place: tuple[Any, ...] = (str(source.host), source.port)
        if source.host.version == 6:
            place += (0, source.scope)
        if self._transport is not None:
            self._transport.sendto(data, place)
        elif self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(data, place)

    def send_group(self, data: bytes) -> None:
        if self._group is None:
            return
        if self._reads_batches and self._socket is not None:
            self.flush()
            # A datagram that the system does not take is lost, as it may be on its way.
            with contextlib.suppress(OSError):
                self._socket.sendto(data, self._group)
        elif self._transport is not None:
            self._transport.sendto(data, self._group)

    def flush(self) -> None:
        """Send what waits, as far as the system takes it; the rest follows."""
        if not self._unsent or self._is_full or self._socket is None:
            return
        self._send_waiting(self._socket)
        if self._unsent:
            self._is_full = True
            asyncio.get_running_loop().add_writer(self._socket, self._go_on)

    def _send_waiting(self, bound: socket.socket) -> None:
        del self._unsent[: self._sink.gate.send(bound.fileno(), self._unsent)]

    def _go_on(self) -> None:
        assert self._socket is not None
        self._send_waiting(self._socket)
        if not self._unsent:
            self._is_full = False
            asyncio.get_running_loop().remove_writer(self._socket)

    async def close(self) -> None:
        """Return once the port is free again."""
        if self._transport is not None:
            self._transport.close()
            await self._lost.wait()
        elif self._socket is not None:
            if self._reads_batches:
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._socket)
                loop.remove_writer(self._socket)
            self._socket.close()

    # asyncio.DatagramProtocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        node = self._node_at.get((addr[0], addr[1]))
        self._sink.on_datagram(node, data, _source(addr))

    def error_received(self, exc: Exception) -> None:
        """An unreachable node shows as silence."""


def _source(place: tuple[Any, ...]) -> Source:
    host = ip_address(str(place[0]).partition("%")[0])
    full = host if host.version == 6 else IPv6Address(f"::ffff:{host}")
    return Source(full, int(place[1]), int(place[3]) if len(place) > 3 else 0)


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


def _numeric(host: str, port: int, family: int) -> list[Any]:
    """What getaddrinfo gives for an address; nothing for a name, which has to be looked up."""
    try:
        return socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
    except OSError:
        return []
