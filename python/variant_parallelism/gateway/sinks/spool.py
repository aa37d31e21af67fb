"""A bounded queue between the event loop, which never waits, and one thread, which does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from variant_parallelism.gateway.types import Event


@dataclass(frozen=True, slots=True)
class Record:
    """An event and when it was told: seconds since 1970, UTC."""

    time: float
    event: Event


class Backlog:
    """What a sink leaves to the one that takes its place: records, oldest first, and its counts.

    Beyond `capacity` the oldest give way, and are counted.
    """

    def __init__(self, capacity: int, records: Iterable[Record] = ()) -> None:
        self.capacity = capacity
        self.records = deque(records)
        self.taken = 0
        self.written = 0
        self.dropped = 0
        self.refused = 0

    def put(self, record: Record) -> None:
        """Add a record that came while there was no sink."""
        self.taken += 1
        self.records.append(record)
        while len(self.records) > self.capacity:
            self.records.popleft()
            self.dropped += 1

    def follow(self, older: Backlog) -> None:
        """Come after what another one holds."""
        self.capacity = max(self.capacity, older.capacity + len(self.records))
        self.records.extendleft(reversed(older.records))
        self.taken += older.taken
        self.written += older.written
        self.dropped += older.dropped
        self.refused += older.refused


class Spool:
    """Records on their way to one sink: the oldest give way to new ones, and are counted.

    What `take` returned still counts for the capacity until `done`.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` is at least 2."""
        self.capacity = capacity
        self.taken = 0
        """Records that were put in."""
        self.dropped = 0
        """Records that gave way."""
        self._queue: deque[Record] = deque()
        self._in_hand = 0
        self._changed = threading.Condition()
        self._wanted = 0
        self._closing = False
        self._leaving = False
        self._abandoned = False

    def __len__(self) -> int:
        return len(self._queue) + self._in_hand

    @property
    def closing(self) -> bool:
        """Whether what is here is the rest: nothing more is put in."""
        return self._closing

    @property
    def leaving(self) -> bool:
        """Whether another spool has the rest: what is in hand is not tried again."""
        return self._leaving

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the rest to be written."""
        return self._abandoned

    def put(self, record: Record) -> None:
        """Add a record; never waits for the sink. Nothing happens after `close`."""
        with self._changed:
            if self._closing:
                return
            self.taken += 1
            self._queue.append(record)
            self._shorten()
            if 0 < self._wanted <= len(self._queue):
                self._changed.notify()

    def take(self, limit: int, timeout_s: float, linger_s: float = 0.0) -> list[Record]:
        """The oldest records, at most `limit` and at most half the capacity.

        Waits up to `timeout_s` for a first one, then up to `linger_s` for more; closing ends both.
        """
        limit = max(1, min(limit, self.capacity // 2))
        with self._changed:
            if self._wait(1, timeout_s) and linger_s > 0:
                self._wait(limit, linger_s)
            batch = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
            self._in_hand = len(batch)
        return batch

    def done(self, count: int) -> None:
        """So many of what was taken last are written, or given up."""
        with self._changed:
            self._in_hand = max(0, self._in_hand - count)

    def pause(self, seconds: float) -> None:
        """Wait before another attempt; `close` and `abandon` end it."""
        with self._changed:
            before = self._closing
            self._changed.wait_for(lambda: self._abandoned or self._closing != before, seconds)

    def close(self) -> None:
        """Take nothing more; `take` goes on until the rest is out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def leave(self) -> list[Record]:
        """Take nothing more; what was not taken from here yet is the caller's."""
        with self._changed:
            self._closing = self._leaving = True
            records = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        return records

    def adopt(self, backlog: Backlog) -> None:
        """Begin with what another spool held and counted; nothing was put in here before."""
        with self._changed:
            self._queue.extend(backlog.records)
            self.taken = backlog.taken
            self.dropped = backlog.dropped
            self._shorten()
            if self._queue:
                self._changed.notify()

    def abandon(self) -> int:
        """Give up what is left: how many records that is, counted as dropped."""
        with self._changed:
            self._closing = self._abandoned = True
            left = len(self)
            self.dropped += left
            self._queue.clear()
            self._in_hand = 0
            self._changed.notify_all()
        return left

    def _shorten(self) -> None:
        while len(self) > self.capacity:
            self._queue.popleft()
            self.dropped += 1

    def _wait(self, count: int, seconds: float) -> bool:
        self._wanted = count
        try:
            return self._changed.wait_for(
                lambda: self._closing or len(self._queue) >= count, seconds
            )
        finally:
            self._wanted = 0
