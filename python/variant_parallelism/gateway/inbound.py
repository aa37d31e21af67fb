"""The gate for what comes in: a known node's authentic, new messages pass, the rest is counted."""

from __future__ import annotations

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.roster import Node
from variant_parallelism.gateway.types import Counters
from variant_parallelism.wire import (
    SEQUENCE_BITS,
    Body,
    Discover,
    Header,
    Input,
    Trigger,
    WireError,
    peek,
    unpack,
    verify,
)

_STALE_AFTER = 3
"""Replayed messages in a row, from a node that is not up, that are worth a warning."""


class Inbound:
    """Checks messages against the fleet and the sender's key and counters."""

    def __init__(self, fleet: Fleet, nodes: dict[int, Node], counters: Counters) -> None:
        self._fleet = fleet
        self._nodes = nodes
        self._counters = counters

    def take(
        self, node_id: int | None, message: bytes, wire_bytes: int
    ) -> tuple[Node, Header, Body] | None:
        """The sender, header and body of a message that may be acted on; None if it was dropped.

        `node_id` is the node at whose link it arrived, None for an unknown source.
        """
        node = None if node_id is None else self._nodes[node_id]
        self._count(node, "messages_in")
        self._count(node, "bytes_in", wire_bytes)
        try:
            header = peek(message)
        except WireError:
            self._count(node, "damaged")
            return None
        if node is None or header.fleet != self._fleet.table.id or header.node != node.id:
            self._count(node, "foreign")
            return None
        try:
            payload = verify(message, node.key)
        except WireError as error:
            self._count(node, "forged" if error.reason == "forged" else "damaged")
            return None
        if not node.replay.accept(header.counter):
            self._count(node, "replayed")
            node.stale += 1
            return None
        node.stale = 0
        try:
            body = unpack(header.type, payload, len(self._fleet.manifest.classes))
        except WireError:
            self._count(node, "damaged")
            return None
        if isinstance(body, Discover | Input | Trigger):
            self._count(node, "foreign")
            return None
        return node, header, body

    def _count(self, node: Node | None, name: str, amount: int = 1) -> None:
        if node is None:
            self._counters.add(name, amount)
        else:
            node.count(name, amount)


def stale_warning(node: Node) -> str | None:
    """What to tell people about a node whose counters went back, once; None if all is well."""
    if node.stale < _STALE_AFTER or node.stale_told or node.alive:
        return None
    node.stale_told = True
    return (
        f"node {node.id} repeats counters up to boot {node.replay.highest >> SEQUENCE_BITS}, "
        "its messages are dropped: give it a higher boot counter, or remove it from the "
        "gateway's state file"
    )
