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
from variant_parallelism.gateway.texts import in_thread
from variant_parallelism.gateway.types import Answered, Event
from variant_parallelism.gateway.web.errors import Problem

MAX_SUBSCRIBERS = 32

_GATHER_S = 0.05
_MOST_ANSWERS = 25
"""Sent in one gathering: 500 a second."""
_MOST_OTHERS = 1000
_MOST_S = 0.02
"""For the answers of one gathering."""
_REST = 5.0
"""How many times as long as that took nothing is encoded."""
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
        self._next = 0.0
        self._passing: asyncio.Task[None] | None = None
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
        if self._passing is not None:
            self._passing.cancel()
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
        if self._timer is None and self._passing is None and not self._closed:
            self._timer = self._loop.call_at(self._next, self._pass_on)

    def _pass_on(self) -> None:
        self._timer = None
        told = sorted([*self._answers, *self._others], key=lambda each: each.order)
        self._answers.clear()
        self._others.clear()
        skipped, self._skipped = self._skipped, 0
        chosen = [(subscriber, *subscriber.choose(told)) for subscriber in self._subscribers]
        self._passing = asyncio.create_task(self._encode(chosen, skipped))

    async def _encode(
        self, chosen: list[tuple[Subscriber, list[_Told], int]], skipped: int
    ) -> None:
        """Give the subscribers what each has chosen. Answers of hundreds of votes take a while,
        which answers must not wait for: a thread works on them, and rests for longer than it
        works."""
        wanted = {each.order: each for _, some, _ in chosen for each in some}
        variants = variants_of(self._gateway.fleet)
        began = self._loop.time()
        try:
            await in_thread(_encode_newest, list(wanted.values()), variants)
        finally:
            self._passing = None
            took = self._loop.time() - began
            self._next = self._loop.time() + max(_GATHER_S, _REST * took)
        for subscriber, some, left_out in chosen:
            texts = [each.text for each in some if each.text is not None]
            left_out += len(some) - len(texts)
            self._counters.events_skipped += subscriber.put(texts, skipped + left_out)
        if self._answers or self._others or any(each.held for each in self._subscribers):
            self._set_timer()


def _encode_newest(told: list[_Told], variants: dict[int, str]) -> None:
    """All that are no answers, and of the answers the newest, as many as there is time for."""
    until = time.monotonic() + _MOST_S
    newest = max((each.order for each in told if each.is_answer), default=0)
    for each in sorted(told, key=lambda each: (each.is_answer, -each.order)):
        if each.is_answer and each.order < newest and time.monotonic() > until:
            return
        if each.text is None:
            value = record_json(each.record, variants)
            each.text = _framed(value["event"], encode(value))


def _framed(kind: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)
