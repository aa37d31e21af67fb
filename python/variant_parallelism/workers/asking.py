"""Asking a fleet through its broker, from any machine: no gateway's HTTP address is needed."""

from __future__ import annotations

import asyncio
import math
import secrets
import uuid
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.requests import check
from variant_parallelism.gateway.types import Answer
from variant_parallelism.workers.connection import Connection, Handler
from variant_parallelism.workers.messages import (
    MAX_MESSAGE,
    AnswerMessage,
    RequestMessage,
    decode,
)
from variant_parallelism.workers.topics import Topics
from variant_parallelism.workers_table import WorkersTable

_WAIT_S = 5.0
_REPEAT_S = 1.0


class BrokerClient(Handler):
    """Puts images to all gateways of a fleet; an asynchronous context manager.

    Entering raises VpError for what waiting does not mend (a password file that is none).
    """

    def __init__(self, fleet: Fleet, table: WorkersTable, *, wait_s: float = _WAIT_S) -> None:
        """An answer is waited for until `wait_s` after its deadline."""
        self.forged = 0
        """Messages without the right tag."""
        self.malformed = 0
        self._fleet = fleet
        self._table = table
        self._wait_s = wait_s
        self._topics = Topics.of(fleet.table, table)
        self._waiting: dict[str, tuple[RequestMessage, asyncio.Future[AnswerMessage]]] = {}
        self._ready = False

    async def __aenter__(self) -> BrokerClient:
        name, number = self._fleet.table.name, self._fleet.table.id
        client_id = f"vp-{name}-{number}-client-{secrets.token_hex(4)}"
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(self._fleet, self._table, client_id, self)
        self._connection.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.stop()

    async def classify(
        self,
        image: NDArray[np.uint8],
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | None = None,
    ) -> Answer:
        """Ask the nodes of all gateways about a uint8 image (H, W, C).

        k and the deadline default to the fleet's; `label` is the right class, if known. The
        answer's `uid` names the request; its number is 0. VpError if the image cannot be asked
        about, or no worker answered in time.
        """
        k = self._fleet.table.k if k is None else k
        given_ms = self._fleet.table.deadline_ms if deadline_ms is None else deadline_ms
        check(self._fleet, image, k, given_ms / 1000, label)
        height, width, channels = image.shape
        request = RequestMessage(
            uid=uuid.uuid4().hex,
            k=k,
            deadline_ms=deadline_ms,
            label=label,
            shape=(height, width, channels),
            image=image.tobytes(),
        )
        if len(request.encode()) > MAX_MESSAGE:
            raise VpError(f"an image of {len(image.tobytes())} bytes is too large for a broker")
        answered: asyncio.Future[AnswerMessage] = self._loop.create_future()
        began = self._loop.time()
        self._waiting[request.uid] = (request, answered)
        try:
            while self._loop.time() < began + given_ms / 1000 + self._wait_s:
                # Once more for gateways that have come meanwhile; the others know it.
                if self._ready and self._loop.time() <= began + given_ms / 1000:
                    self._ask(request)
                await asyncio.wait([answered], timeout=min(_REPEAT_S, self._wait_s))
                if answered.done():
                    return answered.result().answer(0, (self._loop.time() - began) * 1000)
        finally:
            del self._waiting[request.uid]
        raise VpError(self._why(given_ms))

    def _ask(self, request: RequestMessage) -> None:
        given_ms = request.deadline_ms or self._fleet.table.deadline_ms
        self._connection.publish(
            self._topics.request, request.encode(), expiry_s=math.ceil(given_ms / 1000)
        )

    def _why(self, given_ms: float) -> str:
        if not self._connection.is_up:
            return f"no broker: {self._connection.trouble}"
        return (
            f"no answer through {self._table.place} in {given_ms / 1000 + self._wait_s:g} s: is a "
            "`vp aggregate` running, and a `vp gateway` with [workers]?"
        )

    # The connection reports here.

    def on_up(self) -> None:
        self._connection.subscribe([self._topics.answer], self._on_ready)

    def _on_ready(self) -> None:
        """Answers will be heard: also those to what was asked before the connection broke. Who has
        heard of a request already knows it by its id."""
        self._ready = True
        for request, _ in self._waiting.values():
            self._ask(request)

    def on_down(self) -> None:
        self._ready = False

    def on_forged(self) -> None:
        self.forged += 1

    def on_message(self, topic: str, payload: bytes) -> None:
        message = decode(AnswerMessage, payload)
        if message is None or len(message.scores) != len(self._fleet.manifest.classes):
            self.malformed += 1
            return
        _, answered = self._waiting.get(message.uid, (None, None))
        if answered is not None and not answered.done():
            answered.set_result(message)
