"""The UDP sockets of virtual nodes: one a port, which tells each datagram's own address."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address

from variant_parallelism.errors import VpError

_SO_BINDTODEVICE = 25
_IP_PKTINFO = 8
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_BUFFER_BYTES = 4 << 20


def open_sockets(
    ports: Iterable[int], group: tuple[IPv4Address, int] | None
) -> list[socket.socket]:
    """Non-blocking sockets that hear every loopback address at each of these ports, in order.

    `group`: a multicast group (address, port) that is to be heard, too; another socket is added if
    its port is none of them. VpError if this system has no such sockets, or a port is taken.
    """
    if sys.platform != "linux":
        raise VpError("virtual nodes need Linux: others lack a loopback address for each of them")
    opened: list[socket.socket] = []
    places = list(ports)
    if group is not None and group[1] not in places:
        places.append(group[1])
    try:
        for port in places:
            opened.append(_open(port))
        if group is not None:
            member = opened[places.index(group[1])]
            membership = group[0].packed + IPv4Address("127.0.0.1").packed
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        for one in opened:
            one.close()
        raise VpError(f"cannot open udp port {port} for virtual nodes: {error.strerror}") from None
    return opened


def free_udp_ports(count: int) -> list[int]:
    """Different ports that nobody uses now, on any address."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("0.0.0.0", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _open(port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        # Whatever other interfaces there are: nobody outside this machine is to reach the nodes.
        # Before Linux 5.7 that is a right of root's; then the fleet's key must do.
        with contextlib.suppress(PermissionError):
            opened.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo\0")
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        # Never a fragment, so no identification to make up for each datagram.
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            opened.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        opened.bind(("0.0.0.0", port))
    except OSError:
        opened.close()
        raise
    return opened
