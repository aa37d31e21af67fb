"""Which partitions a worker takes on and gives up as others come and go, without I/O.

A worker gives up a partition only once its new owner has said that it hears it, so that none is
without a worker while one lives who knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from variant_parallelism.workers.partitions import owners
from variant_parallelism.workers.presence import Presence


@dataclass(frozen=True, slots=True)
class Move:
    """Sets of partitions: to subscribe to, and to give up."""

    take: int
    give: int


class Sharing:
    """One worker's partitions. Times in seconds of a clock that never goes back."""

    def __init__(self, worker: str, away_s: float) -> None:
        self._worker = worker
        self._others: Presence[int] = Presence(away_s)
        self._taking = 0
        self.serving = 0
        """What this worker hears."""

    @property
    def others(self) -> list[str]:
        """The other workers that are there."""
        return sorted(self._others)

    def hear(self, now: float, worker: str, serving: int | None) -> None:
        """Another worker says what it hears; None: it goes."""
        if worker == self._worker:
            return
        if serving is None:
            self._others.leave(worker)
        else:
            self._others.hear(now, worker, serving)

    def drop_silent(self, now: float) -> None:
        for worker in self._others.silent(now):
            self._others.leave(worker)

    def move(self) -> Move:
        """What to do now; `taken` follows once the broker has agreed."""
        shares = owners([self._worker, *self._others])
        wanted = shares.pop(self._worker)
        heard = 0
        for worker, share in shares.items():
            heard |= share & (self._others.get(worker) or 0)
        take = wanted & ~(self.serving | self._taking)
        give = self.serving & ~wanted & heard
        self._taking |= take
        self.serving &= ~give
        return Move(take, give)

    def taken(self, partitions: int) -> None:
        """The broker has agreed to send these."""
        self._taking &= ~partitions
        self.serving |= partitions

    def disconnected(self) -> None:
        """Nothing is heard any more, and others are there when they say so again."""
        self._taking = self.serving = 0
        self._others.clear()
