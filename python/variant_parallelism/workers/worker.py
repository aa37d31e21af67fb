"""`vp aggregate`: a worker that combines the votes of several gateways' nodes."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
from collections.abc import Callable
from types import TracebackType

from variant_parallelism.fleet import Fleet
from variant_parallelism.workers.connection import Connection, Handler, Retained
from variant_parallelism.workers.messages import (
    AnswerMessage,
    GatewayMessage,
    ReportMessage,
    WorkerMessage,
    decode,
)
from variant_parallelism.workers.partitions import ALL, members, partition_of
from variant_parallelism.workers.sharing import Sharing
from variant_parallelism.workers.tally import Tally, WorkerCounters
from variant_parallelism.workers.topics import Topics
from variant_parallelism.workers_table import WorkersTable

log = logging.getLogger("variant_parallelism.gateway")


def _new_name() -> str:
    """No two workers share one, not even one after the other."""
    host = re.sub(r"[^A-Za-z0-9_\-]", "-", socket.gethostname().partition(".")[0])[:40]
    return f"{host}-{secrets.token_hex(4)}"


class Worker(Handler):
    """One of any number of workers of a fleet; an asynchronous context manager.

    It takes its share of the requests as soon as the broker is there. Entering raises VpError for
    what waiting does not mend.
    """

    def __init__(
        self, fleet: Fleet, table: WorkersTable, on_answer: Callable[[AnswerMessage], None]
    ) -> None:
        """`on_answer` is called with every answer of this worker, in the event loop."""
        self.name = _new_name()
        self._fleet = fleet
        self._table = table
        self._on_answer = on_answer
        self._topics = Topics.of(fleet.table, table)
        self._tally = Tally(fleet, table, self.name)
        self._sharing = Sharing(self.name, table.away_s)
        self._caught_up = False
        """Whether everything has been heard that the broker had retained."""
        self._announced = (0, 0)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Worker:
        self._loop = asyncio.get_running_loop()
        self._awake_at = self._loop.time()
        table = self._fleet.table
        self._connection = Connection(
            self._fleet,
            self._table,
            f"vp-{table.name}-{table.id}-worker-{self.name}",
            self,
            will=self._presence(here=False),
        )
        self._connection.start()
        self._heart = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heart.cancel()
        if self._timer is not None:
            self._timer.cancel()
        await self._connection.stop(self._presence(here=False))

    @property
    def counters(self) -> WorkerCounters:
        return self._tally.counters

    @property
    def partitions(self) -> int:
        """How many of the 256 partitions this worker has."""
        return self._sharing.serving.bit_count()

    # The connection reports here.

    def on_up(self) -> None:
        topics = self._topics
        self._connection.subscribe([topics.answer], own=False)
        # What the broker has retained comes before the echo of what is said next.
        self._connection.subscribe(
            [topics.gateway("+"), topics.worker("+")],
            lambda: self._connection.retain(self._presence()),
        )

    def on_down(self) -> None:
        self._caught_up = False
        self._sharing.disconnected()
        self._tally.deaf_until(self._loop.time())

    def on_forged(self) -> None:
        self._tally.counters.forged += 1

    def on_message(self, topic: str, payload: bytes) -> None:
        now = self._wake_up()
        known = {
            self._topics.answer: self._hear_answer,
            self._topics.gateway(topic.rpartition("/")[2]): self._hear_gateway,
            self._topics.worker(topic.rpartition("/")[2]): self._hear_worker,
        }
        if not known.get(topic, self._hear_report)(now, topic, payload):
            self._tally.counters.malformed += 1
        self._flush()

    def _hear_report(self, now: float, topic: str, payload: bytes) -> bool:
        report = decode(ReportMessage, payload)
        if report is None or topic != self._topics.votes(partition_of(report.uid)):
            return False
        # What was on its way when the partition was given up is told its new owner again.
        if self._sharing.serving >> partition_of(report.uid) & 1:
            self._tally.report(now, report)
        return True

    def _hear_answer(self, now: float, topic: str, payload: bytes) -> bool:
        answer = decode(AnswerMessage, payload)
        if answer is not None:
            self._tally.answered(now, answer.uid, payload)
        return answer is not None

    def _hear_gateway(self, now: float, topic: str, payload: bytes) -> bool:
        message = decode(GatewayMessage, payload)
        if message is None or topic != self._topics.gateway(message.gateway):
            return False
        self._tally.gateway(now, message)
        return True

    def _hear_worker(self, now: float, topic: str, payload: bytes) -> bool:
        message = decode(WorkerMessage, payload)
        if message is None or topic != self._topics.worker(message.worker):
            return False
        if message.worker == self.name:
            self._caught_up = True
        serving = int(message.partitions, 16) if message.here else None
        self._sharing.hear(now, message.worker, serving)
        self._share()
        return True

    # Sharing.

    def _share(self) -> None:
        """Take and give partitions as those that are there demand it."""
        if not self._caught_up:
            return
        move = self._sharing.move()
        if move.give:
            self._connection.unsubscribe([self._topics.votes(p) for p in members(move.give)])
            self._tally.hand_over(move.give)
        if move.take:
            self._connection.subscribe(
                [self._topics.votes(p) for p in members(move.take)],
                lambda: self._taken(move.take),
            )
        elif move.give:
            self._announce()

    def _taken(self, partitions: int) -> None:
        self._sharing.taken(partitions)
        self._announce()

    def _announce(self) -> None:
        self._connection.retain(self._presence())
        workers = 1 + len(self._sharing.others)
        if (self.partitions, workers) != self._announced:
            self._announced = (self.partitions, workers)
            log.info(
                "%s: %d of %d partitions, %d worker%s, gateways: %s",
                self.name,
                self.partitions,
                ALL.bit_count(),
                workers,
                "" if workers == 1 else "s",
                ", ".join(self._tally.gateways) or "none yet",
            )

    def _presence(self, here: bool = True) -> Retained:
        message = WorkerMessage(
            worker=self.name, here=here, partitions=f"{self._sharing.serving if here else 0:064x}"
        )
        return Retained(self._topics.worker(self.name), message.encode())

    # Time.

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._table.heartbeat_s)
            now = self._wake_up()
            self._connection.retain(self._presence())
            self._sharing.drop_silent(now)
            self._share()
            self._tally.tick(now)
            self._flush()

    def _wake_up(self) -> float:
        """The time. Who slept for so long that others took over (a laptop's lid, a debugger)
        forgets what he was at."""
        now = self._loop.time()
        if now - self._awake_at > self._table.away_s:
            self._tally.deaf_until(now)
        self._awake_at = now
        return now

    def _due(self) -> None:
        self._tally.tick(self._wake_up())
        self._flush()

    def _flush(self) -> None:
        tally = self._tally
        while tally.outbox:
            self._connection.publish(self._topics.answer, tally.outbox.popleft())
        while tally.concluded:
            self._on_answer(tally.concluded.popleft())
        while tally.warnings:
            log.warning("%s: %s", self.name, tally.warnings.popleft())
        if self._timer is not None:
            self._timer.cancel()
        wake = tally.wake_at()
        self._timer = None if wake == float("inf") else self._loop.call_at(wake, self._due)
