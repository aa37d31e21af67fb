"""The aggregator without I/O: bytes and the time in, bytes and events out.

Whoever drives it calls a method when something happens, then sends what is in `outbox`, handles
what is in `events`, and calls `poll` at `wake_at()`. The clock is whatever the driver says, so that
tests run in virtual time. Times are seconds, never going back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import ANYWHERE, Fleet, NodeTable
from variant_parallelism.gateway.answering import Answering
from variant_parallelism.gateway.gate import BATCH, NOBODY, UNSUPPORTED, Gate, Record, Source
from variant_parallelism.gateway.judging.quarantine import Quarantine
from variant_parallelism.gateway.liveness import Liveness
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.reloading import Changes, changes
from variant_parallelism.gateway.requests import Request, RequestBook
from variant_parallelism.gateway.roaming import Roaming
from variant_parallelism.gateway.roster import Node, make_node, make_nodes, make_timing
from variant_parallelism.gateway.sending import Sending
from variant_parallelism.gateway.types import Counters, Event, NodeChanged, NodeStatus
from variant_parallelism.wire import (
    Discover,
    Fault,
    Hello,
    Input,
    MessageType,
    NodeError,
    Prediction,
    Sack,
    Trigger,
    WireError,
    payload,
    peek,
    unpack,
)

_BATCHES = 4
"""Batches of datagrams after which others get their turn."""


class Core:
    """One fleet's nodes and requests."""

    def __init__(
        self,
        fleet: Fleet,
        boot: int,
        *,
        highest: dict[int, int] | None = None,
        on_boot: Callable[[int], None] | None = None,
        first_request: int | None = None,
    ) -> None:
        """`boot` is this gateway's boot counter, higher than ever before; `highest` the counters
        seen of each node in earlier runs; `on_boot` is told whenever the boot counter rises.
        Requests are numbered from `first_request` on (default: by the boot counter)."""
        self.fleet = fleet
        self._gate = Gate(fleet.table.id, len(fleet.manifest.classes), len(fleet.nodes))
        self.nodes = make_nodes(fleet, self._gate, highest or {})
        self.events: deque[Event] = deque()
        self.moves: deque[tuple[int, Source]] = deque()
        """Node ids and where they are now: to be told to the link before it sends more."""
        self._out = Outbound(fleet, boot, self._gate, on_boot)
        first_request = boot << 8 if first_request is None else first_request
        self._book = RequestBook(self._gate, first_request)
        self._sending = Sending(self.nodes, self._out, self._book, self._gate)
        self._liveness = Liveness(
            fleet, self.nodes, self._out, self._book, self._sending, self.events
        )
        self._answering = Answering(
            fleet,
            self.nodes,
            self._out,
            self._book,
            self._sending,
            self._liveness,
            self._gate,
            self.events,
        )

        self._roaming = Roaming(fleet, self.nodes, self._gate, self._out, self.events)

    @property
    def outbox(self) -> deque[tuple[int | None, bytes]]:
        """(node id, bytes for its link), in the order to send: frames or datagrams; None for the
        id of a datagram to the multicast group."""
        return self._out.outbox

    @property
    def calls(self) -> deque[tuple[Source, bytes]]:
        """Datagrams to send to addresses that are no node's."""
        return self._out.calls

    @property
    def counters(self) -> Counters:
        """The fleet's counters as they are now."""
        return self._gate.counters(None)

    @property
    def gate(self) -> Gate:
        """Knows the nodes by their slots; datagrams are received and sent through it."""
        return self._gate

    def highest_counters(self) -> dict[int, int]:
        """The highest counter accepted of each node that was heard, to be kept between runs."""
        highest = {node.id: node.highest_counter for node in self.nodes.values()}
        return {node: counter for node, counter in highest.items() if counter}

    def statuses(self) -> list[NodeStatus]:
        """Every node and what is known of it, in the fleet file's order."""
        slots = np.array([node.slot for node in self.nodes.values()], np.intp)
        estimates = self._answering.moderator.judge.estimates.of(slots)
        return [
            node.status(estimate)
            for node, estimate in zip(self.nodes.values(), estimates, strict=True)
        ]

    def quarantine(self, now: float, node_id: int, on: bool, reason: str) -> None:
        """Leave a node out until it is taken back in the same way, or take back one that was left
        out; `reason` is a line for people. VpError if the fleet has no such node."""
        node = self.nodes.get(node_id)
        if node is None:
            raise VpError(f"the fleet has no node {node_id}")
        if on:
            self._liveness.leave_out(now, node, Quarantine("operator", reason))
        elif node.quarantine is not None:
            self._answering.moderator.pardon(node)
            self._liveness.take_back(now, node, reason)
        self._drive(now)

    def quarantined(self) -> dict[int, str]:
        """The nodes that the operator left out, and why: to be kept between runs."""
        return {
            node.id: node.quarantine.reason
            for node in self.nodes.values()
            if node.quarantine is not None and node.quarantine.origin == "operator"
        }

    def reload(self, now: float, fleet: Fleet, highest: dict[int, int]) -> Changes:
        """Become the core of `fleet`, which `check_reload` found possible; see `reloading`.

        Nodes that are added or reached in another way need a `link_up`. `highest` is as in the
        constructor.
        """
        told = changes(self.fleet, fleet)
        tables = {table.id: table for table in fleet.nodes}
        gone = [self.nodes[node] for node in (*told.removed, *told.replaced)]
        for node in gone:
            stays = node.id in tables
            reason = "the fleet file says something else of it" if stays else "left the fleet file"
            self._liveness.drop(now, node, reason)
            self._gate.retire(node.slot)
        for node_id in told.moved:
            self._liveness.link_down(now, self.nodes[node_id], "the fleet file has another way")
        nodes = {table.id: self._reloaded(fleet, table, told, highest) for table in fleet.nodes}
        self.nodes.clear()
        self.nodes.update(nodes)
        self.fleet = fleet
        self._liveness.reload(now, fleet)
        self._roaming.reload(fleet)
        self._answering.reload(fleet, gone)
        self._drive(now)
        return told

    def _reloaded(
        self, fleet: Fleet, table: NodeTable, told: Changes, highest: dict[int, int]
    ) -> Node:
        """The node of a table: the one that there is, or a new one."""
        old = self.nodes.get(table.id)
        if old is None:
            return make_node(fleet, table, self._gate, highest.get(table.id))
        if table.id not in told.replaced:
            old.table, old.variant = table, fleet.variant_of(table)
            if table.id in told.moved:
                old.roamed_to = ""
                old.timing = make_timing(table)
            return old
        node = make_node(fleet, table, self._gate, old.highest_counter)
        # The board may be the same one, and remembers what it was sent.
        node.last_counter, node.newest_request = old.last_counter, old.newest_request
        node.reason = old.reason
        if old.quarantine is not None and old.quarantine.origin == "operator":
            node.quarantine = old.quarantine
        return node

    # What the driver reports.

    def link_up(self, now: float, node_id: int) -> None:
        """The way to a node is open."""
        self._liveness.link_up(now, self.nodes[node_id])
        self._drive(now)

    def link_down(self, now: float, node_id: int, reason: str) -> None:
        """The way to a node is closed, for `reason`."""
        self._liveness.link_down(now, self.nodes[node_id], reason)
        self._drive(now)

    def group_up(self) -> None:
        """The way to the multicast group is open."""
        self._sending.has_group = True

    def stream(self, now: float, node_id: int, data: bytes) -> None:
        """Bytes came over a node's serial line."""
        node = self.nodes[node_id]
        before = node.deframer.damaged
        frames = node.deframer.push(data)
        node.count("damaged", node.deframer.damaged - before)
        for message, wire_bytes in frames:
            self._take(now, node.slot, message, wire_bytes)
        self._drive(now)

    def datagram(
        self, now: float, node_id: int | None, data: bytes, source: Source | None = None
    ) -> None:
        """A datagram came from `source`, which is a node's address; None: no node's. Without a
        source it cannot be what shows that a node has moved."""
        slot = NOBODY if node_id is None else self.nodes[node_id].slot
        if source is not None and self._is_hello_of_another(node_id, data):
            self._stranger(now, Record(slot, False, data, len(data), source))
        else:
            self._take(now, slot, data, len(data))
        self._drive(now)

    def _is_hello_of_another(self, node_id: int | None, data: bytes) -> bool:
        """Whether a message looks like a HELLO of this fleet, and not of this node."""
        try:
            header = peek(data)
        except WireError:
            return False
        return (header.type, header.fleet) == (
            MessageType.HELLO,
            self.fleet.table.id,
        ) and header.node != node_id

    def receive(self, now: float, socket: int) -> int:
        """Take what waits at a UDP socket (a file descriptor), but no more than some batches.

        Datagrams taken, 0 if there were none; `gate.UNSUPPORTED` where sockets are read otherwise.
        """
        taken = 0
        for _ in range(_BATCHES):
            batch = self._gate.receive(socket, now)
            if batch == UNSUPPORTED:
                return batch
            self._act(now)
            taken += max(0, batch)
            if batch < BATCH:
                break
        if taken:
            self._drive(now)
        return taken

    def _take(self, now: float, slot: int, message: bytes, wire_bytes: int) -> None:
        self._gate.clear()
        self._gate.take(slot, message, wire_bytes, now)
        self._act(now)

    def _act(self, now: float) -> None:
        """Read what the gate left to be read, then take the votes that it put into ballots."""
        strangers = []
        for record in self._gate.records():
            if record.stranger is not None:
                strangers.append(record)
                continue
            node = self.nodes.get(self._gate.id_at(record.slot))
            if node is None:
                continue
            if record.stale:
                self._liveness.repeats(node)
            else:
                self._receive(now, node, record.message, record.wire_bytes)
        self._answering.voted()
        for record in strangers:
            self._stranger(now, record)

    def _stranger(self, now: float, record: Record) -> None:
        """What says that it is a node, from an address that is not its own."""
        node = self._roaming.hears(now, record)
        if node is None or record.stranger is None:
            return
        source = record.stranger
        before, node.roamed_to = node.address, str(source)
        if record.slot != NOBODY:
            self._gate.set_address(record.slot, None)
        self._gate.set_address(node.slot, source.host, source.port, source.scope)
        self.moves.append((node.id, source))
        self._liveness.link_up(now, node)
        self._sending.restart(now, node)
        self._take(now, node.slot, record.message, record.wire_bytes)
        if before != ANYWHERE:
            told = f"moved from {before} to {node.address}"
            self.events.append(NodeChanged(node.id, node.state, told))

    def _receive(self, now: float, node: Node, message: bytes, wire_bytes: int) -> None:
        header = peek(message)
        try:
            body = unpack(header.type, payload(message, header), self._gate.classes)
        except WireError:
            node.count("damaged")
            return
        if isinstance(body, Discover | Input | Trigger):
            node.count("foreign")
            return
        self._liveness.heard(now, node, header)
        if isinstance(body, Hello):
            self._liveness.hello(now, node, header.boot, body)
            return
        if isinstance(body, Fault):
            self._liveness.fault(node, body)
            return
        self._liveness.answered(now, node, header)
        if isinstance(body, Sack):
            self._sending.acknowledge(now, node, body, header.counter)
        elif isinstance(body, Prediction):
            self._answering.prediction(now, node, body, wire_bytes)
        elif isinstance(body, NodeError):
            self._answering.error(now, node, body)

    def submit(
        self,
        now: float,
        image: NDArray[np.uint8],
        k: int | None,
        deadline_s: float | None,
        label: int | None = None,
    ) -> Request:
        """Ask every live node about a uint8 image (H, W, C); `Answered` follows in `events`.

        k and the deadline (seconds from now) default to the fleet's; `label` is the right class,
        if known. VpError if they or the image's shape are impossible.
        """
        request = self._answering.submit(now, image, k, deadline_s, label)
        self._drive(now)
        return request

    def trigger(
        self,
        now: float,
        k: int | None,
        deadline_s: float | None,
        label: int | None = None,
    ) -> Request:
        """Have every live node that has an input source capture and answer; `Answered` follows.

        k, the deadline and `label` are as in `submit`. VpError if they are impossible, or if no
        node that was heard of has a source.
        """
        request = self._answering.trigger(now, k, deadline_s, label)
        self._drive(now)
        return request

    def cancel(self, request: Request) -> None:
        """Nobody waits for this request any more."""
        self._answering.cancel(request)

    def poll(self, now: float) -> None:
        """Do what has become due."""
        self._drive(now)

    def wake_at(self) -> float:
        """When `poll` has something to do, if nothing happens before (infinity: never)."""
        return min(self._answering.wake_at(), self._sending.wake_at(), self._liveness.wake_at())

    def _drive(self, now: float) -> None:
        self._liveness.watch(now)
        while True:
            if self._liveness.states_changed:
                self._liveness.states_changed = False
                self._answering.states_changed()
            self._answering.conclude(now)
            # An answer can leave nodes out or take them back.
            if not self._liveness.states_changed:
                break
        self._sending.drive(now)
