"""GET /v1/events: what happens, as server-sent events.

Events are gathered for a moment and encoded once for all subscribers, and only those that
somebody gets: a gateway may answer far more requests a second than anybody can look at.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from variant_parallelism.api import HttpCounters
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.sinks.records import (
    encode,
    iso_time,
    record_json,
    variants_of,
)
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.types import Answered, Event
from variant_parallelism.gateway.web.errors import Problem

MAX_SUBSCRIBERS = 32

_GATHER_S = 0.05
_MOST_ANSWERS = 25
"""Sent in one gathering: 500 a second."""
_MOST_OTHERS = 1000
_QUEUE_BYTES = 256 * 1024
_HEARTBEAT_S = 10.0
_RETRY_S = 5


class Teller(Protocol):
    """What of a gateway is told."""

    @property
    def fleet(self) -> Fleet: ...

    def on_event(self, listener: Callable[[Event], None]) -> Callable[[], None]: ...


@dataclass(slots=True)
class _Told:
    """An event on its way. Its order counts answers and others together."""

    order: int
    record: Record
    text: bytes | None = None

    @property
    def is_answer(self) -> bool:
        return isinstance(self.record.event, Answered)


class Subscriber:
    """One client's bounded queue."""

    def __init__(self, answers_per_s: float | None) -> None:
        self.wake = asyncio.Event()
        self.ended = False
        self.held: _Told | None = None
        """The newest answer, where its pace does not allow it yet."""
        self._rate = answers_per_s
        self._allowed = answers_per_s or 0.0
        self._since = time.monotonic()
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._skipped = 0

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def choose(self, told: list[_Told]) -> tuple[list[_Told], int]:
        """Those that it gets now, and how many answers it does not get at all."""
        if self._rate is None:
            return told, 0
        now = time.monotonic()
        most = max(1.0, self._rate)
        self._allowed = min(most, self._allowed + (now - self._since) * self._rate)
        self._since = now
        answers = ([] if self.held is None else [self.held]) + [t for t in told if t.is_answer]
        count = min(len(answers), int(self._allowed))
        self._allowed -= count
        chosen = answers[len(answers) - count :]
        self.held = None if count or not answers else answers[-1]
        left_out = len(answers) - count - (self.held is not None)
        others = [t for t in told if not t.is_answer]
        return sorted(others + chosen, key=lambda t: t.order), left_out

    def put(self, texts: list[bytes], skipped: int) -> int:
        """Queue encoded events; the number that it will never get, with `skipped`."""
        self._queue.extend(texts)
        self._bytes += sum(map(len, texts))
        while self._bytes > _QUEUE_BYTES:
            self._bytes -= len(self._queue.popleft())
            skipped += 1
        self._skipped += skipped
        if self._queue:
            self.wake.set()
        return skipped

    def take(self) -> bytes:
        """All that waits, with a word on what was skipped before it."""
        self.wake.clear()
        skipped, self._skipped = self._skipped, 0
        if skipped:
            told = {"time": iso_time(time.time()), "event": "skipped", "count": skipped}
            self._queue.appendleft(_framed("skipped", encode(told)))
        text = b"".join(self._queue)
        self._queue.clear()
        self._bytes = 0
        return text


class EventHub:
    """Tells the subscribers what the gateway tells."""

    def __init__(self, gateway: Teller, counters: HttpCounters) -> None:
        self._gateway = gateway
        self._counters = counters
        self._subscribers: list[Subscriber] = []
        self._answers: deque[_Told] = deque()
        self._others: deque[_Told] = deque()
        self._skipped = 0
        self._order = 0
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._forget: Callable[[], None] | None = None
        self._closed = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._forget = self._gateway.on_event(self._listen)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        if self._forget is not None:
            self._forget()
        if self._timer is not None:
            self._timer.cancel()
        self.end_streams()

    def end_streams(self) -> None:
        """End those that are open; their clients come back, if they may."""
        for subscriber in self._subscribers:
            subscriber.ended = True
            subscriber.wake.set()

    def subscribe(self, answers_per_s: float | None) -> Subscriber:
        """Problem (503) if there are too many."""
        if len(self._subscribers) >= MAX_SUBSCRIBERS or self._closed:
            raise Problem(503, f"{MAX_SUBSCRIBERS} clients watch events already", _RETRY_S)
        subscriber = Subscriber(answers_per_s)
        self._subscribers.append(subscriber)
        self._counters.subscribers = len(self._subscribers)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        self._subscribers.remove(subscriber)
        self._counters.subscribers = len(self._subscribers)

    async def stream(self, subscriber: Subscriber) -> AsyncIterator[bytes]:
        """The body of a subscriber's response."""
        try:
            yield b": these are events\n\n"
            while not subscriber.ended:
                try:
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await subscriber.wake.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                yield subscriber.take()
        finally:
            self.leave(subscriber)

    def _listen(self, event: Event) -> None:
        if not self._subscribers:
            return
        self._order += 1
        is_answer = isinstance(event, Answered)
        # Without its image, which is large and not told.
        event = Answered(event.answer) if isinstance(event, Answered) else event
        waiting, most = (
            (self._answers, _MOST_ANSWERS) if is_answer else (self._others, _MOST_OTHERS)
        )
        waiting.append(_Told(self._order, Record(time.time(), event)))
        if len(waiting) > most:
            waiting.popleft()
            self._skipped += 1
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(self._last + _GATHER_S, self._pass_on)

    def _pass_on(self) -> None:
        self._timer = None
        self._last = self._loop.time()
        told = sorted([*self._answers, *self._others], key=lambda each: each.order)
        self._answers.clear()
        self._others.clear()
        skipped, self._skipped = self._skipped, 0
        variants = variants_of(self._gateway.fleet)
        for subscriber in self._subscribers:
            chosen, left_out = subscriber.choose(told)
            texts = [_encoded(each, variants) for each in chosen]
            self._counters.events_skipped += subscriber.put(texts, skipped + left_out)
        if any(subscriber.held is not None for subscriber in self._subscribers):
            self._set_timer()


def _encoded(told: _Told, variants: dict[int, str]) -> bytes:
    if told.text is None:
        value = record_json(told.record, variants)
        told.text = _framed(value["event"], encode(value))
    return told.text


def _framed(kind: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)
