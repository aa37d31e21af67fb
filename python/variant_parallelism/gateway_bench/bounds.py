"""The bounds beside which the gateway stands: the same nodes, the same triggers, less work."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from variant_parallelism._native import ffi, lib
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, parse_endpoint
from variant_parallelism.gateway_bench.meters import dropped_datagrams
from variant_parallelism.gateway_bench.plain import PlainGateway
from variant_parallelism.keys import group_key
from variant_parallelism.virtual import trigger_answer
from variant_parallelism.wire import ALL_NODES, SEQUENCE_BITS, Trigger, encode

_PATIENCE_S = 0.05
_LOST_S = 1.0
_BUFFER_BYTES = 4 << 20
_SLICE_NS = 100_000_000

Progress = Callable[[float], None]


@dataclass
class Counted:
    """As in `jobs.Measured`."""

    requests: int
    predictions: int
    answers: int = 0
    lost: int = 0
    wrong: int = 0
    dropped: int = 0


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
        lost = _lost(c.triggers, c.received, len(fleet.nodes), in_flight)
        return Counted(c.triggers, c.received, lost=lost, dropped=_dropped(fleet))


def recv(fleet: Fleet, boot: int, seconds: float, in_flight: int, tell: Progress) -> Counted:
    """The same loop in Python, with one socket.recv a datagram."""
    assert fleet.key is not None and fleet.table.network is not None
    group = parse_endpoint(fleet.table.network.multicast or "")
    key = group_key(fleet.key, fleet.table.id)
    nodes, received, requests, waiting = len(fleet.nodes), 0, 0, 0
    with open_socket(fleet) as opened:
        begin = now = time.monotonic()
        while now < begin + seconds:
            while waiting + nodes <= in_flight * nodes:
                counter = (boot << SEQUENCE_BITS) + requests
                trigger = Trigger(requests & 0xFFFF, 2, False)
                message = encode(
                    trigger, fleet=fleet.table.id, node=ALL_NODES, counter=counter, key=key
                )
                opened.sendto(message, group)
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
        lost = _lost(requests, received, nodes, in_flight)
        return Counted(requests, received, lost=lost, dropped=_dropped(fleet))


def plain(fleet: Fleet, boot: int, seconds: float, in_flight: int, tell: Progress) -> Counted:
    """A gateway in plain Python, `plain.PlainGateway`."""
    return asyncio.run(_plain(fleet, boot, seconds, in_flight, tell))


async def _plain(
    fleet: Fleet, boot: int, seconds: float, in_flight: int, tell: Progress
) -> Counted:
    classes, counted = len(fleet.manifest.classes), Counted(0, 0)
    transport, gateway = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: PlainGateway(fleet, boot), sock=open_socket(fleet)
    )
    begin = time.monotonic()

    async def caller() -> None:
        while time.monotonic() < begin + seconds:
            counted.requests += 1
            try:
                async with asyncio.timeout(_LOST_S):
                    number, found = await gateway.trigger()
            except TimeoutError:
                counted.lost += 1
                continue
            counted.answers += 1
            counted.wrong += found != trigger_answer(number, 0, classes, 1)[0][0]
            counted.predictions += len(fleet.nodes)
            tell((time.monotonic() - begin) / seconds)

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    counted.dropped = _dropped(fleet)
    transport.close()
    return counted


def _lost(requests: int, received: int, nodes: int, in_flight: int) -> int:
    """Predictions that never came; those of the last requests may have been on their way."""
    return max(0, (requests - in_flight) * nodes - received)


def _dropped(fleet: Fleet) -> int:
    """By the gateway's socket, which is open and was opened for this."""
    return dropped_datagrams(parse_endpoint(fleet.table.gateway.listen)[1])
