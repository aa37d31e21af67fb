"""A gateway's part: requests go to all gateways of the fleet, and a worker combines the votes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.requests import check, check_terms
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.types import Answer, Event, NodeChanged
from variant_parallelism.workers.connection import Connection, Handler, Retained
from variant_parallelism.workers.keeping import Keeper, SpreadCounters
from variant_parallelism.workers.messages import (
    AnswerMessage,
    GatewayMessage,
    ReportMessage,
    RequestMessage,
    VoteMessage,
    WorkerMessage,
    decode,
    fleet_digest,
)
from variant_parallelism.workers.partitions import ALL, partition_of
from variant_parallelism.workers.presence import Presence
from variant_parallelism.workers.topics import Topics
from variant_parallelism.workers_table import WorkersTable

_MOST_AT_ONCE = 256
"""Requests of others that the nodes here work on; beyond it they are told that there is no vote."""
_LONGEST_TEXT = 200

Result = TypeVar("Result")

log = logging.getLogger("variant_parallelism.gateway")


@asynccontextmanager
async def make_spread(gateway: Gateway, fleet: Fleet) -> AsyncIterator[Spread | None]:
    """Requests to an open gateway go to all gateways, where `[workers]` is on, until the block
    ends. VpError if a file that the table names is no good."""
    if fleet.table.workers is None:
        yield None
        return
    spread = Spread(gateway, fleet, fleet.table.workers)
    gateway.share(spread)
    try:
        yield spread
    finally:
        gateway.share(None)
        await spread.close()


class Spread(Handler):
    """One gateway among several."""

    def __init__(self, gateway: Gateway, fleet: Fleet, table: WorkersTable) -> None:
        self.counters = SpreadCounters()
        self._gateway = gateway
        self._table = table
        self._topics = Topics.of(fleet.table, table)
        self._keeper = Keeper(table, self.counters)
        self._workers: Presence[int] = Presence(table.away_s)
        """Partitions by worker."""
        self._gateways: Presence[None] = Presence(table.away_s)
        self._waiting: dict[str, asyncio.Future[AnswerMessage]] = {}
        self._working: set[str] = set()
        """Ids of requests that the nodes here work on."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(
            fleet,
            table,
            f"vp-{fleet.table.name}-{fleet.table.id}-gateway-{table.gateway}",
            self,
            will=self._presence("lost"),
            session_s=table.validity_s,
        )
        self._quarantined = {node.id for node in gateway.nodes() if node.state == "quarantined"}
        self._stop_listening = gateway.on_event(self._on_event)
        self._connection.start()
        self._begin(self._beat())

    @property
    def _fleet(self) -> Fleet:
        """It may be another one after a reload."""
        return self._gateway.fleet

    async def close(self) -> None:
        self._stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.stop(self._presence("left"))

    def counts(self) -> dict[str, int]:
        return self.counters.as_dict()

    @property
    def waiting(self) -> int:
        """Reports that are kept until their answer is seen."""
        return len(self._keeper)

    def workers(self) -> list[str]:
        """The workers that are there."""
        return sorted(self._workers)

    @property
    def is_served(self) -> bool:
        """Whether there is a worker for every request."""
        return self._heard() == ALL

    def gateways(self) -> list[str]:
        """The gateways that are there, with this one."""
        return sorted({*self._gateways, self._table.gateway})

    def _on_event(self, event: Event) -> None:
        if isinstance(event, NodeChanged):
            if event.state == "quarantined":
                self._quarantined.add(event.node)
            else:
                self._quarantined.discard(event.node)

    # What the gateway's callers ask.

    async def classify(
        self,
        image: NDArray[np.uint8],
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | None = None,
    ) -> Answer:
        """As `Gateway.classify`, over the nodes of all gateways.

        Without a worker's answer `[workers] grace_ms` twice after the deadline, or at once if there
        is no worker, it is what the nodes here say.
        """
        k = self._fleet.table.k if k is None else k
        check(self._fleet, image, k, self._deadline_ms(deadline_ms) / 1000, label)
        height, width, channels = image.shape
        request = RequestMessage(
            uid=uuid.uuid4().hex,
            k=k,
            deadline_ms=deadline_ms,
            label=label,
            shape=(height, width, channels),
            image=image.tobytes(),
        )
        return await self._ask(request)

    async def trigger(
        self,
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | None = None,
    ) -> Answer:
        """As `Gateway.trigger`, over the nodes of all gateways."""
        k = self._fleet.table.k if k is None else k
        check_terms(self._fleet, k, self._deadline_ms(deadline_ms) / 1000, label)
        uid = uuid.uuid4().hex
        return await self._ask(RequestMessage(uid=uid, k=k, deadline_ms=deadline_ms, label=label))

    async def _ask(self, request: RequestMessage) -> Answer:
        began = self._loop.time()
        deadline_s = self._deadline_ms(request.deadline_ms) / 1000
        uid = request.uid
        answered: asyncio.Future[AnswerMessage] = self._loop.create_future()
        self._waiting[uid] = answered
        self.counters.asked += 1
        try:
            shared = self._connection.publish(
                self._topics.request, request.encode(), expiry_s=math.ceil(deadline_s)
            )
            # A task of its own: others wait for these votes, also if who asked has gone away.
            serving = self._begin(self._serve(request, shared))
            await asyncio.wait([serving])
            if self._heard() >> partition_of(uid) & 1:
                limit = began + deadline_s + 2 * self._table.grace_ms / 1000
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(limit):
                        message = await answered
                        number = serving.result().request if not serving.exception() else 0
                        return message.answer(number, (self._loop.time() - began) * 1000)
        finally:
            del self._waiting[uid]
        self.counters.alone += 1
        # Also what the nodes here cannot do, which others might have done.
        return await serving

    def _deadline_ms(self, deadline_ms: float | None) -> float:
        return self._fleet.table.deadline_ms if deadline_ms is None else deadline_ms

    # What the nodes here are asked.

    async def _serve(self, request: RequestMessage, shared: bool = True) -> Answer:
        """Ask the nodes here, and report; `shared`: other gateways may ask theirs."""
        began = self._loop.time()
        self._working.add(request.uid)
        try:
            answer = await self._ask_own(request)
        except VpError as error:
            self.counters.refused += 1
            self._report(request, shared, began, None, str(error))
            raise
        finally:
            self._working.discard(request.uid)
        self._report(request, shared, began, answer, "")
        return answer

    async def _ask_own(self, request: RequestMessage) -> Answer:
        if request.shape is None or request.image is None:
            return await self._gateway.trigger_alone(
                k=request.k, deadline_ms=request.deadline_ms, label=request.label
            )
        image = np.frombuffer(request.image, np.uint8).reshape(request.shape)
        return await self._gateway.classify_alone(
            image, k=request.k, deadline_ms=request.deadline_ms, label=request.label
        )

    def _report(
        self,
        request: RequestMessage,
        shared: bool,
        began: float,
        answer: Answer | None,
        refusal: str,
    ) -> None:
        errors = {node.id: refusal for node in self._gateway.nodes()}
        if answer is not None:
            errors = answer.errors
        report = ReportMessage(
            uid=request.uid,
            gateway=self._table.gateway,
            attempt=1,
            age_ms=0.0,
            deadline_ms=self._deadline_ms(request.deadline_ms),
            k=request.k,
            label=request.label,
            triggered=request.image is None,
            votes=()
            if answer is None
            # A vote that counted here, since there was no better one, need not count elsewhere.
            else tuple(VoteMessage.of(v, v.node not in self._quarantined) for v in answer.votes),
            errors=tuple((node, text[:_LONGEST_TEXT]) for node, text in errors.items()),
            spared=() if answer is None else answer.spared,
            gateways=tuple(self.gateways()),
            shared=shared,
        )
        kept = self._keeper.keep(self._loop.time(), report, began)
        if self._gateway.fleet is not self._told:
            # Votes of nodes that nobody has heard of would not count.
            self._connection.retain(self._presence())
        if kept is not None:
            self._send([kept])

    def _send(self, reports: Iterable[ReportMessage]) -> None:
        for report in reports:
            topic = self._topics.votes(partition_of(report.uid))
            self._connection.publish(topic, report.encode())

    def _begin(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and not isinstance(task.exception(), VpError | None):
            log.error("a request shared with other gateways failed", exc_info=task.exception())

    # The connection reports here.

    def on_up(self) -> None:
        topics = self._topics
        self._connection.retain(self._presence())
        self._connection.subscribe([topics.request], own=False)
        self._connection.subscribe([topics.answer, topics.gateway("+"), topics.worker("+")])

    def on_down(self) -> None:
        self._workers.clear()
        self._gateways.deaf_until(self._loop.time())

    def on_forged(self) -> None:
        self.counters.forged += 1

    def on_message(self, topic: str, payload: bytes) -> None:
        known = {
            self._topics.request: self._hear_request,
            self._topics.answer: self._hear_answer,
            self._topics.gateway(topic.rpartition("/")[2]): self._hear_gateway,
            self._topics.worker(topic.rpartition("/")[2]): self._hear_worker,
        }
        hear = known.get(topic)
        if hear is None or not hear(topic, payload):
            self.counters.malformed += 1

    def _hear_request(self, topic: str, payload: bytes) -> bool:
        request = decode(RequestMessage, payload)
        if request is None:
            return False
        now, uid = self._loop.time(), request.uid
        if self._keeper.knows(uid):
            report = self._keeper.asked_again(now, uid)
            if report is not None:
                self._send([report])
        elif uid not in self._working:
            self.counters.served += 1
            if len(self._working) < _MOST_AT_ONCE:
                self._begin(self._serve(request))
            else:
                self.counters.refused += 1
                self._report(request, True, now, None, "its gateway is busy")
        return True

    def _hear_answer(self, topic: str, payload: bytes) -> bool:
        message = decode(AnswerMessage, payload)
        if message is None or len(message.scores) != len(self._fleet.manifest.classes):
            return False
        if self._keeper.answered(message.uid):
            future = self._waiting.get(message.uid)
            if future is not None and not future.done():
                future.set_result(message)
        return True

    def _hear_gateway(self, topic: str, payload: bytes) -> bool:
        message = decode(GatewayMessage, payload)
        if message is None or topic != self._topics.gateway(message.gateway):
            return False
        if message.state == "here" and message.fleet == fleet_digest(self._fleet):
            self._gateways.hear(self._loop.time(), message.gateway, None)
        else:
            self._gateways.leave(message.gateway)
        return True

    def _hear_worker(self, topic: str, payload: bytes) -> bool:
        message = decode(WorkerMessage, payload)
        if message is None or topic != self._topics.worker(message.worker):
            return False
        if not message.here:
            self._workers.leave(message.worker)
            return True
        now, partitions = self._loop.time(), int(message.partitions, 16)
        before = self._workers.get(message.worker) or 0
        self._workers.hear(now, message.worker, partitions)
        self._send(self._keeper.taken_on(now, partitions & ~before))
        return True

    def _heard(self) -> int:
        """The partitions that a worker hears."""
        heard = 0
        for partitions in self._workers.values():
            heard |= partitions
        return heard

    def _presence(self, state: Literal["here", "left", "lost"] = "here") -> Retained:
        self._told = self._gateway.fleet
        message = GatewayMessage(
            gateway=self._table.gateway,
            state=state,
            fleet=fleet_digest(self._fleet),
            nodes=tuple((node.id, node.variant) for node in self._gateway.nodes()),
        )
        return Retained(self._topics.gateway(self._table.gateway), message.encode())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._table.heartbeat_s)
            now = self._loop.time()
            self._connection.retain(self._presence())
            for worker in self._workers.silent(now):
                self._workers.leave(worker)
            for gateway in self._gateways.silent(now):
                self._gateways.leave(gateway)
            expired = self.counters.expired
            self._send(self._keeper.due(now, self._heard() if self._connection.is_up else 0))
            if self.counters.expired > expired:
                log.warning(
                    "workers: %d requests without an answer in %d s",
                    self.counters.expired - expired,
                    self._table.validity_s,
                )
