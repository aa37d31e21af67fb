"""The running aggregator: nodes, links, requests, deadlines.

`Gateway` is the asyncio service on real ports; `Core` is everything it decides, without I/O.
"""

from variant_parallelism.gateway.core import Core
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.types import (
    Answer,
    Answered,
    Counters,
    Event,
    Faulted,
    NodeChanged,
    NodeStatus,
    Vote,
    Warned,
)

__all__ = [
    "Answer",
    "Answered",
    "Core",
    "Counters",
    "Event",
    "Faulted",
    "Gateway",
    "NodeChanged",
    "NodeStatus",
    "Vote",
    "Warned",
]
