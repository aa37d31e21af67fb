"""Lets callers read why they were refused while they still send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DRAIN_TIMEOUT_S = 5.0
_MOST_BYTES = 64 * 1024 * 1024


class Draining:
    """ASGI: takes in what is left of a body that the application did not read.

    Closing the connection at once would reset it, and most clients then lose the reply.
    """

    def __init__(self, app: ASGIApp, is_stopping: Callable[[], bool]) -> None:
        self._app = app
        self._is_stopping = is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ended = False

        async def observed() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        async def drained(message: Message) -> None:
            nonlocal ended
            if message.get("status") == 408 or self._is_stopping():
                # It does not come, or nobody has the time.
                ended = True
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or ended or not _has_body(scope):
                await send(message)
                return
            await send({**message, "more_body": True})
            taken = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    while not ended and taken < _MOST_BYTES:
                        taken += len((await observed()).get("body", b""))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, observed, drained)


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
