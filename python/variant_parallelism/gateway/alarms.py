"""When to look at what: a heap of times with at most one that counts for each thing."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_SLACK = 64
"""Alarms that do not count any more and are kept for nothing, besides one for each that does."""


class Alarms(Generic[Key]):
    """Setting an alarm earlier replaces it; setting it later does nothing: who is woken too early
    sets it anew."""

    def __init__(self) -> None:
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()

    def set(self, key: Key, at: float) -> None:
        """Wake for `key` at `at` or before; infinity: no need."""
        if at < self._at.get(key, float("inf")):
            self._at[key] = at
            heapq.heappush(self._heap, (at, next(self._order), key))
            if len(self._heap) > 2 * len(self._at) + _SLACK:
                self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
                heapq.heapify(self._heap)

    def forget(self, key: Key) -> None:
        self._at.pop(key, None)

    def due(self, now: float) -> list[Key]:
        """Whose time has come; they have no alarm any more."""
        keys = []
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._at.get(key) == at:
                del self._at[key]
                keys.append(key)
        return keys

    def wake_at(self) -> float:
        """The next alarm; infinity: none."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")
