"""What goes out: messages encoded once for every node, each with a counter of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable

import numpy as np

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.dispatch import Chunk
from variant_parallelism.gateway.gate import NOBODY, Gate, Source
from variant_parallelism.gateway.requests import Request, is_newer
from variant_parallelism.gateway.roster import Node
from variant_parallelism.keys import group_key
from variant_parallelism.wire import (
    ALL_NODES,
    SEQUENCE_BITS,
    Body,
    Discover,
    Input,
    Trigger,
    encode,
    frame,
)

_REQUESTS_PER_BOOT = 16384
"""Requests after which the boot counter rises, so that a node that heard nothing for long does not
take a new request for an old one."""


class Outbound:
    """Encodes for a fleet; `outbox` holds (node id, bytes for its link) in order, None for the id
    of a datagram to the multicast group."""

    def __init__(
        self, fleet: Fleet, boot: int, gate: Gate, on_boot: Callable[[int], None] | None
    ) -> None:
        self.outbox: deque[tuple[int | None, bytes]] = deque()
        self.calls: deque[tuple[Source, bytes]] = deque()
        """Datagrams for addresses that are no node's."""
        self.boot = boot
        self.newest_cast: int | None = None
        """The newest request that the group heard of under this boot counter."""
        self._fleet_id = fleet.table.id
        self._gate = gate
        self._key = None if fleet.key is None else group_key(fleet.key, fleet.table.id)
        self._on_boot = on_boot
        self._sequence = 0
        self._requests = 0

    def begin_request(self) -> None:
        """A request gets a new number."""
        self._requests += 1
        if self._requests > _REQUESTS_PER_BOOT:
            self.raise_boot()

    def discover(self, node: Node) -> None:
        self._send(node, *self._encode(Discover()))

    def discover_at(self, source: Source) -> None:
        """Call whoever is at an address that is no node's."""
        self.calls.append((source, self._encode(Discover())[1]))

    def chunk(self, node: Node, request: Request, chunk: Chunk) -> None:
        """A chunk of an image. Its message serves every node that gets it for the first time."""
        if chunk.number is None:
            number = request.number(node.id)
            self._send(node, *self._encode_chunk(request, number, 0, b"", report=True))
            return
        node.count("chunks")
        slot = (request.number(node.id), chunk.number, chunk.report)
        ready = request.encoded.get(slot)
        if chunk.again or ready is None or ready[0] <= node.last_counter:
            data = request.chunk(chunk.number)
            number = request.number(node.id)
            ready = self._encode_chunk(request, number, chunk.number, data, chunk.report)
        if chunk.again:
            node.count("retransmitted")
        else:
            request.encoded[slot] = ready
        self._send(node, *ready)

    def cast(
        self, nodes: Iterable[Node], members: Collection[int], request: Request, chunk: Chunk
    ) -> None:
        """A chunk to the group: `members` are those that it is meant for, `nodes` all of the fleet.

        Its counter is its own: a node that heard it takes no other message with it for new.
        """
        assert chunk.number is not None
        data = request.chunk(chunk.number)
        counter, message = self._encode_chunk(request, request.id, chunk.number, data, chunk.report)
        names = ["chunks", "multicast", "messages_out", *(["retransmitted"] if chunk.again else [])]
        amounts = {**dict.fromkeys(names, 1), "bytes_out": len(message)}
        slots = []
        for node in nodes:
            if not node.serial:
                node.last_counter = counter
            if node.id in members:
                slots.append(node.slot)
        self._count_group(slots, amounts)
        self._cast(request, message)

    def trigger(self, nodes: Iterable[Node], request: Request, *, report: bool) -> None:
        """A trigger to each of these nodes: the same message to all that know the request under
        the same number."""
        encoded: dict[int, tuple[int, bytes]] = {}
        for node in nodes:
            number = request.number(node.id)
            if number not in encoded:
                encoded[number] = self._encode(Trigger(number, request.k, report))
            self._send(node, *encoded[number])

    def cast_trigger(self, request: Request, now: float) -> None:
        """A trigger to the group, for all that were asked."""
        counter, message = self._encode(Trigger(request.id, request.k, report=False))
        self._gate.tell(request.ballot, counter, len(message), now)
        self._cast(request, message)

    def cast_trigger_to(self, members: Iterable[Node], request: Request) -> None:
        """A trigger to the group, meant for these members."""
        counter, message = self._encode(Trigger(request.id, request.k, report=False))
        slots = []
        for node in members:
            node.last_counter = counter
            slots.append(node.slot)
        self._count_group(slots, {"messages_out": 1, "bytes_out": len(message)})
        self._cast(request, message)

    def _cast(self, request: Request, message: bytes) -> None:
        if self.newest_cast is None or is_newer(request.id, self.newest_cast):
            self.newest_cast = request.id
        self.outbox.append((None, message))

    def _count_group(self, slots: list[int], amounts: dict[str, int]) -> None:
        self._gate.count_many(np.array(slots, np.intp), amounts)
        for name, amount in amounts.items():
            self._gate.count(NOBODY, name, amount)

    def _encode_chunk(
        self, request: Request, number: int, chunk: int, data: bytes, report: bool
    ) -> tuple[int, bytes]:
        return self._encode(Input(number, request.k, report, *request.shape, chunk, data))

    def _encode(self, body: Body) -> tuple[int, bytes]:
        """A message to every node, with a counter never used before."""
        if self._sequence >= 1 << SEQUENCE_BITS:
            self.raise_boot()
        counter = self.boot << SEQUENCE_BITS | self._sequence
        self._sequence += 1
        message = encode(body, fleet=self._fleet_id, node=ALL_NODES, counter=counter, key=self._key)
        return counter, message

    def raise_boot(self, by: int = 1) -> None:
        """Start counting anew; nodes forget the requests that they were asked before."""
        self.boot += by
        self.newest_cast = None
        self._sequence = 0
        self._requests = 0
        if self._on_boot is not None:
            self._on_boot(self.boot)

    def _send(self, node: Node, counter: int, message: bytes) -> None:
        node.last_counter = max(node.last_counter, counter)
        data = frame(message) if node.serial else message
        node.count("messages_out")
        node.count("bytes_out", len(data))
        self.outbox.append((node.id, data))
