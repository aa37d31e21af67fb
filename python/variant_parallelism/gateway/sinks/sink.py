"""What every sink shares: a spool, a thread that empties it, and patience with what fails.

The thread is a daemon of its own and not one of an executor's: a disk or a broker that hangs holds
up neither the pool that decodes images nor the end of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.sinks.spool import Backlog, Record, Spool

_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 30.0
_IDLE_S = 1.0
_OPEN_S = 5.0
_CLOSE_S = 1.0
"""How long a sink that gave everything away may take to close, before another takes its place."""

log = logging.getLogger("variant_parallelism.gateway")


class Trouble(Exception):
    """A sink cannot be written now; it may be later. The text is one line for people."""


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """How a sink is doing. `waiting` of at most `capacity` events are not written yet.

    Of those `taken`, `written` are; `dropped` gave way, since the sink was too slow or away for too
    long; `refused` could not be written at all. `trouble` says why it cannot be written now.
    """

    name: str
    waiting: int
    capacity: int
    taken: int
    written: int
    dropped: int
    refused: int
    trouble: str | None


class Sink(ABC):
    """One place that events go to.

    A subclass writes batches in the sink's thread. After `Trouble` the same batch comes again, all
    of it: the subclass knows what it had written, and may have told by `settle`.
    """

    name: str
    batch = 1000
    """Most records written at once."""
    linger_s = 0.0
    """How long a first record waits for more."""

    def __init__(self, capacity: int) -> None:
        self.spool = Spool(capacity)
        self.written = 0
        self.refused = 0
        self.trouble: str | None = None
        self._settled = 0
        """Records of the batch in hand that `settle` was told of."""
        self._mistaken = False
        """Whether a mistake was logged: one is enough."""
        self._left: list[Record] = []
        """What was in hand, and not written, when another sink took the rest."""
        self._thread = threading.Thread(target=self._run, name=f"sink-{self.name}", daemon=True)
        self._opened: asyncio.Future[None] | None = None
        self._released: asyncio.Future[None] | None = None
        """Done when nothing is in hand any more."""
        self._finished: asyncio.Future[None] | None = None

    # In the event loop.

    def put(self, record: Record) -> None:
        """Take an event; returns at once and never raises."""
        self.spool.put(record)

    def follow(self, fleet: Fleet) -> None:
        """Go on with other nodes; the sink's own table is the same."""
        return

    async def start(self) -> None:
        """Open the sink. VpError for what only its user can change; trouble is retried."""
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self._released = self._loop.create_future()
        self._finished = self._loop.create_future()
        self._thread.start()
        try:
            async with asyncio.timeout(_OPEN_S):
                await asyncio.shield(self._opened)
        except TimeoutError:
            self.failing(f"does not open in {_OPEN_S:g} s")

    async def stop(self, limit_s: float) -> None:
        """Write what is left for at most `limit_s`; the rest is counted as dropped."""
        self.spool.close()
        if not await _is_done(self._finished, limit_s):
            self._give_up(limit_s)

    async def hand_over(self, limit_s: float) -> Backlog:
        """End, and leave what is not written to another sink; a sink in trouble ends at once.

        What a write in hand holds after `limit_s` may be written or not: it counts as dropped.
        """
        records = self.spool.leave()
        if await _is_done(self._released, limit_s):
            await _is_done(self._finished, _CLOSE_S)
        else:
            self._give_up(limit_s)
        backlog = Backlog(self.spool.capacity, [*self._left, *records])
        backlog.taken, backlog.dropped = self.spool.taken, self.spool.dropped
        backlog.written, backlog.refused = self.written, self.refused
        return backlog

    def adopt(self, backlog: Backlog) -> None:
        """Go on where another sink stopped. Before the first `put`."""
        self.written, self.refused = backlog.written, backlog.refused
        self.spool.adopt(backlog)

    def status(self) -> SinkStatus:
        spool = self.spool
        return SinkStatus(
            self.name,
            len(spool),
            spool.capacity,
            spool.taken,
            self.written,
            spool.dropped,
            self.refused,
            self.trouble,
        )

    # In the sink's thread.

    @abstractmethod
    def open(self) -> None:
        """Get ready to write. VpError or Trouble if that cannot be; after Trouble it comes again
        with the first batch, in `write`."""

    @abstractmethod
    def write(self, batch: list[Record]) -> None:
        """Write a batch, in order; Trouble if it cannot be written now, or if it would take long
        and the spool is `leaving`."""

    def idle(self) -> None:
        """Called between batches, at least about once a second while there are none."""
        return

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, after the last batch. Must not raise."""

    def _run(self) -> None:
        try:
            self._open_first()
        except Exception as error:
            self._report(self._opened, error)
        else:
            self._report(self._opened, None)
            self._write_all()
        self._report(self._released, None)
        self._report(self._finished, None)

    def _open_first(self) -> None:
        try:
            self.open()
        except Trouble as trouble:
            self.failing(str(trouble))

    def _write_all(self) -> None:
        try:
            while batch := self._next():
                self._deliver(batch)
            self._report(self._released, None)
            self.close()
        except Exception:
            log.exception("%s: stopped by a mistake of its own", self.name)

    def _next(self) -> list[Record]:
        """The next batch; an empty one at the end."""
        while True:
            batch = self.spool.take(self.batch, _IDLE_S, self.linger_s)
            if batch or self.spool.closing:
                return batch
            self.idle()

    def _deliver(self, batch: list[Record]) -> None:
        """Write a batch, however long it takes."""
        wait_s = _FIRST_RETRY_S
        self._settled, before = 0, self.written
        mistake: Exception | None = None
        while not self.spool.abandoned and mistake is None:
            try:
                self.write(batch)
            except Trouble as trouble:
                if self.spool.leaving:
                    self._leave(batch[self._settled :])
                    return
                self.failing(str(trouble))
                self.spool.pause(_FIRST_RETRY_S if self.spool.closing else wait_s)
                wait_s = min(2 * wait_s, _LAST_RETRY_S)
            except Exception as error:
                mistake = error
            else:
                self.settle(written=len(batch) - self._settled)
                if self.written > before:
                    self.working()
                self.idle()
                return
        if mistake is not None:
            self._deliver_one_by_one(batch[self._settled :], mistake)

    def _deliver_one_by_one(self, batch: list[Record], error: Exception) -> None:
        """What a mistake of ours keeps from being written is refused, by itself."""
        if len(batch) > 1:
            for record in batch:
                self._deliver([record])
            return
        if not self._mistaken:
            log.error("%s: an event could not be written", self.name, exc_info=error)
        self._mistaken = True
        self._settled = 0
        self.settle(refused=len(batch))

    def settle(self, *, written: int = 0, refused: int = 0) -> None:
        """So many more of the batch in hand are written, or never will be, whatever is tried.

        What `write` leaves unsettled counts as written when it returns.
        """
        self._settled += written + refused
        if self.spool.abandoned:
            return
        self.written += written
        self.refused += refused
        self.spool.done(written + refused)

    def _leave(self, rest: list[Record]) -> None:
        if not self.spool.abandoned:
            self._left += rest
            self.spool.done(len(rest))

    def _give_up(self, limit_s: float) -> None:
        left = self.spool.abandon()
        if left:
            why = f": {self.trouble}" if self.trouble else ""
            log.warning("%s: %d events not written in %g s%s", self.name, left, limit_s, why)

    def failing(self, why: str) -> None:
        """Say once what is wrong, until it works again."""
        if self.trouble is None:
            log.warning(
                "%s: %s; trying again, up to %d events wait", self.name, why, self.spool.capacity
            )
        self.trouble = why

    def working(self) -> None:
        """It works (again)."""
        if self.trouble is not None:
            self.trouble = None
            log.info("%s: works again (%d events dropped so far)", self.name, self.spool.dropped)

    def _report(self, future: asyncio.Future[None] | None, error: Exception | None) -> None:
        def settle() -> None:
            if future is None or future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        with contextlib.suppress(RuntimeError):  # The loop has gone.
            self._loop.call_soon_threadsafe(settle)


async def _is_done(future: asyncio.Future[None] | None, limit_s: float) -> bool:
    """Wait for it, for so long; one that was never begun is done."""
    if future is None:
        return True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await asyncio.shield(future)
            return True
    return False
