"""Lines to a file descriptor that may be full, slow or closed: nobody waits, nothing is raised."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_RETRY_S = 1.0
_IDLE_S = 1.0
_AT_ONCE = 256

T = TypeVar("T")


class LineWriter(Generic[T]):
    """A bounded queue, and a thread that turns what is in it into lines and writes them.

    What cannot be written is tried again while newer items wait; when the queue is full the oldest
    give way, and a line says how many those were once writing works again.
    """

    def __init__(
        self,
        file: int | None,
        render: Callable[[T], list[str]],
        idle: Callable[[bool], list[str]],
        lost: Callable[[int], str],
        *,
        capacity: int = 10_000,
    ) -> None:
        """`file` is a descriptor; None drops everything. In the thread, `render` makes the lines
        of an item, `idle` those that are due without one (its argument: whether this is the end),
        `lost` the one about lost items."""
        self.dropped = 0
        self._file = file
        self._render = render
        self._idle = idle
        self._lost = lost
        self._capacity = capacity
        self._queue: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._dropped_told = 0
        self._torn = False
        """Whether the file ends within a line."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        if file is not None:
            self._thread.start()

    def put(self, item: T) -> None:
        """Add an item; returns at once."""
        if self._file is None:
            return
        with self._changed:
            self._queue.append(item)
            if len(self._queue) > self._capacity:
                self._queue.popleft()
                self.dropped += 1
            self._changed.notify()

    def close(self, limit_s: float) -> None:
        """Write what waits for at most `limit_s`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._file is not None:
            self._thread.join(limit_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing, _IDLE_S)
                items = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
                ending = self._closing and not self._queue
            lines = [line for item in items for line in self._lines(item)]
            self._write(lines + self._idle(ending))
            if self.dropped > self._dropped_told:
                lost, self._dropped_told = self.dropped - self._dropped_told, self.dropped
                self._write([self._lost(lost)])
            if ending:
                return

    def _lines(self, item: T) -> list[str]:
        try:
            return self._render(item)
        except Exception as error:  # One bad line must not end the log.
            return [f"a line of this log cannot be written: {error!r}"]

    def _write(self, lines: list[str]) -> None:
        """Write lines, however long that takes; give up only at the end."""
        data = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        rest = memoryview(data)
        while rest:
            try:
                if self._torn:
                    self._put(memoryview(b"\n"))
                    self._torn = False
                rest = rest[self._put(rest) :]
                continue
            except OSError:
                pass
            done = len(data) - len(rest)
            self._torn = done > 0 and data[done - 1 : done] != b"\n"
            # What begins within a line is no use: the next whole one follows.
            rest = rest[data.find(b"\n", done) + 1 - done :] if self._torn else rest
            if self._closing:
                return
            time.sleep(_RETRY_S)

    def _put(self, data: memoryview) -> int:
        assert self._file is not None
        while True:
            try:
                return os.write(self._file, data)
            except BlockingIOError:
                # Whoever shares the descriptor made it so.
                with contextlib.suppress(ValueError):
                    select.select([], [self._file], [], _RETRY_S)
                if self._closing:
                    raise
