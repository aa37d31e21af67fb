"""`Client`: a gateway as functions."""

from __future__ import annotations

import os
from collections.abc import Iterator
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


class Client:
    """A gateway. Threads may share one; close it, or use it as a context manager.

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
        self._http = httpx.Client(**target.options())
        self._deadline = Deadline()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def classify(
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
        ask = exchange.classify(image, k, deadline_ms, label)
        return self._ask(ask, self._longest(deadline_ms))

    def trigger(
        self,
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | str | None = None,
    ) -> Answer:
        """Have every node with an input source of its own capture, and answer about that."""
        ask = exchange.trigger(k, deadline_ms, label)
        return self._ask(ask, self._longest(deadline_ms))

    def fleet(self) -> FleetInfo:
        """Its name, classes and defaults."""
        return self._ask(exchange.fleet())

    def nodes(self) -> list[Node]:
        """Every node, in the fleet file's order."""
        return self._ask(exchange.nodes())

    def counters(self) -> FleetCounters:
        """Counts since the gateway started."""
        return self._ask(exchange.counters())

    def history(self, span: str = "hour", node: int | None = None) -> dict[str, Any]:
        """Answers, latencies and availability over time, as `/v1/history` documents it."""
        return self._ask(exchange.history(span, node))

    def picture(self, request: int) -> bytes:
        """The image of a recent request, as a PNG file."""
        return self._ask(exchange.picture(request))

    def quarantine(self, node: int, on: bool = True, reason: str | None = None) -> Node:
        """Leave a node's votes out, or count them again; the node as it is then."""
        return self._ask(exchange.quarantine(node, on, reason))

    def events(self, *, answers_per_s: float | None = None) -> Iterator[Event]:
        """What happens from now on, until the gateway goes away (GatewayError).

        At most `answers_per_s` answers come; a SkippedEvent tells how many were left out.
        """
        reader = EventReader()
        arguments = exchange.events(answers_per_s).arguments(self._timeout_s + HEARTBEAT_S)
        with told(self.base), self._http.stream(**arguments) as reply:
            if reply.status_code >= 400:
                reply.read()
                raise refused(reply)
            for line in reply.iter_lines():
                event = reader.push(line)
                if event is not None:
                    yield event
        raise GatewayError(f"the gateway at {self.base} stopped")

    def _longest(self, deadline_ms: float | None) -> float:
        """How long an answer may take, in ms; by default the fleet's."""
        if deadline_ms is not None:
            return deadline_ms
        known = self._deadline.ms()
        return self._deadline.learn(self.fleet().deadline_ms) if known is None else known

    def _ask(self, ask: Ask[T], wait_ms: float = 0.0) -> T:
        arguments = ask.arguments(self._timeout_s + wait_ms / 1000)
        with told(self.base), self._http.stream(**arguments) as reply:
            try:
                reply.read()
            except httpx.TransportError:
                # Of a refusal that is cut off, the status is enough.
                if reply.status_code < 400:
                    raise
            return understood(ask, reply)
