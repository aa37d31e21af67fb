"""How a request is put to the nodes, and when it is over: at first to few, later to all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER = float("inf")


@dataclass(slots=True)
class Plan:
    """One request's way to its answer. Times in seconds of the core's clock."""

    first: NDArray[np.intp] | None = None
    """Slots of the nodes asked first, while the others are spared; None: all are asked."""
    few: bool = False
    """Whether it was put to few at first: it is sent to each node by itself, never to the group."""
    widen_at: float = NEVER
    """When the others are asked if the first ones have not answered."""
    patience_s: float | None = None
    """For how long nodes are waited for (`deadline = "auto"`); None: until the deadline."""
    hurry_at: float = NEVER
    """When a quorum of votes becomes enough, or is to be looked at again."""
    hurries: bool = False
    """Whether a quorum of votes is enough."""
    learnt: bool = False
    """Whether the judge has taken what it tells of the nodes."""
    spared: NDArray[np.intp] | None = None
    """Slots of the nodes that never were asked: set when the first ones' answer is taken."""

    def wake_at(self, deadline: float) -> float:
        """When to look at the request if no vote comes before."""
        return min(deadline, self.hurry_at if self.first is None else self.widen_at)
