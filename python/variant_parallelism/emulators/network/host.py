"""The gateway's machine on an emulated LAN: a router between its loopback interface and the LAN.

The gateway is an ordinary program on 127.0.0.1. It reaches each node at a loopback port of the
node's own, and nodes reach it at the LAN address, whatever its UDP port; what it sends to the
multicast group on the loopback interface goes out once, as a multicast frame.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from variant_parallelism.emulators.network.attachment import Address
from variant_parallelism.emulators.network.frames import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    MAX_UDP_PAYLOAD,
    Arp,
    Datagram,
    FrameError,
    multicast_mac,
    read_frame,
    write_arp,
    write_datagram,
)
from variant_parallelism.emulators.ports import LOOPBACK

_MOST_WAITING = 16
# A node that said nothing for so long is asked for its MAC again, which also tells it ours: ARP has
# no checksum, so a damaged frame may have taught either side a wrong one.
_ARP_AGE_S = 1.0
_ARP_RETRY_S = 0.1
_BURST = 64


@dataclass
class _Node:
    """One node as the machine knows it. `heard` and `asked`: times of the event loop."""

    address: IPv4Address
    port: int
    socket: socket.socket
    mac: bytes | None = None
    heard: float = float("-inf")
    asked: float = float("-inf")
    waiting: deque[Datagram] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))


class GatewayHost:
    """Works in the running event loop, from its making until `close`.

    `damaged` counts frames that came with a wrong length or checksum. Like any machine it drops
    them, and datagrams that do not fit one frame.
    """

    def __init__(self, address: IPv4Address, mac: bytes, send: Callable[[bytes], None]) -> None:
        """`send` puts a frame on the LAN."""
        self.address = address
        self.mac = mac
        self.damaged = 0
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._nodes: dict[IPv4Address, _Node] = {}
        self._sockets: list[socket.socket] = []
        self._identification = 0

    def add_node(self, address: IPv4Address, port: int) -> Address:
        """Where on the loopback interface a node with this LAN address and UDP port is reached."""
        node = _Node(address, port, self._open(LOOPBACK))
        self._nodes[address] = node
        self._listen(node.socket, lambda data, source: self._to_node(node, data, source))
        return LOOPBACK, int(node.socket.getsockname()[1])

    def join(self, group: IPv4Address) -> int:
        """Forward what is sent to `group` on the loopback interface; the port to send to."""
        receiver = self._open(str(group))
        port = int(receiver.getsockname()[1])
        membership = group.packed + IPv4Address(LOOPBACK).packed
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

        def forward(data: bytes, source: Address) -> None:
            datagram = Datagram(self.address, source[1], group, port, data)
            self._put(multicast_mac(group), datagram)

        self._listen(receiver, forward)
        return port

    def receive(self, frame: bytes) -> None:
        """A frame from the LAN."""
        if frame[:6] not in (self.mac, BROADCAST):
            return
        try:
            content = read_frame(frame)
        except FrameError:
            self.damaged += 1
            return
        if isinstance(content, Arp):
            self._arp(content)
        elif isinstance(content, Datagram):
            node = self._nodes.get(content.source)
            if node is not None and (content.destination, content.source_port) == (
                self.address,
                node.port,
            ):
                node.heard = self._loop.time()
                with suppress(OSError):
                    node.socket.sendto(content.payload, (LOOPBACK, content.destination_port))

    def close(self) -> None:
        """Give the ports back."""
        for opened in self._sockets:
            self._loop.remove_reader(opened)
            opened.close()

    def _open(self, address: str) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets.append(opened)
        opened.setblocking(False)
        opened.bind((address, 0))
        return opened

    def _listen(self, opened: socket.socket, take: Callable[[bytes, Address], None]) -> None:
        def drain() -> None:
            with suppress(OSError):
                for _ in range(_BURST):
                    data, source = opened.recvfrom(65536)
                    if len(data) <= MAX_UDP_PAYLOAD:
                        take(data, source)

        self._loop.add_reader(opened, drain)

    def _to_node(self, node: _Node, data: bytes, source: Address) -> None:
        datagram = Datagram(self.address, source[1], node.address, node.port, data)
        now = self._loop.time()
        unsure = node.mac is None or now - node.heard >= _ARP_AGE_S
        if unsure and now - node.asked >= _ARP_RETRY_S:
            node.asked = now
            request = Arp(ARP_REQUEST, self.mac, self.address, bytes(6), node.address)
            self._send(write_arp(BROADCAST, request))
        if node.mac is None:
            node.waiting.append(datagram)
        else:
            self._put(node.mac, datagram)

    def _arp(self, arp: Arp) -> None:
        node = self._nodes.get(arp.sender)
        if arp.target != self.address or node is None:
            return
        node.mac = arp.sender_mac
        node.heard = self._loop.time()
        if arp.operation == ARP_REQUEST:
            reply = Arp(ARP_REPLY, self.mac, self.address, arp.sender_mac, arp.sender)
            self._send(write_arp(arp.sender_mac, reply))
        while node.waiting:
            self._put(node.mac, node.waiting.popleft())

    def _put(self, mac: bytes, datagram: Datagram) -> None:
        self._identification += 1
        self._send(write_datagram(mac, self.mac, datagram, self._identification))
