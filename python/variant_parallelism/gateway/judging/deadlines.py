"""How long to wait for the nodes, from how long they took (`deadline = "auto"`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway.judging.estimates import Floats, Latencies

LEARNT_FROM = 16
"""Latencies of a node from which on its own count."""
STRAGGLES = 4.0
"""A node that is so many times slower than the median node is not waited for."""
_SHARE = 0.99
_REFRESH_S = 0.25


def patience_s(p99_ms: Floats, margin: float, floor_s: float) -> float:
    """Seconds to wait for nodes with these 99th percentiles of their latencies, (N,), N >= 1.

    `margin` times the slowest node's, but no more than STRAGGLES times the median node's, at least
    `floor_s`.
    """
    slowest = min(float(p99_ms.max()), STRAGGLES * float(np.median(p99_ms)))
    return max(floor_s, margin * slowest / 1000)


class AutoDeadline:
    """The wait for a fleet's nodes, computed anew a few times a second."""

    def __init__(self, latencies: Latencies, margin: float, floor_s: float) -> None:
        self._latencies = latencies
        self._margin = margin
        self._floor_s = floor_s
        self._patience_s: float | None = None
        self._refreshed = float("-inf")
        self._asked_of: bytes = b""

    def patience_s(self, now: float, rows: NDArray[np.integer], ceiling_s: float) -> float | None:
        """Seconds to wait for these nodes; None while fewer than half of them are known."""
        asked_of = rows.tobytes()
        if now >= self._refreshed + _REFRESH_S or asked_of != self._asked_of:
            known = rows[self._latencies.samples[rows] >= LEARNT_FROM]
            learnt = len(known) > 0 and 2 * len(known) >= len(rows)
            self._patience_s = None
            if learnt:
                (p99_ms,) = self._latencies.quantiles(known, _SHARE)
                self._patience_s = patience_s(p99_ms, self._margin, self._floor_s)
            self._refreshed, self._asked_of = now, asked_of
        return None if self._patience_s is None else min(ceiling_s, self._patience_s)
