"""What a gateway keeps of a request until its answer is seen, without I/O.

Times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, fields

from variant_parallelism.workers.messages import ReportMessage
from variant_parallelism.workers.partitions import partition_of
from variant_parallelism.workers_table import WorkersTable

_ANSWERED = 4096
"""Answered requests that are remembered, to know them if they come again."""
_REPEATED = 64
"""Of so many the reports, too, for whoever missed the answer."""
_KEPT_BYTES = 64 * 1024 * 1024
"""Of the reports whose answer was not seen, as they are sent: ten times that as objects."""


@dataclass(slots=True)
class SpreadCounters:
    """Counts of a gateway's requests with others, since it started."""

    asked: int = 0
    """Requests that came in here, and went out to all gateways."""
    served: int = 0
    """Requests of others that the nodes here were asked about."""
    reports: int = 0
    again: int = 0
    """Reports sent once more: to another worker, or since no answer came."""
    answered: int = 0
    alone: int = 0
    """Requests that came in here, and were answered by the nodes here only."""
    duplicate: int = 0
    """Answers to what had been answered."""
    displaced: int = 0
    """Reports that gave way to newer ones before their answer was seen."""
    expired: int = 0
    """Reports whose answer never came."""
    refused: int = 0
    """Requests that this fleet cannot be asked, or too many at once."""
    malformed: int = 0
    forged: int = 0

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(slots=True)
class _Kept:
    payload: bytes
    """The report, as it was first sent."""
    deadline_s: float
    partition: int
    began: float
    expires: float
    attempts: int = 0
    due: float = 0.0
    """When to send it once more, if no answer came."""


class Keeper:
    """The reports of one gateway: `due`, `taken_on` and `begin` give what is to be sent."""

    def __init__(self, table: WorkersTable, counters: SpreadCounters) -> None:
        self._validity_s = table.validity_s
        self._limit = table.keep
        self._patience_s = 2 * table.heartbeat_s
        self._counters = counters
        self._open: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        """Of the open ones' reports."""
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._late: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        """Reports whose answer has not been seen."""
        return len(self._open)

    def knows(self, uid: str) -> bool:
        return uid in self._open or uid in self._answered

    def keep(self, now: float, report: ReportMessage, began: float) -> ReportMessage | None:
        """Keep a report; returned to be sent at once, unless the answer came before it.

        `began` is when the gateway heard of the request.
        """
        uid = report.uid
        deadline_s = report.deadline_ms / 1000
        expires = began + max(self._validity_s, deadline_s)
        kept = _Kept(report.encode(), deadline_s, partition_of(uid), began, expires)
        if uid in self._answered:
            self._remember(uid, kept)
            return None
        self._close(uid)
        self._open[uid] = kept
        self._bytes += len(kept.payload)
        while len(self._open) > self._limit or (self._bytes > _KEPT_BYTES and len(self._open) > 1):
            self._close(next(iter(self._open)))
            self._counters.displaced += 1
        return self._send(now, kept, report)

    def _close(self, uid: str) -> _Kept | None:
        kept = self._open.pop(uid, None)
        if kept is not None:
            self._bytes -= len(kept.payload)
        return kept

    def taken_on(self, now: float, partitions: int) -> Iterator[ReportMessage]:
        """A worker has just begun to hear these partitions: what it is to be told."""
        chosen = [
            kept
            for kept in self._open.values()
            if partitions >> kept.partition & 1 and kept.expires > now
        ]
        return (self._send(now, kept) for kept in chosen)

    def asked_again(self, now: float, uid: str) -> ReportMessage | None:
        """Somebody asks a known request once more: he missed the answer."""
        kept = self._open.get(uid) or self._late.get(uid)
        return None if kept is None or kept.expires <= now else self._send(now, kept)

    def due(self, now: float, heard: int) -> Iterator[ReportMessage]:
        """What goes out again since no answer came, where partitions are `heard` by a worker.

        Gives up what has expired.
        """
        for uid in [uid for uid, kept in self._open.items() if kept.expires <= now]:
            self._close(uid)
            self._counters.expired += 1
        chosen = [
            kept for kept in self._open.values() if kept.due <= now and heard >> kept.partition & 1
        ]
        return (self._send(now, kept) for kept in chosen)

    def answered(self, uid: str) -> bool:
        """An answer was seen: whether it is the first one."""
        if uid in self._answered:
            self._counters.duplicate += 1
            return False
        self._answered[uid] = None
        if len(self._answered) > _ANSWERED:
            self._answered.popitem(last=False)
        kept = self._close(uid)
        if kept is not None:
            self._remember(uid, kept)
        self._counters.answered += 1
        return True

    def _remember(self, uid: str, kept: _Kept) -> None:
        self._late[uid] = kept
        if len(self._late) > _REPEATED:
            self._late.popitem(last=False)

    def _send(self, now: float, kept: _Kept, report: ReportMessage | None = None) -> ReportMessage:
        if report is None:
            report = ReportMessage.model_validate_json(kept.payload)
        kept.attempts += 1
        age_s = now - kept.began
        self._counters.reports += 1
        self._counters.again += kept.attempts > 1
        left_s = max(0.0, kept.deadline_s - age_s)
        kept.due = now + left_s + min(8, kept.attempts) * self._patience_s
        return report.model_copy(update={"attempt": kept.attempts, "age_ms": age_s * 1000})
