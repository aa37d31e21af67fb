"""The gateway's last day, in fixed-size rings of time buckets in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.gateway.types import Answered, Event, NodeChanged, NodeStatus, Vote
from variant_parallelism.gateway.votes import Votes
from variant_parallelism.gateway.web.errors import Problem, quoted
from variant_parallelism.gateway.web.rings import BINS, TOTALS, Ring, Rows, latency_bin, quantiles

BUCKET_S = 5
_AVAILABLE = ("up", "quarantined")

_MOST_WAITING = 256
_ANSWERED, _LOST, _LABELLED, _CORRECT = range(4)


class Observed(Protocol):
    """What of a gateway is recorded."""

    def nodes(self) -> list[NodeStatus]: ...
    def on_event(self, listener: Callable[[Event], None]) -> Callable[[], None]: ...


@dataclass(frozen=True, slots=True)
class Span:
    """A window of the past: `points` points, each `merge` buckets of a ring of `per` x 5 s."""

    per: int
    merge: int
    points: int

    @property
    def point_s(self) -> int:
        return BUCKET_S * self.per * self.merge


SPANS = {"10min": Span(1, 1, 120), "hour": Span(1, 6, 120), "day": Span(12, 10, 144)}


class History:
    """Counts of requests, latencies, votes and node states: 5 s apart for an hour, 60 s for a day.

    A context manager inside a running event loop; the gateway must run already. Buckets follow
    the monotonic clock, so a clock that is set does no harm; wall time only labels them. Time in
    which the machine slept is in no bucket.

    Memory is fixed: 2,160 buckets of 356 bytes, and 12 bytes in each for every node, so 0.8 MB
    and 26 KB a node: 13.7 MB for 500 nodes (`nbytes`).
    """

    def __init__(
        self,
        gateway: Observed,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`clock` and `wall` in seconds: the one that only rises, and Unix time."""
        self._gateway = gateway
        self._clock = clock
        self._wall = wall
        self._rings = {1: Ring(720), 12: Ring(1440)}
        self._columns: dict[int, int] = {}
        self._capacity = 0
        self._added = np.zeros(0)
        self._mark = np.zeros(0)
        self._is_up = np.zeros(0, bool)
        self._up_s = np.zeros(0)
        self._column_of = np.zeros(0, np.int32)
        self._votes = np.zeros(1, np.int64)
        self._agreed = np.zeros(1, np.int64)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.uint16], int]] = []
        self._totals = [0] * TOTALS
        self._latency = [0] * BINS
        self._forget: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> History:
        self._loop = asyncio.get_running_loop()
        self.begin()
        self._timer = self._loop.call_later(BUCKET_S, self._turn)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._forget is not None:
            self._forget()

    def begin(self) -> None:
        """Listen from now on; `roll` must then be called about once in 5 s."""
        self._started = self._clock()
        self._bucket = int(self._started // BUCKET_S)
        self._match_nodes()
        self._forget = self._gateway.on_event(self._listen)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(ring.nbytes for ring in self._rings.values())

    def roll(self) -> None:
        """Close the buckets whose time is over and take notice of nodes that came or went."""
        self._advance(self._clock())
        self._match_nodes()

    def _turn(self) -> None:
        self.roll()
        self._timer = self._loop.call_later(BUCKET_S, self._turn)

    # Recording.

    def _listen(self, event: Event) -> None:
        now = self._clock()
        if now >= (self._bucket + 1) * BUCKET_S:
            self._advance(now)
        if isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, NodeChanged):
            if event.node not in self._columns:
                self._match_nodes()
            column = self._columns.get(event.node)
            if column is not None:
                self._settle(column, now)
                self._is_up[column] = event.state in _AVAILABLE

    def _answered(self, event: Answered) -> None:
        answer = event.answer
        totals, winner = self._totals, answer.class_index
        totals[_LOST if winner is None else _ANSWERED] += 1
        if answer.label is not None:
            totals[_LABELLED] += 1
            totals[_CORRECT] += answer.label == winner
        if winner is None:
            return
        self._latency[latency_bin(answer.latency_ms)] += 1
        self._waiting.append((*_ballots(answer.votes), winner))
        if len(self._waiting) >= _MOST_WAITING:
            self._count_votes()

    def _count_votes(self) -> None:
        """Count the votes of the answers that wait for it: together, since each takes as long."""
        if not self._waiting:
            return
        nodes, firsts, winners = zip(*self._waiting, strict=True)
        self._waiting = []
        ids = np.concatenate(nodes)
        agrees = np.concatenate(firsts) == np.repeat(winners, [len(part) for part in nodes])
        known = ids < len(self._column_of)
        columns = self._column_of[ids[known]]
        size = self._capacity + 1
        self._votes += np.bincount(columns, minlength=size)
        self._agreed += np.bincount(columns[agrees[known]], minlength=size)

    def _settle(self, columns: int | slice, now: float) -> None:
        """Count the time that nodes were up until now."""
        self._up_s[columns] += (now - self._mark[columns]) * self._is_up[columns]
        self._mark[columns] = now

    def _advance(self, now: float) -> None:
        while (ends := (self._bucket + 1) * BUCKET_S) <= now:
            self._flush(ends)
            self._bucket += 1

    def _flush(self, now: float) -> None:
        """Move what was counted since the last time into the buckets of both rings."""
        self._settle(slice(None), now)
        self._count_votes()
        wall = self._wall() - (self._clock() - self._bucket * BUCKET_S)
        for per, ring in self._rings.items():
            ring.add(
                self._bucket // per,
                wall - self._bucket % per * BUCKET_S,
                self._totals,
                self._latency,
                (self._up_s, self._votes[:-1], self._agreed[:-1]),
            )
        self._totals = [0] * TOTALS
        self._latency = [0] * BINS
        self._up_s[:] = 0
        self._votes[:] = 0
        self._agreed[:] = 0

    def _match_nodes(self) -> None:
        """Give every node of the fleet a column, and those of nodes that went to others."""
        nodes = {node.id: node for node in self._gateway.nodes()}
        if nodes.keys() == self._columns.keys():
            return
        now = self._clock()
        self._advance(now)
        self._flush(now)
        self._columns = {id_: column for id_, column in self._columns.items() if id_ in nodes}
        taken = set(self._columns.values())
        fresh = [id_ for id_ in nodes if id_ not in self._columns]
        self._grow(len(nodes))
        free = [column for column in range(self._capacity) if column not in taken]
        for id_, column in zip(fresh, free, strict=False):
            self._columns[id_] = column
            self._added[column] = self._mark[column] = now
            self._is_up[column] = nodes[id_].state in _AVAILABLE
            for ring in self._rings.values():
                ring.clear(column)
        # A node that is none of the fleet's counts in a column that nobody reads.
        self._column_of = np.full(max(nodes, default=-1) + 1, self._capacity, np.int32)
        for id_, column in self._columns.items():
            self._column_of[id_] = column

    def _grow(self, count: int) -> None:
        more = count - self._capacity
        if more <= 0:
            return
        self._capacity = count
        self._added, self._mark, self._is_up, self._up_s = (
            np.concatenate([array, np.zeros(more, array.dtype)])
            for array in (self._added, self._mark, self._is_up, self._up_s)
        )
        self._votes, self._agreed = np.zeros((2, count + 1), np.int64)
        for ring in self._rings.values():
            ring.grow(more)

    def window(self, span: str = "hour", node: int | None = None) -> Window:
        """A copy of what a span (`SPANS`) holds. VpError if there is no such span, Problem (404)
        if there is no such node."""
        if span not in SPANS:
            raise VpError(f"span={span!r} is none of {', '.join(SPANS)}")
        if node is not None and node not in self._columns:
            raise Problem(404, f"the fleet has no node {quoted(node)}")
        now = self._clock()
        self._advance(now)
        self._flush(now)
        wanted = SPANS[span]
        end = (self._bucket // (wanted.per * wanted.merge) + 1) * wanted.merge
        return Window(
            span=span,
            node=node,
            rows=self._rings[wanted.per].rows(end, wanted.points * wanted.merge),
            end=end * wanted.per * BUCKET_S,
            started=self._started,
            now=now,
            columns=dict(self._columns),
            added=self._added.copy(),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A copy of a span's buckets, which a thread may work on. Times on the monotonic clock, in s.

    `end` is where the last point ends, now or later; `added` when each column got its node.
    """

    span: str
    node: int | None
    rows: Rows
    end: float
    started: float
    now: float
    columns: dict[int, int]
    added: NDArray[np.float64]

    def json(self) -> dict[str, Any]:
        """The points, the oldest first and the last not yet over, as JSON values.

        One list item a point; null where the gateway did not run or nothing is known. `time` is
        Unix time, `seconds` how long the gateway ran in it; latencies in milliseconds; `up` is in
        percent of the time and counts quarantined nodes, which can be reached too. With a node,
        `node` has its votes point by point.
        """
        span = SPANS[self.span]
        points = self.rows.merged(span.merge)
        edges = self.end - span.point_s * np.arange(span.points, -1.0, -1.0)
        seconds = _overlaps(edges, np.array([self.started]), self.now)[:, 0].tolist()
        columns = list(self.columns.values())
        up = _percents(points.up[:, columns], _overlaps(edges, self.added[columns], self.now))
        votes, agreed = (
            counts[:, columns].sum(axis=0).tolist() for counts in (points.votes, points.agreed)
        )
        result: dict[str, Any] = {
            "span": self.span,
            "point_s": span.point_s,
            "time": [
                round(wall, 3) if held else None
                for wall, held in zip(points.wall.tolist(), points.held, strict=True)
            ],
            "seconds": [round(part, 3) for part in seconds],
            "answered": points.totals[:, _ANSWERED].tolist(),
            "lost": points.totals[:, _LOST].tolist(),
            "labelled": points.totals[:, _LABELLED].tolist(),
            "correct": points.totals[:, _CORRECT].tolist(),
            "latency_p50_ms": quantiles(points.latency, 0.5),
            "latency_p95_ms": quantiles(points.latency, 0.95),
            "nodes": [
                {"id": id_, "up": node_up, "votes": node_votes, "agreed": node_agreed}
                for id_, node_up, node_votes, node_agreed in zip(
                    self.columns, up, votes, agreed, strict=True
                )
            ],
        }
        if self.node is not None:
            column = self.columns[self.node]
            result["node"] = {
                "id": self.node,
                "votes": points.votes[:, column].tolist(),
                "agreed": points.agreed[:, column].tolist(),
            }
        return result


def _ballots(votes: Sequence[Vote]) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Node ids (V,) and first classes (V,)."""
    if isinstance(votes, Votes):
        return votes.nodes, votes.classes[:, 0]
    nodes = np.array([vote.node for vote in votes], np.int64)
    return nodes, np.array([vote.entries[0][0] for vote in votes], np.uint16)


def _overlaps(
    edges: NDArray[np.float64], since: NDArray[np.float64], now: float
) -> NDArray[np.float64]:
    """Seconds (P, N) of each interval between P + 1 edges that lie after each `since` (N,)."""
    begins, ends = edges[:-1, None], np.minimum(edges[1:, None], now)
    inside: NDArray[np.float64] = np.clip(ends - np.maximum(begins, since), 0.0, None)
    return inside


def _percents(part: NDArray[np.float64], whole: NDArray[np.float64]) -> list[list[int | None]]:
    """100 * part / whole, a list for each column; None where the whole is nothing."""
    known = whole > 1e-3
    shares = np.rint(100 * part / np.where(known, whole, 1.0)).clip(0, 100)
    cells = shares.astype(np.int64).astype(object)
    cells[~known] = None
    result: list[list[int | None]] = cells.T.tolist()
    return result
