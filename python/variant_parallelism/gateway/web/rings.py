"""Fixed-size rings of time buckets: sums, a histogram of latencies, and sums of every node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOTALS = 4
BINS = 80
"""Latencies of 0.1 ms to 105 s, 19 % a bin; what is beyond counts in the outermost ones."""

_FLOOR_MS = 0.1
_BINS_PER_OCTAVE = 4


@dataclass(frozen=True, slots=True)
class Rows:
    """What was recorded in R buckets (R, ...). `held` is false for one without a record.

    `totals` (R, 4), `latency` (R, BINS), and of every node (R, N): seconds `up`, `votes`,
    `agreed` votes. `wall` is the Unix time at which the bucket began.
    """

    held: NDArray[np.bool_]
    wall: NDArray[np.float64]
    totals: NDArray[Any]
    latency: NDArray[Any]
    up: NDArray[Any]
    votes: NDArray[Any]
    agreed: NDArray[Any]

    def merged(self, merge: int) -> Rows:
        """Every `merge` rows as one; `wall` is that of the first of them that has a record."""
        held = self.held.reshape(-1, merge)
        wall = self.wall.reshape(-1, merge)
        totals, latency, up, votes, agreed = (
            (array * self.held[:, None])
            .reshape(-1, merge, array.shape[1])
            .sum(axis=1, dtype=np.float64 if array.dtype.kind == "f" else np.int64)
            for array in (self.totals, self.latency, self.up, self.votes, self.agreed)
        )
        first = wall[np.arange(len(wall)), held.argmax(axis=1)]
        return Rows(np.asarray(held.any(axis=1)), first, totals, latency, up, votes, agreed)


class Ring:
    """`length` buckets; the one with number n is in row n modulo length."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._bucket = np.full(length, -1, np.int64)
        self._wall = np.zeros(length)
        self._totals = np.zeros((length, TOTALS), np.uint32)
        self._latency = np.zeros((length, BINS), np.uint32)
        self._up = np.zeros((length, 0), np.float32)
        self._votes = np.zeros((length, 0), np.uint32)
        self._agreed = np.zeros((length, 0), np.uint32)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def grow(self, more: int) -> None:
        """Make room for more nodes."""
        self._up = np.pad(self._up, ((0, 0), (0, more)))
        self._votes = np.pad(self._votes, ((0, 0), (0, more)))
        self._agreed = np.pad(self._agreed, ((0, 0), (0, more)))

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self._totals, self._latency, self._up, self._votes, self._agreed

    def clear(self, column: int) -> None:
        """Forget a node's sums."""
        for array in (self._up, self._votes, self._agreed):
            array[:, column] = 0

    def add(
        self,
        bucket: int,
        wall: float,
        totals: Sequence[int],
        latency: Sequence[int],
        nodes: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]],
    ) -> None:
        """Add to a bucket; a row that still holds an older one is emptied first."""
        row = bucket % self._length
        arrays = self._arrays()
        if self._bucket[row] != bucket:
            self._bucket[row] = bucket
            self._wall[row] = wall
            for array in arrays:
                array[row] = 0
        for array, amount in zip(arrays, (totals, latency, *nodes), strict=True):
            array[row] += np.asarray(amount, array.dtype)

    def rows(self, end: int, count: int) -> Rows:
        """A copy of the `count` buckets before bucket `end`."""
        wanted = np.arange(end - count, end)
        rows = wanted % self._length
        return Rows(
            self._bucket[rows] == wanted,
            self._wall[rows],
            *(array[rows] for array in self._arrays()),
        )


def latency_bin(latency_ms: float) -> int:
    if latency_ms <= _FLOOR_MS:
        return 0
    return min(BINS - 1, int(_BINS_PER_OCTAVE * math.log2(latency_ms / _FLOOR_MS)))


def quantiles(counts: NDArray[np.int64], share: float) -> list[float | None]:
    """A quantile of each row of a latency histogram, in ms; between a bin's bounds by its rank."""
    sums = counts.cumsum(axis=1)
    total = sums[:, -1]
    rank = share * total
    bins = (sums < rank[:, None]).sum(axis=1).clip(max=BINS - 1)
    rows = np.arange(len(counts))
    inside = counts[rows, bins]
    part = np.where(inside > 0, (rank - sums[rows, bins] + inside) / np.maximum(inside, 1), 0.0)
    value = _FLOOR_MS * 2 ** ((bins + part) / _BINS_PER_OCTAVE)
    return [round(float(v), 3) if n else None for v, n in zip(value, total, strict=True)]
