"""A gateway as one would write it in an afternoon: asyncio, struct, hashlib and NumPy.

It does what the real one does for a triggered request, and no more: authentic and new predictions
of the fleet's nodes, each scattered, weighed and added up, for callers that await their answer. No
HELLO, no dead nodes, no deadlines, no sinks.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.fleet import Fleet, parse_endpoint
from variant_parallelism.keys import group_key, node_key

_HEADER = struct.Struct("<BBHIB")
_ENTRIES = np.dtype([("index", "u1"), ("score", "i1")])
_AUTHENTICATED, _VERSION = 1 << 4, 1 << 5
_PREDICTION, _TRIGGER = 5, 8
_ALL_NODES = 0xFFFF
_TAG, _WINDOW = 8, 64
_K = 2


@dataclass
class _Node:
    key: bytes
    weight: float
    highest: int = 0
    seen: int = 0

    def is_new(self, counter: int) -> bool:
        rise = counter - self.highest
        if rise > 0:
            self.seen = (self.seen << min(rise, _WINDOW) | 1) & (1 << _WINDOW) - 1
            self.highest = counter
            return True
        bit = 1 << -rise
        if rise <= -_WINDOW or self.seen & bit:
            return False
        self.seen |= bit
        return True


@dataclass
class _Request:
    answer: asyncio.Future[int]
    shares: NDArray[np.float64]
    voted: set[int] = field(default_factory=set)


class PlainGateway(asyncio.DatagramProtocol):
    """`trigger` asks every node of a fleet, and waits until all of them have answered."""

    def __init__(self, fleet: Fleet, boot: int) -> None:
        assert fleet.key is not None and fleet.table.network is not None
        assert fleet.table.network.multicast is not None
        self._fleet, self._counter = fleet.table.id, boot << 16
        self._group_key = group_key(fleet.key, fleet.table.id)
        self._group = parse_endpoint(fleet.table.network.multicast)
        self._classes = len(fleet.manifest.classes)
        self._nodes = {
            node.id: _Node(
                node_key(fleet.key, fleet.table.id, node.id), fleet.variant_of(node).weight
            )
            for node in fleet.nodes
        }
        self._requests: dict[int, _Request] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def trigger(self) -> tuple[int, int]:
        """The request's number and the fleet's class."""
        self._counter += 1
        number = self._counter & 0xFFFF
        low, high = self._counter & 0xFFFFFFFF, self._counter >> 32
        first = _TRIGGER | _AUTHENTICATED | _VERSION
        message = _HEADER.pack(first, self._fleet, _ALL_NODES, low, high)
        message += struct.pack("<HBB", number, _K, 0)
        tag = hashlib.blake2s(message, key=self._group_key, digest_size=_TAG).digest()
        answer = asyncio.get_running_loop().create_future()
        self._requests[number] = _Request(answer, np.zeros(self._classes))
        self._transport.sendto(message + tag, self._group)
        try:
            return number, await answer
        finally:
            del self._requests[number]

    def datagram_received(self, message: bytes, source: Any) -> None:
        kind, fleet, sender, low, high = _HEADER.unpack_from(message)
        node = self._nodes.get(sender)
        if fleet != self._fleet or node is None:
            return
        body, tag = message[:-_TAG], message[-_TAG:]
        right = hashlib.blake2s(body, key=node.key, digest_size=_TAG).digest()
        if not hmac.compare_digest(tag, right) or not node.is_new(high << 32 | low):
            return
        if kind & 15 == _PREDICTION:
            self._vote(sender, node, body)

    def _vote(self, sender: int, node: _Node, body: bytes) -> None:
        number, _ = struct.unpack_from("<HH", body, _HEADER.size)
        request = self._requests.get(number)
        if request is None or sender in request.voted or request.answer.done():
            return
        request.voted.add(sender)
        entries = np.frombuffer(body, _ENTRIES, offset=_HEADER.size + 4)
        probabilities = np.zeros(self._classes)
        probabilities[entries["index"]] = (entries["score"].astype(np.float64) + 128) / 256
        request.shares += node.weight * probabilities
        if len(request.voted) == len(self._nodes):
            request.answer.set_result(int(np.argmax(request.shares)))
