"""The fleet's nodes: who they say they are, whether they are alive, what may be asked of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway.dispatch import Timing, Transfer
from variant_parallelism.gateway.judging.quarantine import Quarantine
from variant_parallelism.gateway.requests import Request
from variant_parallelism.gateway.types import Counters, NodeStatus, State
from variant_parallelism.keys import node_key
from variant_parallelism.manifest import VariantInfo
from variant_parallelism.wire import Deframer, Fault, Hello, ReplayWindow, ResetCause

SILENT_PERIODS = 3
"""Heartbeat periods without a word after which a node counts as dead."""
_DOUBT_PERIODS = 0.5
"""What is left of them when silence is noticed: see `Node.is_silent`."""
_FAULT_QUESTIONS = 3
"""Most questions for a fault that a node may have forgotten."""


@dataclass(slots=True)
class Node:
    """What the gateway knows of one node. Only the core changes it."""

    table: NodeTable
    variant: VariantInfo
    key: bytes | None
    replay: ReplayWindow
    timing: Timing
    fleet_counters: Counters
    state: State = "unknown"
    reason: str = "not heard of yet"
    linked: bool = False
    linked_at: float = 0.0
    silence_told: bool = False
    last_seen: float = 0.0
    doubted_at: float | None = None
    """When its silence was noticed, if it has said nothing since."""
    hello: Hello | None = None
    hello_boot: int = -1
    fault: Fault | None = None
    """What reset it before its present run, if it said so."""
    fault_questions: int = 0
    """How often it was asked for that."""
    unannounced: bool = True
    """Whether its present boot has not been seen in a HELLO."""
    last_discover: float = float("-inf")
    next_discover: float = 0.0
    last_counter: int = -1
    """Highest counter sent to this node: it refuses messages that fall far behind."""
    newest_request: int | None = None
    """Number of the request begun last: the node takes no older one."""
    doubted: int = 0
    """Images left for which multicast does not wait for it: it did not get one that way."""
    begun_boot: int = -1
    """This gateway's boot counter when it began that request."""
    answered_at: int = 0
    """Messages that had been sent to it when it last answered one, or when the next HELLO came."""
    rejected_before: int | None = None
    """What its first HELLO since it last answered said of messages rejected."""
    jumped_at: int = 0
    """Messages that had been sent to it when the boot counter last jumped."""
    stale: int = 0
    """Replayed messages since the last accepted one."""
    stale_told: bool = False
    deframer: Deframer = field(default_factory=Deframer)
    queue: deque[Request] = field(default_factory=deque)
    request: Request | None = None
    transfer: Transfer | None = None
    counters: Counters = field(default_factory=Counters)
    quarantine: Quarantine | None = None
    """Why its votes do not count, if they do not."""
    quarantines: int = 0
    """How often it was left out by itself, in this run."""

    @property
    def id(self) -> int:
        return self.table.id

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

    def heard(self, now: float) -> None:
        """It said something."""
        self.last_seen = now
        self.doubted_at = None

    def silent_at(self, hello_s: float) -> float:
        """When to ask `is_silent` next, if nothing is heard before; `hello_s` is the heartbeat."""
        end = self.last_seen + SILENT_PERIODS * hello_s
        doubt_s = _DOUBT_PERIODS * hello_s
        return end - doubt_s if self.doubted_at is None else max(end, self.doubted_at + doubt_s)

    def is_silent(self, now: float, hello_s: float) -> bool:
        """Whether it has been silent for too long.

        A gateway that did not run for a while (a busy machine, Ctrl-Z) finds every node silent, and
        their words still unread. So silence is noticed first, half a period before its time is
        over, and half a period is left from there, however late that was.
        """
        if self.doubted_at is None and now >= self.silent_at(hello_s):
            self.doubted_at = now
        return self.doubted_at is not None and now >= self.silent_at(hello_s)

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
        self.counters.add(name, amount)
        self.fleet_counters.add(name, amount)

    def status(self) -> NodeStatus:
        return NodeStatus(
            self.id,
            self.variant.name,
            self.table.board,
            "serial" if self.serial else "udp",
            self.table.port or "",
            self.state,
            self.reason,
            self.hello,
            None if self.hello is None else self.hello_boot,
            replace(self.counters),
            self.fault,
        )


def make_nodes(fleet: Fleet, highest: dict[int, int], counters: Counters) -> dict[int, Node]:
    """The nodes of a fleet by id.

    `highest` are the message counters remembered from earlier runs, `counters` the fleet's.
    """
    nodes = {}
    for table in fleet.nodes:
        key = None if fleet.key is None else node_key(fleet.key, fleet.table.id, table.id)
        nodes[table.id] = Node(
            table,
            fleet.variant_of(table),
            key,
            ReplayWindow(highest.get(table.id)),
            Timing(table.baud if table.serial is not None else None),
            counters,
        )
    return nodes


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
