"""What one caller, or all together, may take of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from variant_parallelism.api import HttpCounters
from variant_parallelism.gateway.web.errors import RESTART_S, Problem

BODY_TIMEOUT_S = 10.0
"""For a whole body to arrive."""

_BUFFERED_BODIES = 4
"""Bodies of the largest size that may be in memory at a time."""

_RETRY_S = 1

_MOST_JSON = 64 * 1024
"""Bytes of a body that is no image."""


class Limits:
    """How many requests are in flight and how large their bodies are; nothing waits in a queue.

    A request over a limit is refused at once, with the time to try again after.
    """

    def __init__(self, max_in_flight: int, max_body: int, counters: HttpCounters) -> None:
        self.max_in_flight = max_in_flight
        self.max_body = max_body
        self._counters = counters
        self._buffered = 0
        self._stopping = False
        self._reading: set[asyncio.Timeout] = set()

    def stop(self) -> None:
        """Wait for no body any more."""
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for waiting in self._reading:
            waiting.reschedule(now)

    @asynccontextmanager
    async def patience(self, until: float) -> AsyncIterator[None]:
        """Wait for a caller until a time of the loop's clock, in seconds. Problem (408) if it was
        too slow, (503) if the gateway stops meanwhile."""
        try:
            async with asyncio.timeout_at(float("-inf") if self._stopping else until) as waiting:
                self._reading.add(waiting)
                try:
                    yield
                finally:
                    self._reading.discard(waiting)
        except TimeoutError:
            if self._stopping:
                raise Problem(503, "the gateway is stopping", RESTART_S) from None
            raise Problem(
                408, f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds"
            ) from None

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Be one of the requests in flight. Problem (429) if there are `max_in_flight` already."""
        self.check_in_flight()
        self._counters.in_flight += 1
        try:
            yield
        finally:
            self._counters.in_flight -= 1

    def check_in_flight(self) -> None:
        """The same Problem, at present."""
        if self._counters.in_flight >= self.max_in_flight:
            raise Problem(
                429,
                f"{self._counters.in_flight} requests are in flight already "
                "([gateway] max_in_flight): try again",
                _RETRY_S,
            )

    async def body(self, request: Request) -> bytes:
        """The whole body. Problem if it is too large, too slow, or all bodies together are, or
        the gateway stops meanwhile."""
        announced = request.headers.get("content-length")
        if announced is not None and int(announced) > self.max_body:
            raise self._too_large()
        body = bytearray()
        try:
            async with self.patience(asyncio.get_running_loop().time() + BODY_TIMEOUT_S):
                async for part in request.stream():
                    self._buffered += len(part)
                    body += part
                    self._check(len(body))
        finally:
            self._buffered -= len(body)
        return bytes(body)

    def _check(self, length: int) -> None:
        if length > self.max_body:
            raise self._too_large()
        if self._buffered > _BUFFERED_BODIES * self.max_body:
            raise Problem(503, "too many large bodies at a time: try again", _RETRY_S)

    def _too_large(self) -> Problem:
        return Problem(413, f"the body exceeds {self.max_body} bytes ([gateway] max_body)")


class SmallBodies:
    """ASGI: the same for the bodies that FastAPI reads, wherever no image is expected."""

    def __init__(self, app: ASGIApp, limits: Limits, images: str) -> None:
        """`images` is the path whose bodies are left to it."""
        self._app = app
        self._limits = limits
        self._images = images

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Of a GET, whose response may have begun, nobody reads a body.
        mine = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")
        if not mine or scope["path"] == self._images:
            await self._app(scope, receive, send)
            return
        until = asyncio.get_running_loop().time() + BODY_TIMEOUT_S
        taken = 0
        ended = False

        async def limited() -> Message:
            nonlocal taken, ended
            if ended:
                return await receive()
            try:
                async with self._limits.patience(until):
                    message = await receive()
            except Problem as problem:
                raise _as_http(problem) from None
            ended = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > _MOST_JSON:
                raise HTTPException(413, f"the body exceeds {_MOST_JSON} bytes")
            return message

        await self._app(scope, limited, send)


def _as_http(problem: Problem) -> HTTPException:
    """For FastAPI, which lets nothing else through while it reads a body."""
    retry = problem.retry_s
    headers = None if retry is None else {"Retry-After": str(retry)}
    return HTTPException(problem.status, str(problem), headers)
