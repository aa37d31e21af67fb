"""What must hold at the end of a soak."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import httpx

from soaking.load import Tally
from soaking.sinks import SinkCounts, sink_violations
from soaking.stage import Stage
from soaking.watch import LineCounter, Samples
from variant_parallelism.gateway.types import Counters

SLOPE_SHARE = 0.5
SLOPE_KB_PER_MIN = 100.0
SLOPE_FROM_S = 600.0
GROWTH_MB = 24.0
_LATER_SHARE = 0.05
_FEW = 20
"""Votes on triggers by nodes that had to be asked anew, or that lie: a share and a few at least."""
_SAMPLE_S = 10.0
"""Memory is looked at this often at least, on average."""


def read_counters(stage: Stage) -> dict[str, int]:
    """The gateway's counters."""
    reply = httpx.get(f"http://{stage.fleet.table.gateway.http}/v1/counters", timeout=30)
    return {name: value for name, value in reply.json().items() if isinstance(value, int)}


@dataclass
class Findings:
    """All that the promises are held against."""

    seconds: float
    """How long requests were made."""
    tally: Tally
    samples: Samples
    counters: dict[str, int]
    sinks: dict[str, SinkCounts]
    lines: LineCounter
    reloads_missed: int
    status: int | None
    """The gateway's exit status."""
    tracebacks: list[str]


def violations(found: Findings) -> list[str]:
    """Every promise that was not kept, in words."""
    tally, tracebacks = found.tally, found.tracebacks
    broken = []
    for count, what in (
        (tally.lost, "requests without an answer while nodes lived"),
        (tally.failed, "requests that the gateway failed"),
        (tally.refused, "requests that the gateway refused, though few are made at a time"),
        (tally.wrong_votes, "votes that the node's model does not give"),
        (tally.wrong_answers, "answers that are not what the votes add up to"),
        (found.lines.damaged, "lines of JSON that are none"),
        (len(tracebacks), f"tracebacks in the gateway's log: {', '.join(sorted(set(tracebacks)))}"),
        (found.reloads_missed, "reloads that were not heeded"),
    ):
        if count:
            broken.append(f"{count} {what}")
    if tally.captured_later > _LATER_SHARE * tally.captures + _FEW:
        broken.append(
            f"{tally.captured_later} of {tally.captures} votes on triggers are on another one"
        )
    if tally.answered == 0:
        broken.append("no request was answered")
    if found.status != 0:
        broken.append(f"the gateway ended with status {found.status}")
    broken += _count_violations(tally, found.counters)
    ended = found.counters.get("answers", 0) + found.counters.get("lost", 0)
    return broken + sink_violations(ended, found.sinks) + _memory_violations(found)


def _count_violations(tally: Tally, counters: dict[str, int]) -> list[str]:
    """Callers and gateway count the same requests."""
    broken = []
    came = tally.answered + tally.lost + tally.refused + tally.failed
    if tally.asked != came:
        broken.append(f"{tally.asked} requests were made and {came} came back")
    for name, mine in (
        ("requests", tally.answered + tally.lost),
        ("answers", tally.answered),
        ("lost", tally.lost),
    ):
        theirs = counters.get(name)
        # What the gateway failed, it may have counted or not; it is told above.
        if theirs is None or not 0 <= theirs - mine <= tally.failed:
            broken.append(f"the gateway counts {theirs} {name}, its callers {mine}")
    return broken


def _memory_violations(found: Findings) -> list[str]:
    samples = found.samples
    broken = []
    seen = sum(size > 0 for size in samples.rss)
    if seen < max(1.0, found.seconds / _SAMPLE_S):
        broken.append(f"memory was looked at {seen} times in {found.seconds:.0f} s")
    seconds = samples.seconds[-1] if samples.seconds else 0.0
    slope = samples.slope_kb_per_min(SLOPE_SHARE)
    if seconds >= SLOPE_FROM_S and slope > SLOPE_KB_PER_MIN:
        broken.append(f"memory grows by {slope:.0f} kB/min, more than {SLOPE_KB_PER_MIN:g}")
    half = samples.rss[len(samples.rss) // 2 :]
    if half and (max(half) - half[0]) / 1e6 > GROWTH_MB:
        broken.append(f"memory grew by more than {GROWTH_MB:g} MB in the second half")
    return broken


def counters_of(counters: dict[str, int]) -> dict[str, int]:
    """Those of the fleet that a reader looks for first."""
    names = asdict(Counters()).keys()
    return {name: counters[name] for name in names if name in counters}
