"""The bounds beside which the gateway stands: the same nodes, the same triggers, less work."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from variant_parallelism._native import ffi, lib
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, parse_endpoint
from variant_parallelism.gateway_bench.plain import PlainGateway
from variant_parallelism.keys import group_key
from variant_parallelism.virtual import trigger_answer
from variant_parallelism.wire import SEQUENCE_BITS

_PATIENCE_S = 0.05
_BUFFER_BYTES = 4 << 20
_SLICE_NS = 100_000_000

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Counted:
    """As in `jobs.Measured`."""

    requests: int
    predictions: int
    answers: int = 0
    wrong: int = 0


def open_socket(fleet: Fleet) -> socket.socket:
    """The gateway's own socket, set up as the gateway does it."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    opened.bind(parse_endpoint(fleet.table.gateway.listen))
    return opened


def bare(fleet: Fleet, boot: int, seconds: float, in_flight: int, tell: Progress) -> Counted:
    """Triggers out, datagrams in by recvmmsg in C, nothing read: the strict bound."""
    assert fleet.key is not None and fleet.table.network is not None
    group, port = parse_endpoint(fleet.table.network.multicast or "")
    with open_socket(fleet) as opened:
        c = ffi.new("vp_bare *")
        c.socket, c.fleet = opened.fileno(), fleet.table.id
        c.group_address, c.group_port = int(IPv4Address(group)), port
        c.key = group_key(fleet.key, fleet.table.id)
        c.nodes, c.in_flight, c.counter = len(fleet.nodes), in_flight, boot << SEQUENCE_BITS
        begin = lib.vp_virtual_now()
        end = begin + int(seconds * 1e9)
        while (now := lib.vp_virtual_now()) < end:
            tell((now - begin) / (end - begin))
            error = lib.vp_bare_exchange(c, min(end, now + _SLICE_NS))
            if error:
                raise VpError(f"cannot measure the bare receive rate: errno {-error}")
        return Counted(c.triggers, c.received)


def recv(fleet: Fleet, boot: int, seconds: float, in_flight: int, tell: Progress) -> Counted:
    """The same loop with one socket.recv of Python a datagram."""
    nodes, received, requests = len(fleet.nodes), 0, 0
    with open_socket(fleet) as opened:
        gateway = PlainGateway(fleet, opened, boot)
        waiting = 0
        begin = now = time.monotonic()
        while now < begin + seconds:
            while waiting + nodes <= in_flight * nodes:
                gateway.ask()
                waiting += nodes
                requests += 1
            try:
                while waiting > (in_flight - 1) * nodes:
                    opened.recv(2048)
                    received += 1
                    waiting -= 1
            except BlockingIOError:
                if not select.select([opened], [], [], _PATIENCE_S)[0]:
                    waiting = 0
            now = time.monotonic()
            tell((now - begin) / seconds)
    return Counted(requests, received)


def plain(fleet: Fleet, boot: int, seconds: float, in_flight: int, tell: Progress) -> Counted:
    """A gateway in plain Python, `plain.PlainGateway`."""
    classes = len(fleet.manifest.classes)
    requests = answers = wrong = 0
    with open_socket(fleet) as opened:
        gateway = PlainGateway(fleet, opened, boot)
        open_ones: set[int] = set()
        begin = now = time.monotonic()
        while now < begin + seconds:
            while len(open_ones) < in_flight:
                open_ones.add(gateway.ask())
                requests += 1
            before = answers
            try:
                while answers == before:
                    done = gateway.take(opened.recv(2048))
                    if done is not None and done[0] in open_ones:
                        open_ones.discard(done[0])
                        answers += 1
                        wrong += done[1] != trigger_answer(done[0], 0, classes, 1)[0][0]
            except BlockingIOError:
                if not select.select([opened], [], [], _PATIENCE_S)[0]:
                    open_ones.clear()
            now = time.monotonic()
            tell((now - begin) / seconds)
    return Counted(requests, answers * len(fleet.nodes), answers, wrong)
