"""The fleet's nodes: who they say they are, whether they are alive, what may be asked of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway.dispatch import Timing, Transfer
from variant_parallelism.gateway.gate import Gate
from variant_parallelism.gateway.judging.quarantine import Quarantine
from variant_parallelism.gateway.requests import Request
from variant_parallelism.gateway.types import Counters, NodeEstimate, NodeStatus, State
from variant_parallelism.keys import node_key
from variant_parallelism.manifest import VariantInfo
from variant_parallelism.wire import Deframer, Fault, Hello, ResetCause

SILENT_PERIODS = 3
"""Heartbeat periods without a word after which a node counts as dead."""
_DOUBT_PERIODS = 0.5
"""What is left of them when silence is noticed: see `Node.is_silent`."""
_LATE_PERIODS = 1.5
"""The same if it is noticed late."""
_FAULT_QUESTIONS = 3
"""Most questions for a fault that a node may have forgotten."""


@dataclass(slots=True, eq=False)
class Node:
    """What the gateway knows of one node. Only the core changes it.

    What a vote changes is in the gate, at `slot`: C does it. After a change of what the gate goes
    by, `publish` tells it.
    """

    table: NodeTable
    variant: VariantInfo
    gate: Gate
    slot: int
    timing: Timing
    state: State = "unknown"
    reason: str = "not heard of yet"
    linked: bool = False
    roamed_to: str = ""
    """Its address, if that is another than the fleet file's."""
    linked_at: float = 0.0
    silence_told: bool = False
    doubted_at: float = float("-inf")
    """When its silence was noticed last."""
    doubt_periods: float = _DOUBT_PERIODS
    """For how long it is doubted from then on."""
    hello: Hello | None = None
    admitted_to: Fleet | None = None
    """The fleet that last found nothing against what it says of itself."""
    hello_boot: int = -1
    fault: Fault | None = None
    """What reset it before its present run, if it said so."""
    fault_questions: int = 0
    """How often it was asked for that."""
    unannounced: bool = True
    """Whether its present boot has not been seen in a HELLO."""
    last_discover: float = float("-inf")
    next_discover: float = 0.0
    rejected_before: int | None = None
    """What its first HELLO since it last answered said of messages rejected."""
    jumped_at: int = 0
    """Messages that had been sent to it when the boot counter last jumped."""
    stale_told: bool = False
    deframer: Deframer = field(default_factory=Deframer)
    queue: deque[Request] = field(default_factory=deque)
    request: Request | None = None
    transfer: Transfer | None = None
    quarantine: Quarantine | None = None
    """Why its votes do not count, if they do not."""
    quarantines: int = 0
    """How often it was left out by itself, in this run."""

    @property
    def id(self) -> int:
        return self.table.id

    @property
    def address(self) -> str:
        """Where it is reached."""
        return self.roamed_to or self.table.port or ""

    @property
    def serial(self) -> bool:
        """Whether its messages are framed, on a line of its own."""
        return self.table.serial is not None

    @property
    def alive(self) -> bool:
        """Whether it may be asked."""
        return self.state in ("up", "quarantined")

    @property
    def announced(self) -> bool:
        """Whether it is alive, though it may not take part."""
        return self.alive or self.state == "refused"

    @property
    def wants_hello(self) -> bool:
        return self.linked and (not self.alive or self.unannounced)

    @property
    def _gated(self) -> Any:
        return self.gate.node(self.slot)

    def publish(self) -> None:
        """Tell the gate all that it goes by: the node's state, abilities and work."""
        gated = self._gated
        gated.boot = self.hello_boot
        gated.alive = self.alive
        gated.open = self.alive and not self.unannounced
        gated.awaited = self.state == "up"
        gated.quarantined = self.quarantine is not None
        gated.hears = self.alive and self.listens
        gated.source = self.has_source
        self.gate.changed()
        self.publish_work()

    def publish_work(self) -> None:
        """Tell the gate whether an image is on its way to it, or waits for it."""
        self._gated.engaged = self.request is not None or bool(self.queue)

    @property
    def last_counter(self) -> int:
        """Highest counter sent to this node: it refuses messages that fall far behind."""
        return int(self._gated.last_counter)

    @last_counter.setter
    def last_counter(self, counter: int) -> None:
        self._gated.last_counter = counter

    @property
    def newest_request(self) -> int | None:
        """Number of the request begun last: the node takes no older one."""
        number = int(self._gated.newest)
        return None if number < 0 else number

    @newest_request.setter
    def newest_request(self, number: int | None) -> None:
        self._gated.newest = -1 if number is None else number

    @property
    def begun_boot(self) -> int:
        """This gateway's boot counter when it began that request."""
        return int(self._gated.begun_boot)

    @begun_boot.setter
    def begun_boot(self, boot: int) -> None:
        self._gated.begun_boot = boot

    @property
    def doubted(self) -> int:
        """Requests left for which multicast does not wait for it: it did not get one that way."""
        return int(self._gated.doubted)

    @doubted.setter
    def doubted(self, requests: int) -> None:
        self._gated.doubted = requests

    @property
    def listens(self) -> bool:
        """Whether it, alive or not, has announced that it listens to the group."""
        return not self.serial and self.hello is not None and self.hello.multicast

    @property
    def has_source(self) -> bool:
        """Whether it has announced an input source of its own."""
        return self.hello is not None and self.hello.sensor

    @property
    def last_seen(self) -> float:
        return float(self._gated.last_seen)

    def heard(self, now: float) -> None:
        """It said something."""
        self._gated.last_seen = now

    @property
    def stale(self) -> int:
        """Replayed messages since the last accepted one."""
        return int(self._gated.stale)

    @property
    def highest_counter(self) -> int:
        """The highest counter accepted of it."""
        return int(self._gated.replay.highest)

    @property
    def answered_at(self) -> int:
        """Messages that had been sent to it when it last answered one, or when the next HELLO
        came."""
        return int(self._gated.answered_at)

    def mark_answered(self) -> None:
        """It answered everything that was sent to it up to now, as far as is known."""
        self._gated.answered_at = self.counted("messages_out")
        self._gated.answered = 0

    def take_votes(self) -> bool:
        """Whether it has voted since this was asked last, or since `mark_answered`."""
        voted = bool(self._gated.answered)
        self._gated.answered = 0
        return voted

    def _is_doubted(self) -> bool:
        return self.doubted_at > self.last_seen

    def silent_at(self, hello_s: float) -> float:
        """When to ask `is_silent` next, if nothing is heard before; `hello_s` is the heartbeat."""
        end = self.last_seen + SILENT_PERIODS * hello_s
        if self._is_doubted():
            return max(end, self.doubted_at + self.doubt_periods * hello_s)
        return end - _DOUBT_PERIODS * hello_s

    def is_silent(self, now: float, hello_s: float) -> bool:
        """Whether it has been silent for too long.

        A gateway that did not run for a while (a busy machine, Ctrl-Z) finds every node silent, and
        their words still unread. So silence is noticed first, half a period before its time is
        over, and half a period is left from there. If it is noticed late, the nodes may have been
        asleep as well, and each has the time for one more heartbeat.
        """
        if not self._is_doubted() and now >= (doubt_at := self.silent_at(hello_s)):
            late = now > doubt_at + _DOUBT_PERIODS * hello_s
            self.doubt_periods = _LATE_PERIODS if late else _DOUBT_PERIODS
            self.doubted_at = now
        return self._is_doubted() and now >= self.silent_at(hello_s)

    def wants_fault(self, now: float, hello_s: float) -> bool:
        """Whether to ask for the FAULT that its HELLO lets expect: it follows, but may be lost.

        After the watchdog's reset there is one only on boards whose watchdog warns before.
        """
        return (
            self.hello is not None
            and self.hello.reset_cause in (ResetCause.FAULT, ResetCause.WATCHDOG)
            and self.fault is None
            and self.fault_questions < _FAULT_QUESTIONS
            and now >= self.last_discover + hello_s / 2
        )

    def count(self, name: str, amount: int = 1) -> None:
        """Add to one of the node's counters and to the fleet's."""
        self.gate.count(self.slot, name, amount)

    def counted(self, name: str) -> int:
        """One of its counters."""
        return self.gate.counted(self.slot, name)

    @property
    def counters(self) -> Counters:
        """Its counters as they are now."""
        return self.gate.counters(self.slot)

    def status(self, estimate: NodeEstimate | None = None) -> NodeStatus:
        """The node as callers see it, with what is estimated of it."""
        return NodeStatus(
            self.id,
            self.variant.name,
            self.table.board,
            "serial" if self.serial else "udp",
            self.address,
            self.state,
            self.reason,
            self.hello,
            None if self.hello is None else self.hello_boot,
            self.counters,
            self.fault,
            estimate,
        )


def make_timing(table: NodeTable) -> Timing:
    """What is known of the way to a node before anything was sent."""
    return Timing(table.baud if table.serial is not None else None)


def make_node(fleet: Fleet, table: NodeTable, gate: Gate, highest: int | None) -> Node:
    """One node of a fleet, new to the gate.

    `highest` is its message counter remembered from earlier runs.
    """
    key = None if fleet.key is None else node_key(fleet.key, fleet.table.id, table.id)
    return Node(
        table,
        fleet.variant_of(table),
        gate,
        gate.add(table.id, fleet.variant_of(table).name, key, highest),
        make_timing(table),
    )


def make_nodes(fleet: Fleet, gate: Gate, highest: dict[int, int]) -> dict[int, Node]:
    """The nodes of a fleet by id; their slots are the rows of `fleet.nodes`, if the gate is new.

    `highest` are the message counters remembered from earlier runs.
    """
    return {table.id: make_node(fleet, table, gate, highest.get(table.id)) for table in fleet.nodes}


def objection(fleet: Fleet, node: Node, hello: Hello) -> str | None:
    """Why a node that says `hello` cannot take part in this fleet, or None."""
    if hello.model_hash != node.variant.hash:
        for variant in fleet.manifest.variants:
            if variant.hash == hello.model_hash:
                return f"it runs {variant.name} but the fleet file says {node.variant.name}"
        return f"its model {hello.model_hash} is not in {fleet.table.manifest}"
    if hello.classes != len(fleet.manifest.classes):
        return f"it has {hello.classes} classes, the fleet {len(fleet.manifest.classes)}"
    if hello.channels != fleet.manifest.input.channels:
        return f"it takes {hello.channels} channels, the fleet has {fleet.manifest.input.channels}"
    if hello.capacity < fleet.manifest.input.size:
        return f"it holds images of {hello.capacity} bytes, not {fleet.manifest.input.size}"
    return None
