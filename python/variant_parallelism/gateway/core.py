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
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.inbound import Inbound, stale_warning
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.recovery import BootRecovery, silence_warning
from variant_parallelism.gateway.requests import Request, RequestBook, check, conclude
from variant_parallelism.gateway.roster import SILENT_PERIODS, Node, make_nodes, objection
from variant_parallelism.gateway.sending import Sending
from variant_parallelism.gateway.types import (
    Answered,
    Counters,
    Event,
    Faulted,
    NodeChanged,
    State,
    Vote,
    Warned,
)
from variant_parallelism.wire import (
    Deframer,
    ErrorCode,
    Fault,
    Hello,
    NodeError,
    Prediction,
    Sack,
)

_DISCOVER_GAP_S = 0.1


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
        self.counters = Counters()
        self.nodes = make_nodes(fleet, highest or {}, self.counters)
        self.events: deque[Event] = deque()
        self._out = Outbound(fleet, boot, self.counters, on_boot)
        self._book = RequestBook(boot << 8 if first_request is None else first_request)
        self._hello_s = fleet.table.hello_ms / 1000
        self._sending = Sending(self.nodes, self._out, self._book)
        self._inbound = Inbound(fleet, self.nodes, self.counters)
        self._recovery = BootRecovery(self._out, self.nodes.values())

    @property
    def outbox(self) -> deque[tuple[int | None, bytes]]:
        """(node id, bytes for its link), in the order to send: frames or datagrams; None for the
        id of a datagram to the multicast group."""
        return self._out.outbox

    def highest_counters(self) -> dict[int, int]:
        """The highest counter accepted of each node that was heard, to be kept between runs."""
        return {node.id: node.replay.highest for node in self.nodes.values() if node.replay.highest}

    # What the driver reports.

    def link_up(self, now: float, node_id: int) -> None:
        """The way to a node is open."""
        node = self.nodes[node_id]
        node.linked = True
        node.linked_at = now
        node.deframer = Deframer()
        node.next_discover = now
        self._drive(now)

    def link_down(self, now: float, node_id: int, reason: str) -> None:
        """The way to a node is closed, for `reason`."""
        node = self.nodes[node_id]
        node.linked = False
        self._set_state(now, node, "dead", reason)
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
            self._receive(now, node_id, message, wire_bytes)
        self._drive(now)

    def datagram(self, now: float, node_id: int | None, data: bytes) -> None:
        """A datagram came from a node's address; None: from an address that is no node's."""
        self._receive(now, node_id, data, len(data))
        self._drive(now)

    def _receive(self, now: float, node_id: int | None, message: bytes, wire_bytes: int) -> None:
        taken = self._inbound.take(node_id, message, wire_bytes)
        if taken is None:
            return
        node, header, body = taken
        node.heard(now)
        node.stale_told = False
        if header.boot != node.hello_boot:
            node.unannounced = True
            node.next_discover = min(node.next_discover, node.last_discover + _DISCOVER_GAP_S)
        if isinstance(body, Hello):
            self._recover(now, node, header.boot, body)
            self._hello(now, node, header.boot, body)
            return
        if isinstance(body, Fault):
            self._fault(node, body)
            return
        if node.state == "dead" and node.hello is not None and not node.unannounced:
            self._hello(now, node, header.boot, node.hello)
        self._recovery.answered(node)
        if isinstance(body, Sack):
            if node.transfer and node.request and node.request.number(node.id) == body.request:
                node.transfer.acknowledge(body, header.counter, now)
        elif isinstance(body, Prediction):
            self._prediction(now, node, body, wire_bytes)
        elif isinstance(body, NodeError):
            self._error(now, node, body)

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
        k = self.fleet.table.k if k is None else k
        if deadline_s is None:
            deadline_s = self.fleet.table.deadline_ms / 1000
        check(self.fleet, image, k, deadline_s)
        classes = len(self.fleet.manifest.classes)
        if label is not None and not 0 <= label < classes:
            raise VpError(f"label {label} is no class: the fleet has 0 to {classes - 1}")
        self._out.begin_request()
        request = self._book.add(image, k, now, now + deadline_s)
        request.label = label
        self.counters.requests += 1
        for node in self.nodes.values():
            if node.state == "up":
                self._sending.ask(node, request)
        self._drive(now)
        return request

    def cancel(self, request: Request) -> None:
        """Nobody waits for this request any more."""
        if self._book.open.get(request.id) is request:
            self._forget(request)

    def poll(self, now: float) -> None:
        """Do what has become due."""
        self._drive(now)

    def wake_at(self) -> float:
        """When `poll` has something to do, if nothing happens before (infinity: never)."""
        times = [request.deadline for request in self._book.open.values()]
        times.append(self._sending.wake_at())
        for node in self.nodes.values():
            if node.state in ("up", "refused"):
                times.append(node.silent_at(self._hello_s))
            if node.wants_hello:
                times.append(node.next_discover)
        return min(times, default=float("inf"))

    # Nodes.

    def _hello(self, now: float, node: Node, boot: int, hello: Hello) -> None:
        restarted = (
            node.state == "up"
            and node.hello is not None
            and boot != node.hello_boot
            and hello.uptime_ms < node.hello.uptime_ms
        )
        if node.transfer is not None and boot != node.hello_boot:
            node.transfer.restart(now)
        if node.hello is not None and boot != node.hello_boot:
            if hello.uptime_ms < node.hello.uptime_ms:
                node.fault, node.fault_questions = None, 0
        elif node.wants_fault(now, self._hello_s):
            node.fault_questions += 1
            node.last_discover = now
            self._out.discover(node)
        node.hello, node.hello_boot, node.unannounced = hello, boot, False
        against = objection(self.fleet, node, hello)
        if against is not None:
            self._set_state(now, node, "refused", against)
            return
        if restarted:
            cause = f"restarted (cause: {hello.reset_cause.name.lower()})"
            self.events.append(NodeChanged(node.id, "up", cause))
        major, minor, patch = hello.firmware
        self._set_state(now, node, "up", f"{hello.board}, firmware {major}.{minor}.{patch}")

    def _fault(self, node: Node, fault: Fault) -> None:
        """A fault counts for the run whose HELLO was heard: the node tells it again after each."""
        if node.unannounced or node.fault == fault:
            return
        node.fault = fault
        self.events.append(Faulted(node.id, node.table.board, fault))

    def _recover(self, now: float, node: Node, boot: int, hello: Hello) -> None:
        self._after_jump(now, *self._recovery.hello(node, hello, boot == node.hello_boot))

    def _after_jump(self, now: float, jumped: bool, warning: str | None) -> None:
        if warning is not None:
            self.events.append(Warned(warning))
        if jumped:
            for request in self._book.open.values():
                request.encoded.clear()
            for other in self.nodes.values():
                if other.transfer is not None:
                    other.transfer.restart(now)

    def _set_state(self, now: float, node: Node, state: State, reason: str) -> None:
        changed = (node.state, node.reason) != (state, reason)
        entered, node.state, node.reason = node.state != state, state, reason
        if changed:
            self.events.append(NodeChanged(node.id, state, reason))
        if state == "up":
            if entered:
                self._sending.ask_again(node)
            return
        if entered:
            node.next_discover = now
            self._sending.release(node)
            node.queue.clear()

    def _watch(self, now: float) -> None:
        """Deaths by silence, and calls to the nodes that are not up."""
        for node in self.nodes.values():
            silence = SILENT_PERIODS * self._hello_s
            if node.state in ("up", "refused") and node.is_silent(now, self._hello_s):
                self._set_state(now, node, "dead", f"silent for {silence:g} s")
            for warning in (stale_warning(node), silence_warning(node, now, self._hello_s)):
                if warning is not None:
                    self.events.append(Warned(warning))
            if node.wants_hello and now >= node.next_discover:
                node.last_discover = now
                node.next_discover = now + self._hello_s
                self._out.discover(node)

    # Requests.

    def _prediction(self, now: float, node: Node, prediction: Prediction, wire_bytes: int) -> None:
        if node.state == "refused" or node.unannounced:
            node.count("refused")
            return
        request = self._book.find(prediction.request)
        if request is None or node.id not in request.asked:
            ended = self._book.ended(prediction.request)
            if ended is None or node.id not in ended.asked:
                node.count("foreign")
            else:
                node.count("duplicate" if node.id in ended.votes else "late")
            return
        if node.id in request.votes:
            node.count("duplicate")
            return
        if len(prediction.entries) != request.k:
            node.count("foreign")
            return
        sent = request.first_sent.get(node.id, request.started)
        request.errors.pop(node.id, None)
        request.votes[node.id] = Vote(
            node.id,
            node.variant.name,
            prediction.entries,
            (now - sent) * 1000,
            prediction.time_ms,
            wire_bytes,
        )
        node.counters.answers += 1
        node.timing.sample_answer(prediction.time_ms / 1000)
        if node.request is request:
            self._sending.release(node)

    def _error(self, now: float, node: Node, error: NodeError) -> None:
        request = self._book.find(error.request)
        if (
            request is None
            or node.id not in request.asked
            or request.settled(node.id)
            or request.number(node.id) != error.request
        ):
            node.count("late")
            return
        node.count("errors")
        working = node.request is request
        if working:
            self._sending.release(node)
        again = error.code is ErrorCode.SUPERSEDED
        if again and node.id not in request.numbers:
            self._sending.renumber(node, request)
        elif again and node.begun_boot == self._out.boot:
            again, warning = self._recovery.superseded(node)
            self._after_jump(now, again, warning)
        if not again:
            request.errors[node.id] = error.code.text
        elif working:
            self._sending.ask(node, request)

    def _conclude(self, now: float) -> None:
        for request in list(self._book.open.values()):
            live = [node for node in request.asked if self.nodes[node].state == "up"]
            settled = bool(live) or bool(request.votes)
            if (settled and all(request.settled(node) for node in live)) or now >= request.deadline:
                self._finish(now, request)

    def _finish(self, now: float, request: Request) -> None:
        if request.votes:
            self.counters.answers += 1
        else:
            self.counters.lost += 1
        for node in request.asked - request.votes.keys():
            self.nodes[node].counters.lost += 1
        image = np.frombuffer(request.data, np.uint8).reshape(request.shape)
        self.events.append(Answered(conclude(self.fleet, request, now), image))
        self._forget(request)

    def _forget(self, request: Request) -> None:
        self._book.end(request)
        self._sending.forget(request)

    def _drive(self, now: float) -> None:
        self._watch(now)
        self._sending.ask_others()
        self._conclude(now)
        self._sending.drive(now)
