"""`AsyncClient`: a gateway as coroutines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, TypeVar

import httpx

from variant_parallelism.api import Answer, Event, FleetCounters, FleetInfo, Node
from variant_parallelism.client import exchange
from variant_parallelism.client.exchange import (
    DEFAULT_URL,
    HEARTBEAT_S,
    REPLY_TIMEOUT_S,
    Ask,
    Deadline,
    EventReader,
    GatewayError,
    Image,
    refused,
    target_of,
    told,
    understood,
)
from variant_parallelism.fleet import Fleet

T = TypeVar("T")


class AsyncClient:
    """A gateway, for one event loop. Close it, or use it as an asynchronous context manager.

    Every failure is a GatewayError of one line, a mistake in what is asked a VpError.
    """

    def __init__(
        self,
        gateway: Fleet | str | os.PathLike[str] = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout_s: float = REPLY_TIMEOUT_S,
    ) -> None:
        """`gateway` is its URL, or the fleet or fleet file that it runs, which says where the token
        is, too. `timeout_s` is the longest wait for a reply, beyond a request's deadline."""
        target = target_of(gateway, token)
        self.base = target.base
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(**target.options())
        self._deadline = Deadline()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def classify(
        self,
        image: Image,
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | str | None = None,
    ) -> Answer:
        """Ask about an image: uint8 pixels (H, W[, C]), a PNG's or JPEG's bytes, or its path.

        k and the deadline default to the fleet's; `label` is the right class (index or name), if
        known. `class_index` is None if no node answered.
        """
        if isinstance(image, str | os.PathLike):
            image = await asyncio.to_thread(exchange.read, image)
        ask = exchange.classify(image, k, deadline_ms, label)
        return await self._ask(ask, await self._longest(deadline_ms))

    async def trigger(
        self,
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | str | None = None,
    ) -> Answer:
        """Have every node with an input source of its own capture, and answer about that."""
        ask = exchange.trigger(k, deadline_ms, label)
        return await self._ask(ask, await self._longest(deadline_ms))

    async def fleet(self) -> FleetInfo:
        """Its name, classes and defaults."""
        return await self._ask(exchange.fleet())

    async def nodes(self) -> list[Node]:
        """Every node, in the fleet file's order."""
        return await self._ask(exchange.nodes())

    async def counters(self) -> FleetCounters:
        """Counts since the gateway started."""
        return await self._ask(exchange.counters())

    async def history(self, span: str = "hour", node: int | None = None) -> dict[str, Any]:
        """Answers, latencies and availability over time, as `/v1/history` documents it."""
        return await self._ask(exchange.history(span, node))

    async def picture(self, request: int) -> bytes:
        """The image of a recent request, as a PNG file."""
        return await self._ask(exchange.picture(request))

    async def quarantine(self, node: int, on: bool = True, reason: str | None = None) -> Node:
        """Leave a node's votes out, or count them again; the node as it is then."""
        return await self._ask(exchange.quarantine(node, on, reason))

    async def events(self, *, answers_per_s: float | None = None) -> AsyncIterator[Event]:
        """What happens from now on, until the gateway goes away (GatewayError).

        At most `answers_per_s` answers come; a SkippedEvent tells how many were left out.
        """
        reader = EventReader()
        arguments = exchange.events(answers_per_s).arguments(self._timeout_s + HEARTBEAT_S)
        with told(self.base):
            async with self._http.stream(**arguments) as reply:
                if reply.status_code >= 400:
                    await reply.aread()
                    raise refused(reply)
                async for line in reply.aiter_lines():
                    event = reader.push(line)
                    if event is not None:
                        yield event
        raise GatewayError(f"the gateway at {self.base} stopped")

    async def _longest(self, deadline_ms: float | None) -> float:
        """How long an answer may take, in ms; by default the fleet's."""
        if deadline_ms is not None:
            return deadline_ms
        known = self._deadline.ms()
        return self._deadline.learn((await self.fleet()).deadline_ms) if known is None else known

    async def _ask(self, ask: Ask[T], wait_ms: float = 0.0) -> T:
        arguments = ask.arguments(self._timeout_s + wait_ms / 1000)
        with told(self.base):
            async with self._http.stream(**arguments) as reply:
                try:
                    await reply.aread()
                except httpx.TransportError:
                    # Of a refusal that is cut off, the status is enough.
                    if reply.status_code < 400:
                        raise
                return understood(ask, reply)
