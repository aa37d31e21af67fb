"""A worker without I/O: reports of gateways in, answers out.

Times are seconds of a clock that never goes back; the driver calls `tick` at `wake_at()`, and
publishes what is in `outbox`.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

from variant_parallelism.fleet import Fleet
from variant_parallelism.workers.combination import Combination
from variant_parallelism.workers.messages import (
    AnswerMessage,
    GatewayMessage,
    ReportMessage,
    fleet_digest,
)
from variant_parallelism.workers.partitions import partition_of
from variant_parallelism.workers.presence import Presence
from variant_parallelism.workers_table import WorkersTable

_REMEMBERED = 4096
"""Answers that are kept for a gateway that missed one, as long as they fit into"""
_REMEMBERED_BYTES = 32 * 1024 * 1024
_MOST_OPEN = 10_000
"""Requests whose reports come in: beyond it the oldest give way, and their gateways ask again."""
_MOST_VOTES = 200_000
"""The same of the votes in them, at some 1.3 KB each."""
_MOST_GATEWAYS = 1024
_REPEAT_S = 1.0
"""An answer this young is still on its way to whoever seems to have missed it."""


@dataclass(slots=True)
class WorkerCounters:
    """Counts since the worker started."""

    reports: int = 0
    answers: int = 0
    repeated: int = 0
    """Answers published once more, for a gateway that asked again after one."""
    forged: int = 0
    """Messages without the right tag."""
    malformed: int = 0
    """Messages that are none of ours, or contradict themselves or the request's other reports."""
    foreign: int = 0
    """Reports of a gateway nobody heard of, or of another fleet, or of nodes that it has not."""
    claimed_twice: int = 0
    """Votes left out because a node of that id voted at another gateway, too."""
    displaced: int = 0
    """Requests that gave way to newer ones."""
    handed_over: int = 0
    """Open requests whose partition went to another worker."""

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(slots=True)
class _Open:
    due: float
    began: float
    k: int
    triggered: bool
    expected: set[str]
    reports: dict[str, ReportMessage] = field(default_factory=dict)

    @property
    def votes(self) -> int:
        return sum(len(report.votes) for report in self.reports.values())


class Tally:
    """The requests of one worker."""

    def __init__(self, fleet: Fleet, table: WorkersTable, worker: str) -> None:
        self.counters = WorkerCounters()
        self.outbox: deque[bytes] = deque()
        """Encoded answers, to publish."""
        self.concluded: deque[AnswerMessage] = deque()
        """The answers among them that are new."""
        self.warnings: deque[str] = deque()
        self._fleet = fleet
        self._digest = fleet_digest(fleet)
        self._classes = len(fleet.manifest.classes)
        self._variants = {variant.name for variant in fleet.manifest.variants}
        self._grace_s = table.grace_ms / 1000
        self._away_s = table.away_s
        self._worker = worker
        self._here: Presence[GatewayMessage] = Presence(table.away_s)
        self._known: OrderedDict[str, dict[int, str]] = OrderedDict()
        """Nodes by gateway, also of those that are away."""
        self._lost: set[str] = set()
        """Those of them that the broker has lost."""
        self._combination = Combination(fleet)
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._votes = 0
        """Of the open ones."""
        self._dues: list[tuple[float, str]] = []
        """A heap; of open requests, and of some that no longer are."""
        self._answered: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._answered_bytes = 0
        self._warned: set[str] = set()

    @property
    def gateways(self) -> list[str]:
        """Those that are there."""
        return sorted(self._here)

    @property
    def open(self) -> int:
        """Requests whose reports come in."""
        return len(self._open)

    def wake_at(self) -> float:
        while self._dues:
            due, uid = self._dues[0]
            if uid in self._open and self._open[uid].due == due:
                return due
            heapq.heappop(self._dues)
        return float("inf")

    # Gateways come and go.

    def gateway(self, now: float, message: GatewayMessage) -> None:
        """A gateway says that it is there, or goes."""
        name = message.gateway
        if message.fleet != self._digest:
            self.counters.foreign += 1
            self._warn(
                f"gateway {name} serves another fleet, or other models: its votes do not count"
            )
            return
        nodes = {node: variant for node, variant in message.nodes if variant in self._variants}
        self._lost.discard(name)
        if message.state == "here":
            self._here.hear(now, name, message)
            if name in self._here and self._known.get(name) != nodes:
                self._know(name, nodes)
        else:
            self._gone(now, name)
            self._lost.add(name)
        if message.state == "left":
            self._know(name, None)

    def _know(self, name: str, nodes: dict[int, str] | None) -> None:
        if nodes is None:
            self._known.pop(name, None)
        else:
            self._known[name] = nodes
        if len(self._known) > _MOST_GATEWAYS:
            self._known.popitem(last=False)
        self._lost &= self._known.keys()
        self._combination.use(self._known)

    def _gone(self, now: float, name: str) -> None:
        """It is not waited for; its nodes are missing, unless it said that it left."""
        if self._here.leave(name):
            for uid, request in list(self._open.items()):
                request.expected.discard(name)
                self._conclude_if_complete(now, uid, request)

    def deaf_until(self, now: float) -> None:
        """The broker could not be heard before `now`: what was open is another worker's."""
        self._here.deaf_until(now)
        self._lost.clear()
        self.counters.handed_over += len(self._open)
        self._open.clear()
        self._votes = 0

    def hand_over(self, partitions: int) -> None:
        """These partitions are another worker's now: the gateways tell it everything again."""
        for uid in [uid for uid in self._open if partitions >> partition_of(uid) & 1]:
            self._close(uid)
            self.counters.handed_over += 1

    # Reports and answers.

    def report(self, now: float, report: ReportMessage) -> None:
        """A gateway reports its nodes' votes."""
        self.counters.reports += 1
        nodes = self._known.get(report.gateway)
        if nodes is None or not all(nodes.get(v.node) == v.variant for v in report.votes):
            self.counters.foreign += 1
            return
        if not self._possible(report):
            self.counters.malformed += 1
            return
        if report.uid in self._answered:
            self._repeat(now, report)
            return
        request = self._open.get(report.uid) or self._begin(now, report)
        if (request.k, request.triggered) != (report.k, report.triggered):
            self.counters.malformed += 1
            return
        self._votes -= request.votes
        request.reports[report.gateway] = report
        self._votes += request.votes
        self._conclude_if_complete(now, report.uid, request)
        while len(self._open) > _MOST_OPEN or (self._votes > _MOST_VOTES and len(self._open) > 1):
            self._close(next(iter(self._open)))
            self.counters.displaced += 1

    def answered(self, now: float, uid: str, payload: bytes) -> None:
        """Another worker answered a request; `payload` is its message."""
        self._close(uid)
        if uid not in self._answered:
            self._remember(now, uid, payload)

    def tick(self, now: float) -> None:
        """Answer what is due, with what there is."""
        for name in self._here.silent(now):
            self._gone(now, name)
        while self.wake_at() <= now:
            _, uid = heapq.heappop(self._dues)
            self._conclude(now, uid, self._open[uid])

    def _possible(self, report: ReportMessage) -> bool:
        labelled = report.label is None or report.label < self._classes
        return labelled and all(
            index < self._classes for vote in report.votes for index, _ in vote.entries
        )

    def _begin(self, now: float, report: ReportMessage) -> _Open:
        left_s = (report.deadline_ms - report.age_ms) / 1000
        # A report that comes after the deadline was held up by a worker or a broker that was away:
        # nobody is in a hurry any more, and the other gateways are only just coming back, too.
        patience_s = left_s + self._grace_s if left_s > 0 else self._away_s
        began = now - report.age_ms / 1000
        expected = {report.gateway}
        if report.shared:
            # Who wrote may not have heard yet that a gateway is lost.
            others = (set(report.gateways) & self._known.keys()) - self._lost
            expected |= set(self._here) | others
        request = _Open(now + patience_s, began, report.k, report.triggered, expected)
        self._open[report.uid] = request
        heapq.heappush(self._dues, (request.due, report.uid))
        return request

    def _close(self, uid: str) -> None:
        request = self._open.pop(uid, None)
        if request is not None:
            self._votes -= request.votes

    def _repeat(self, now: float, report: ReportMessage) -> None:
        """Its gateway did not see the answer, or had not yet when it wrote."""
        told, payload = self._answered[report.uid]
        if report.attempt > 1 and now - told >= _REPEAT_S:
            self.counters.repeated += 1
            self._answered[report.uid] = (now, payload)
            self.outbox.append(payload)

    def _conclude_if_complete(self, now: float, uid: str, request: _Open) -> None:
        if request.reports and request.expected <= request.reports.keys():
            self._conclude(now, uid, request)

    def _conclude(self, now: float, uid: str, request: _Open) -> None:
        self._close(uid)
        reports = [request.reports[name] for name in sorted(request.reports)]
        combined = self._combination.answer(reports, (now - request.began) * 1000)
        self.counters.claimed_twice += combined.claimed_twice
        if combined.claimed_twice:
            self._warn("two gateways have a node of the same id: the first one's votes count")
        answer = AnswerMessage(
            uid=uid,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            worker=self._worker,
            gateways=tuple(report.gateway for report in reports),
            absent=tuple(sorted(request.expected - request.reports.keys())),
            **combined.fields,
        )
        self.counters.answers += 1
        payload = answer.encode()
        self._remember(now, uid, payload)
        self.outbox.append(payload)
        self.concluded.append(answer)

    def _remember(self, now: float, uid: str, payload: bytes) -> None:
        self._answered[uid] = (now, payload)
        self._answered_bytes += len(payload)
        while len(self._answered) > _REMEMBERED or self._answered_bytes > _REMEMBERED_BYTES:
            _, (_, oldest) = self._answered.popitem(last=False)
            self._answered_bytes -= len(oldest)

    def _warn(self, text: str) -> None:
        if text not in self._warned and len(self._warned) < _REMEMBERED:
            self._warned.add(text)
            self.warnings.append(text)
