"""One HTTP connection with limits: nobody holds one for long without sending or reading."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from variant_parallelism.api import HttpCounters

HEAD_TIMEOUT_S = 10.0
"""For a request's head to arrive."""

READ_TIMEOUT_S = 20.0
"""For a caller to take what is sent to it."""


def limited_protocol(counters: HttpCounters, max_connections: int) -> type[H11Protocol]:
    """The protocol of a server with these counters and at most so many connections."""

    class Limited(_LimitedProtocol):
        pass

    Limited.counters = counters
    Limited.max_connections = max_connections
    return Limited


class _LimitedProtocol(H11Protocol):
    counters: ClassVar[HttpCounters]
    max_connections: ClassVar[int]
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Every byte that the kernel does not take counts as unread.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.max_connections:
            self.counters.connections_refused += 1
            self._say(503, "too many connections: try again", "Retry-After: 1\r\n")
            return
        self.counters.connections = len(self.connections)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_came()
        elif self._head_timer is None:
            self._await_head()

    def on_response_complete(self) -> None:
        unfinished = self.conn.their_state is h11.SEND_BODY
        # This may begin with the next request.
        super().on_response_complete()
        if unfinished:
            self.transport.close()
        elif self.cycle.response_complete:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.counters.connections = len(self.connections)
        self._head_came()
        self._all_read()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(READ_TIMEOUT_S, self._unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._all_read()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP. h11 cannot answer it while an answer is under way."""
        self.counters.requests += 1
        self.counters.invalid += 1
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
        else:
            self._say(400, "this is no HTTP/1.1 request")

    def _await_head(self) -> None:
        self._head_came()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self.conn.trailing_data[0]:
            self.counters.too_slow += 1
            self._say(408, f"the request did not arrive within {HEAD_TIMEOUT_S:g} seconds")
        else:
            self.transport.close()

    def _all_read(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _unread(self) -> None:
        self.counters.too_slow += 1
        self.transport.abort()

    def _say(self, status: int, text: str, headers: str = "") -> None:
        """A reply past h11, whose state allows none here, and the end of the connection."""
        if self.cycle is None or self.cycle.response_complete:
            body = json.dumps({"error": text})
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                f"{headers}Connection: close\r\n\r\n{body}".encode("ascii")
            )
        self.transport.close()
