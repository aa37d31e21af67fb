"""Which nodes are left out because they lie or stall, and when they are taken back.

With hysteresis: a node is taken back only when it is clearly better than what it was left out for,
over a whole window of votes; and each time it is left out again within one run, that takes twice as
long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JUDGED_FROM = 16
"""Votes, or requests, of a node from which on it is judged by them."""
_BETTER = 0.25
"""Taken back when this part of what lies between the limit and 1 is behind it."""
_LONGEST = 16
"""Windows of probation, at most."""

Origin = Literal["operator", "agreement", "reliability"]


@dataclass(slots=True)
class Quarantine:
    """Why a node is left out. `since` are its votes, or requests, at that time."""

    origin: Origin
    reason: str
    since: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """From `[judging]`: shares in 0 .. 1, and the window that estimates are made of."""

    agreement: float
    reliability: float
    window: int

    def back(self, origin: Origin) -> float:
        """The share from which on a node is taken back."""
        limit = self.agreement if origin == "agreement" else self.reliability
        return limit + _BETTER * (1 - limit)

    def probation(self, times: int) -> int:
        """Votes, or requests, that a node is watched for when it was left out `times` times."""
        longest: int = min(2 ** (times - 1), _LONGEST) * self.window
        return longest


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one node: two shares, and how many votes and requests they are made of."""

    agreement: float
    votes: int
    reliability: float
    requests: int

    def count(self, origin: Origin) -> int:
        """What a quarantine of this origin counts."""
        return self.votes if origin == "agreement" else self.requests


def offence(record: Record, usual: float, limits: Limits) -> tuple[Origin, str] | None:
    """What a node is to be left out for, in words; None if it behaves, or if what it does is
    `usual`: the nodes' median reliability."""
    if record.votes >= JUDGED_FROM and record.agreement < limits.agreement:
        return "agreement", (
            f"agreed with the others in {record.agreement:.0%} of its recent votes, "
            f"and {limits.agreement:.0%} are wanted"
        )
    late = record.requests >= JUDGED_FROM and record.reliability < limits.reliability
    if late and usual >= limits.reliability:
        return "reliability", (
            f"answered {record.reliability:.0%} of its recent requests in time, "
            f"and {limits.reliability:.0%} are wanted"
        )
    return None


def improvement(quarantine: Quarantine, times: int, record: Record, limits: Limits) -> str | None:
    """Why a node that was left out `times` times is taken back, in words; None if it is not.

    An operator's quarantine ends by the operator alone.
    """
    if quarantine.origin == "operator":
        return None
    watched = record.count(quarantine.origin) - quarantine.since
    if watched < limits.probation(times):
        return None
    if record.votes and record.agreement < limits.back("agreement"):
        return None
    if record.reliability < limits.back("reliability"):
        return None
    if quarantine.origin == "agreement":
        return f"taken back: agreed with the others in {record.agreement:.0%} of its recent votes"
    return f"taken back: answered {record.reliability:.0%} of its recent requests in time"


def may_leave_out(counted: int, alive: int) -> bool:
    """Whether of `counted` nodes that count, among `alive` ones, one more may be left out.

    Those that count stay a majority of all that are alive.
    """
    return 2 * (counted - 1) > alive
