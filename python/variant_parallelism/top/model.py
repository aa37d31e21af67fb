"""What `vp top` knows: filled from polls and events, no I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from variant_parallelism.api import (
    AnswerEvent,
    Event,
    FleetCounters,
    FleetInfo,
    Node,
    NodeEvent,
    SkippedEvent,
)

Sort: TypeAlias = Literal["node", "state", "latency", "agreement"]
SORTS: tuple[Sort, ...] = get_args(Sort)

_KEPT_ANSWERS = 64
_RATE_S = 7.0
_URGENCY = ("dead", "refused", "unknown", "quarantined", "late", "up")


@dataclass(frozen=True, slots=True)
class Polled:
    """One round of questions: the fleet, its nodes, its counters, the last ten minutes."""

    fleet: FleetInfo
    nodes: list[Node]
    counters: FleetCounters
    history: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A node as it is shown. Shares between 0 and 1; None where nothing is known."""

    node: Node
    state: str
    agreement: float | None
    available: float | None


@dataclass
class Model:
    """The fleet as last heard of. Times in seconds on any clock that only rises."""

    polled: Polled | None = None
    trouble: str | None = None
    """Why there is no connection."""
    news: str = ""
    answers: deque[AnswerEvent] = field(default_factory=lambda: deque(maxlen=_KEPT_ANSWERS))
    """The newest first."""
    late: frozenset[int] = frozenset()
    sort: Sort = "node"
    _counts: deque[tuple[float, int]] = field(default_factory=deque)
    _heard: deque[tuple[float, int]] = field(default_factory=deque)

    def poll(self, polled: Polled, now: float) -> None:
        """Take what the gateway answered."""
        before, self.polled = self.polled, polled
        restarted = before is not None and before.fleet.started != polled.fleet.started
        if restarted:
            self._counts.clear()
            self.late = frozenset()
            self.news = "the gateway restarted"
        elif self.trouble is not None and before is not None:
            self.news = "connected again"
        self.trouble = None
        _recent(self._counts, now - _RATE_S)
        self._counts.append((now, polled.counters.answers))

    def lose(self, trouble: str) -> None:
        """The connection is gone."""
        self.trouble = trouble

    def hear(self, event: Event, now: float) -> None:
        """Take an event."""
        if isinstance(event, AnswerEvent):
            self.answers.appendleft(event)
            self.late = frozenset(event.missing) - frozenset(event.spared)
            self._heard.append((now, 1))
        elif isinstance(event, SkippedEvent):
            self._heard.append((now, event.count))
        elif isinstance(event, NodeEvent):
            self.news = f"node {event.node} ({event.variant}) {event.state}: {event.reason}"
            self._change(event)
        else:
            self.news = event.text
        _recent(self._heard, now - _RATE_S)

    def _change(self, event: NodeEvent) -> None:
        if self.polled is None:
            return
        change = {"state": event.state, "reason": event.reason}
        for place, node in enumerate(self.polled.nodes):
            if node.id == event.node:
                self.polled.nodes[place] = node.model_copy(update=change)

    @property
    def rate(self) -> float | None:
        """Answers a second over the last few polls."""
        if len(self._counts) < 2:
            return None
        (since, first), (until, last) = self._counts[0], self._counts[-1]
        return max(0, last - first) / (until - since) if until > since else None

    @property
    def sampled(self) -> bool:
        """Whether more answers came than were heard of."""
        return any(count > 1 for _, count in self._heard)

    def rows(self) -> list[Row]:
        """The nodes, sorted: by number, or what needs a look first."""
        if self.polled is None:
            return []
        seen = {node["id"]: node for node in self.polled.history["nodes"]}
        rows = [self._row(node, seen.get(node.id)) for node in self.polled.nodes]
        if self.sort == "state":
            rows.sort(key=lambda row: _URGENCY.index(row.state))
        elif self.sort == "latency":
            rows.sort(key=lambda row: -(latency_ms(row.node) or 0.0))
        elif self.sort == "agreement":
            rows.sort(key=lambda row: 2.0 if row.agreement is None else row.agreement)
        return rows

    def _row(self, node: Node, seen: dict[str, Any] | None) -> Row:
        state = "late" if node.state == "up" and node.id in self.late else node.state
        agreement = available = None
        if seen is not None:
            known = [share for share in seen["up"] if share is not None]
            available = sum(known) / len(known) / 100 if known else None
            if seen["votes"]:
                agreement = seen["agreed"] / seen["votes"]
        return Row(node, state, agreement, available)


def latency_ms(node: Node) -> float | None:
    """The median of a node's recent latencies, in milliseconds."""
    return None if node.estimate is None else node.estimate.latency_p50_ms


def _recent(entries: deque[tuple[float, int]], since: float) -> None:
    """Drop what is older, but for the newest of it."""
    while len(entries) > 1 and entries[1][0] <= since:
        entries.popleft()
