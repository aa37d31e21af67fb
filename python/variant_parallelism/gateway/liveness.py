"""Which nodes are alive: what their HELLOs, faults and silence mean, and when they are called."""

from __future__ import annotations

from collections import deque

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.alarms import Alarms
from variant_parallelism.gateway.judging.quarantine import Quarantine
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.recovery import BootRecovery, silence_warning, stale_warning
from variant_parallelism.gateway.requests import RequestBook
from variant_parallelism.gateway.roster import SILENT_PERIODS, Node, objection
from variant_parallelism.gateway.sending import Sending
from variant_parallelism.gateway.types import Event, Faulted, NodeChanged, State, Warned
from variant_parallelism.wire import Deframer, Fault, Header, Hello

_DISCOVER_GAP_S = 0.1


class Liveness:
    """The states of a fleet's nodes. `events` and `out` take what follows from a change."""

    def __init__(
        self,
        fleet: Fleet,
        nodes: dict[int, Node],
        out: Outbound,
        book: RequestBook,
        sending: Sending,
        events: deque[Event],
    ) -> None:
        self._fleet = fleet
        self._nodes = nodes
        self._out = out
        self._book = book
        self._sending = sending
        self._events = events
        self._hello_s = fleet.table.hello_ms / 1000
        self._alarms: Alarms[Node] = Alarms()
        self._touched: dict[Node, None] = {}
        """Nodes that there may be something to do for."""
        self._watched_at = 0.0
        self.states_changed = False
        """Whether other nodes take part than when this was last set to False."""
        self.recovery = BootRecovery(out, nodes.values())

    # What is heard of a node.

    def link_up(self, now: float, node: Node) -> None:
        """The way to a node is open."""
        node.linked = True
        node.linked_at = now
        node.deframer = Deframer()
        node.next_discover = now
        self._touched[node] = None

    def link_down(self, now: float, node: Node, reason: str) -> None:
        """The way to a node is closed, for `reason`."""
        node.linked = False
        self.set_state(now, node, "dead", reason)

    def heard(self, now: float, node: Node, header: Header) -> None:
        """A node's authentic, new message has this header."""
        node.heard(now)
        if header.boot != node.hello_boot:
            node.unannounced = True
            node.next_discover = min(node.next_discover, node.last_discover + _DISCOVER_GAP_S)
            node.publish()
            self._touched[node] = None

    def repeats(self, node: Node) -> None:
        """A node repeated a counter."""
        self._touched[node] = None

    def drop(self, now: float, node: Node, reason: str) -> None:
        """A node is of the fleet no more, for `reason`."""
        self.link_down(now, node, reason)
        self._alarms.forget(node)
        self._touched.pop(node, None)

    def reload(self, now: float, fleet: Fleet) -> None:
        """Judge the nodes by `fleet` from here on."""
        self._fleet = fleet
        self._hello_s = fleet.table.hello_ms / 1000
        self._touched.update(dict.fromkeys(self._nodes.values()))

    def answered(self, now: float, node: Node, header: Header) -> None:
        """The message answers one of ours: the node listens."""
        if node.state == "dead" and node.hello is not None and not node.unannounced:
            self._greet(now, node, header.boot, node.hello)
        self.recovery.answered(node)

    def hello(self, now: float, node: Node, boot: int, hello: Hello) -> None:
        """A node announced itself, in a message of this boot counter."""
        self.after_jump(now, *self.recovery.hello(node, hello, boot == node.hello_boot))
        self._greet(now, node, boot, hello)

    def fault(self, node: Node, fault: Fault) -> None:
        """A fault counts for the run whose HELLO was heard: the node tells it again after each."""
        if node.unannounced or node.fault == fault:
            return
        node.fault = fault
        self._events.append(Faulted(node.id, node.table.board, fault))

    def superseded(self, now: float, node: Node) -> bool:
        """A node knows newer requests than the newest; whether it may listen from now on."""
        again, warning = self.recovery.superseded(node)
        self.after_jump(now, again, warning)
        return again

    def _greet(self, now: float, node: Node, boot: int, hello: Hello) -> None:
        restarted = (
            node.alive
            and node.hello is not None
            and boot != node.hello_boot
            and hello.uptime_ms < node.hello.uptime_ms
        )
        if boot != node.hello_boot:
            self._sending.restart(now, node)
        if node.hello is not None and boot != node.hello_boot:
            if hello.uptime_ms < node.hello.uptime_ms:
                node.fault, node.fault_questions = None, 0
        elif node.wants_fault(now, self._hello_s):
            node.fault_questions += 1
            node.last_discover = now
            self._out.discover(node)
        known = node.alive and not node.unannounced and boot == node.hello_boot
        known = known and node.admitted_to is self._fleet and _is_same_node(node.hello, hello)
        node.hello, node.hello_boot, node.unannounced = hello, boot, False
        if known:
            # A heartbeat: of a thousand nodes there are a thousand a second.
            return
        against = objection(self._fleet, node, hello)
        if against is not None:
            self.set_state(now, node, "refused", against)
            return
        if restarted:
            cause = f"restarted (cause: {hello.reset_cause.name.lower()})"
            self._events.append(NodeChanged(node.id, node.state, cause))
        node.admitted_to = self._fleet
        self._admit(now, node)

    def _admit(self, now: float, node: Node, news: str | None = None) -> None:
        """A node that may be asked is up, or in quarantine; `news` says why, if not its HELLO."""
        if node.quarantine is not None:
            self.set_state(now, node, "quarantined", node.quarantine.reason)
        elif node.hello is not None:
            major, minor, patch = node.hello.firmware
            text = f"{node.hello.board}, firmware {major}.{minor}.{patch}"
            self.set_state(now, node, "up", text, news)

    def leave_out(self, now: float, node: Node, quarantine: Quarantine) -> None:
        """A node's votes count no more, whether it is alive or not."""
        node.quarantine = quarantine
        node.publish()
        if node.alive:
            self._admit(now, node)

    def take_back(self, now: float, node: Node, reason: str) -> None:
        """A node's votes count again, for `reason`."""
        node.quarantine = None
        node.publish()
        if node.alive:
            self._admit(now, node, reason)

    def after_jump(self, now: float, jumped: bool, warning: str | None) -> None:
        """Our boot counter may have jumped: everything goes out anew then."""
        if warning is not None:
            self._events.append(Warned(warning))
        if jumped:
            for request in self._book.open.values():
                request.encoded.clear()
            for other in self._nodes.values():
                self._sending.restart(now, other)

    # States.

    def set_state(
        self, now: float, node: Node, state: State, reason: str, news: str | None = None
    ) -> None:
        """A node is in this state now, for a reason to tell people, or with these `news`."""
        changed = (node.state, node.reason) != (state, reason)
        was_alive, entered = node.alive, node.state != state
        node.state, node.reason = state, reason
        node.publish()
        self._touched[node] = None
        self.states_changed |= entered
        if changed:
            self._events.append(NodeChanged(node.id, state, news or reason))
        if node.alive:
            if not was_alive:
                self._sending.ask_again(node)
            return
        if entered:
            node.next_discover = now
            self._sending.drop(node)

    def watch(self, now: float) -> None:
        """Deaths by silence, and calls to the nodes that are not up."""
        self._watched_at = now
        touched, self._touched = self._touched, {}
        touched.update(dict.fromkeys(self._alarms.due(now)))
        for node in touched:
            self._look_after(now, node)
        # A death has touched its node once more.
        touched.update(self._touched)
        self._touched = {}
        for node in touched:
            self._alarms.set(node, self._next_look(now, node))

    def _look_after(self, now: float, node: Node) -> None:
        silence = SILENT_PERIODS * self._hello_s
        if node.announced and node.is_silent(now, self._hello_s):
            self.set_state(now, node, "dead", f"silent for {silence:g} s")
        for warning in (stale_warning(node), silence_warning(node, now, self._hello_s)):
            if warning is not None:
                self._events.append(Warned(warning))
        if node.wants_hello and now >= node.next_discover:
            node.last_discover = now
            node.next_discover = now + self._hello_s
            self._out.discover(node)

    def _next_look(self, now: float, node: Node) -> float:
        times = [node.linked_at + SILENT_PERIODS * self._hello_s]
        if node.announced:
            times.append(node.silent_at(self._hello_s))
        if node.wants_hello:
            times.append(node.next_discover)
        return min((time for time in times if time > now), default=float("inf"))

    def wake_at(self) -> float:
        """When `watch` has something to do, if nothing is heard before."""
        return self._watched_at if self._touched else self._alarms.wake_at()


def _is_same_node(before: Hello | None, now: Hello) -> bool:
    """Whether two HELLOs differ in counts and times alone."""
    return before is not None and (
        before.model_hash,
        before.classes,
        before.channels,
        before.capacity,
        before.firmware,
        before.board,
        before.multicast,
        before.sensor,
    ) == (
        now.model_hash,
        now.classes,
        now.channels,
        now.capacity,
        now.firmware,
        now.board,
        now.multicast,
        now.sensor,
    )
