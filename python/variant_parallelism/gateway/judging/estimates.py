"""Running estimates of nodes: how often they agree, how fast and how reliably they answer.

Arrays over all nodes, updated once a request. Memory is bounded: three averages and `window`
latencies a node. An average is over everything while that is fewer than `window` samples, and from
then on exponential: each sample counts 1 / window, so that the last `window` samples make up 63%
of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway.types import NodeEstimate

Rows = NDArray[np.integer]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Average:
    """One running average a row, of values 0 and 1."""

    def __init__(self, rows: int, window: int) -> None:
        self.value: Floats = np.zeros(rows)
        """Meaningless where `samples` is 0."""
        self.samples: NDArray[np.int64] = np.zeros(rows, np.int64)
        self._window = window

    def grow(self, rows: int) -> None:
        self.value = _grown(self.value, rows)
        self.samples = _grown(self.samples, rows)

    def add(self, rows: Rows, values: Flags) -> None:
        """One more value for each of these rows, all different."""
        self.samples[rows] += 1
        part = 1 / np.minimum(self.samples[rows], self._window)
        self.value[rows] += part * (values - self.value[rows])

    def forgive(self, row: int) -> None:
        """A recent 0 was a 1 after all."""
        if self.samples[row]:
            part = 1 / min(int(self.samples[row]), self._window)
            self.value[row] = min(1.0, self.value[row] + part)

    def forget(self, row: int) -> None:
        self.value[row], self.samples[row] = 0.0, 0

    def below(self, limit: float, samples: int) -> Flags:
        """Which rows have at least so many samples and are below `limit`."""
        return np.asarray((self.samples >= samples) & (self.value < limit))

    def median(self, rows: Rows, samples: int) -> float:
        """Of the averages of these rows that have so many samples; NaN if none has."""
        values = self.value[rows[self.samples[rows] >= samples]]
        return float(np.median(values)) if values.size else float("nan")

    def known(self, rows: Rows) -> list[float | None]:
        """The averages of these rows, None where there is no sample."""
        return _known(np.where(self.samples[rows] > 0, self.value[rows], np.nan))


class Latencies:
    """The last `window` latencies of each row, in milliseconds."""

    def __init__(self, rows: int, window: int) -> None:
        self.samples: NDArray[np.int64] = np.zeros(rows, np.int64)
        self._window = window
        self._ring: NDArray[np.float32] = np.full((rows, window), np.nan, np.float32)

    def grow(self, rows: int) -> None:
        before = len(self.samples)
        self.samples = _grown(self.samples, rows)
        ring = np.full((rows, self._window), np.nan, np.float32)
        ring[:before] = self._ring
        self._ring = ring

    def add(self, rows: Rows, latency_ms: Floats) -> None:
        """One more latency for each of these rows, all different."""
        self._ring[rows, self.samples[rows] % self._window] = latency_ms
        self.samples[rows] += 1

    def forget(self, row: int) -> None:
        self.samples[row] = 0
        self._ring[row] = np.nan

    def quantiles(self, rows: Rows, *shares: float) -> list[Floats]:
        """For each share, that quantile of each row's last latencies, interpolated; NaN where there
        is none."""
        # NaN sorts last, so that the first `counts` of each row are its latencies.
        ranked = np.sort(self._ring[rows], axis=1)
        counts = np.minimum(self.samples[rows], self._window)
        each = np.arange(len(ranked))
        result = []
        for share in shares:
            place = share * np.maximum(counts - 1, 0)
            low = place.astype(np.int64)
            below = ranked[each, low].astype(np.float64)
            above = ranked[each, np.minimum(low + 1, np.maximum(counts - 1, 0))]
            result.append(np.asarray(below + (place - low) * (above - below), dtype=np.float64))
        return result


class Estimates:
    """All estimates of a fleet's nodes, which are numbered by row."""

    def __init__(self, nodes: int, window: int) -> None:
        self.agreement = Average(nodes, window)
        """Votes whose first class was that of most others."""
        self.reliability = Average(nodes, window)
        """Requests put to a node that it answered in time."""
        self.accuracy = Average(nodes, window)
        """Votes whose first class was right, where the caller said what is."""
        self.latency = Latencies(nodes, window)
        """From the first chunk sent to the vote, late ones included."""

    def __len__(self) -> int:
        return len(self.agreement.value)

    def grow(self, nodes: int) -> None:
        """Make room for more nodes."""
        for series in (self.agreement, self.reliability, self.accuracy, self.latency):
            series.grow(nodes)

    def forget(self, row: int) -> None:
        """A node starts anew."""
        for series in (self.agreement, self.reliability, self.accuracy, self.latency):
            series.forget(row)

    def of(self, rows: Rows) -> list[NodeEstimate]:
        """What is known of these nodes."""
        return [
            NodeEstimate(agreement, reliability, p50, p95, samples, accuracy)
            for agreement, reliability, p50, p95, samples, accuracy in zip(
                self.agreement.known(rows),
                self.reliability.known(rows),
                *map(_known, self.latency.quantiles(rows, 0.5, 0.95)),
                self.latency.samples[rows].tolist(),
                self.accuracy.known(rows),
                strict=True,
            )
        ]


def _known(values: Floats) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _grown(values: NDArray, rows: int) -> NDArray:  # type: ignore[type-arg]
    grown = np.zeros(rows, values.dtype)
    grown[: len(values)] = values
    return grown
