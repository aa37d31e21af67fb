"""How a request is put to the nodes, and when it is over: at first to few, later to all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER = float("inf")
_LATE_S = 0.05
"""What is noticed so much later than it was due shows that the gateway stood still."""
_CATCH_UP_S = 0.5
_CATCH_UP_SHARE = 2.0
"""For how long unread messages are read then: so many times as long as the gateway is known to have
stood still, and at most so many seconds."""


def caught_up_at(now: float, due: float) -> float:
    """When what waited in sockets and serial lines is read, if something due is noticed now.

    That is `now` itself if it is noticed in time: the driver's next turn then, which reads first.
    Answers end at once when all votes are here, so only a missing vote takes this time.
    """
    return now + min(_CATCH_UP_S, _CATCH_UP_SHARE * (now - due))


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
    put_off: bool = False
    """Whether that, or `widen_at`, was noticed late and put off once."""
    learnt: bool = False
    """Whether the judge has taken what it tells of the nodes."""
    spared: NDArray[np.intp] | None = None
    """Slots of the nodes that never were asked: set when the first ones' answer is taken."""

    def wake_at(self, deadline: float) -> float:
        """When to look at the request if no vote comes before."""
        return min(deadline, self.hurry_at if self.first is None else self.widen_at)

    def catch_up(self, now: float) -> None:
        """Of a gateway that stood still: give the votes that wait unread their time, once, before
        others are asked or a quorum is enough."""
        due = self.hurry_at if self.first is None else self.widen_at
        if self.put_off or now < due + _LATE_S:
            return
        self.put_off = True
        if self.first is None:
            self.hurry_at = caught_up_at(now, due)
        else:
            self.widen_at = caught_up_at(now, due)
