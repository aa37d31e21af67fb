"""Events as a gateway tells them, made by hand, and what tests of sinks share."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Callable, Iterator

import numpy as np

from variant_parallelism.gateway import Answer, Answered, Event, Faulted, NodeChanged, Vote, Warned
from variant_parallelism.wire import Fault

CLASSES = 10
VARIANTS = {0: "v0", 1: "v1", 2: "v2"}


def answered(request: int, winner: int | None = 3, latency_ms: float = 20.0) -> Answered:
    """Nodes 0 and 1 voted for `winner`, node 2 is missing; None: nobody voted."""
    voters = () if winner is None else (0, 1)
    scores = np.zeros(CLASSES)
    if winner is not None:
        scores[winner] = 0.75
    return Answered(
        Answer(
            request=request,
            class_index=winner,
            class_name=None if winner is None else f"c{winner}",
            score=None if winner is None else 0.75,
            scores=scores,
            votes=tuple(
                Vote(node, VARIANTS[node], ((winner or 0, 90), (7, -100)), latency_ms, 5.5, 25)
                for node in voters
            ),
            missing=tuple(node for node in VARIANTS if node not in voters),
            errors={2: "runtime failed"},
            latency_ms=latency_ms,
        )
    )


def one_of_each() -> list[Event]:
    fault = Fault(0x100, 0x200, 3, 0x8200, 0x40000000, 0xDEAD)
    return [
        answered(1),
        answered(2, None),
        NodeChanged(2, "dead", "silent for 3 s"),
        Faulted(1, "mps2-an386", fault),
        Warned("look at this"),
    ]


async def until(reached: Callable[[], bool]) -> None:
    """Return once it is so; the caller sets the limit."""
    while not reached():
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
