"""UDP nodes whose address changed: who may take a node's place, and when.

A HELLO from an address that is no node's moves the node there, if the address answers for it. With
a key, the HELLO must be authentic and newer than all that was heard of the node. That alone would
let somebody who overhears one send it again under another source address, his own or a victim's,
and draw the node's images there. So the first HELLO only makes us call (DISCOVER, to that address),
and the node moves with a second, still newer HELLO from there, unless anything came from its old
address meanwhile: a node that is heard where it was has not moved. Who can hold back the node's own
messages and pass on its HELLOs can still do so; he gets no key by it, and votes for nobody.

The address may have been another node's (a router hands them out anew after a power cut). Then that
one is nowhere until its own HELLO comes; if it was heard at this address since, nobody moves there.

Without a key anybody can claim to be anybody. So only nodes with `udp = "any"` are found that way,
and only such nodes lose their addresses to them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from variant_parallelism.fleet import ANYWHERE, Fleet
from variant_parallelism.gateway.gate import NOBODY, Gate, Record, Source
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.roster import SILENT_PERIODS, Node
from variant_parallelism.gateway.types import Event, Warned
from variant_parallelism.keys import node_key
from variant_parallelism.wire import WireError, peek, verify

_DOUBLES = 3
"""HELLOs from elsewhere, of a node that is where it was, that are worth a warning."""


@dataclass(slots=True)
class _Claim:
    """A first HELLO from elsewhere."""

    source: Source
    counter: int
    at: float
    stale: int
    """Replays from the node's own address by then: copies of what came from elsewhere."""


class Roaming:
    """Judges HELLOs from addresses that are no node's. `events` takes what people should know."""

    def __init__(
        self,
        fleet: Fleet,
        nodes: dict[int, Node],
        gate: Gate,
        out: Outbound,
        events: deque[Event],
    ) -> None:
        self._fleet = fleet
        self._nodes = nodes
        self._gate = gate
        self._out = out
        self._events = events
        self._claims: dict[Node, _Claim] = {}
        self._doubles: dict[Node, int] = {}

    def reload(self, fleet: Fleet) -> None:
        """Go on with `fleet` and the nodes that there are now."""
        self._fleet = fleet
        self._claims.clear()
        self._doubles.clear()

    def hears(self, now: float, record: Record) -> Node | None:
        """The node that has moved to where a HELLO came from, and the HELLO is then still to be
        taken; None if none has: the message was counted."""
        assert record.stranger is not None
        node = self._who(record)
        if node is None:
            return None
        counter = peek(record.message).counter
        if counter <= node.highest_counter:
            self._drop(record, "replayed")
            self._is_double(node, record.stranger)
            return None
        claim = self._claims.pop(node, None)
        if claim is None or not self._confirms(now, node, claim, record, counter):
            self._drop(record, None)
            self._claims[node] = _Claim(record.stranger, counter, now, node.stale)
            if claim is None or claim.source != record.stranger:
                # Called once: who answers and may not move would be called for ever.
                self._out.discover_at(record.stranger)
            return None
        self._doubles.pop(node, None)
        return node

    def _who(self, record: Record) -> Node | None:
        header = peek(record.message)
        node = self._nodes.get(header.node)
        holder = self._holder(record)
        is_fixed = any(other and other.table.udp != ANYWHERE for other in (node, holder))
        if node is None or node.serial or (self._fleet.key is None and is_fixed):
            self._drop(record, "foreign")
            return None
        key = self._fleet.key and node_key(self._fleet.key, self._fleet.table.id, node.id)
        try:
            verify(record.message, key)
        except WireError as error:
            self._drop(record, "forged" if error.reason == "forged" else "damaged")
            return None
        return node

    def _confirms(
        self, now: float, node: Node, claim: _Claim, record: Record, counter: int
    ) -> bool:
        source = record.stranger
        assert source is not None
        patience_s = SILENT_PERIODS * self._fleet.table.hello_ms / 1000
        if claim.source != source or counter <= claim.counter or now > claim.at + patience_s:
            return False
        if node.linked and (node.last_seen >= claim.at or node.stale > claim.stale):
            self._is_double(node, source)
            return False
        holder = self._holder(record)
        return holder is None or holder.last_seen < claim.at

    def _holder(self, record: Record) -> Node | None:
        """Whose address it came from."""
        return None if record.slot == NOBODY else self._nodes.get(self._gate.id_at(record.slot))

    def _is_double(self, node: Node, source: Source) -> None:
        """A node is where it was, and elsewhere: two boards have its id, or somebody copies it."""
        count = self._doubles[node] = self._doubles.get(node, 0) + 1
        if count == _DOUBLES:
            self._events.append(
                Warned(
                    f"node {node.id} ({node.variant.name}) is heard at {node.address} and at "
                    f"{source}: if two boards have its id, give one of them another"
                )
            )

    def _drop(self, record: Record, why: str | None) -> None:
        """Count a message that nobody acts on."""
        self._gate.count(record.slot, "messages_in")
        self._gate.count(record.slot, "bytes_in", record.wire_bytes)
        if why is not None:
            self._gate.count(record.slot, why)
