"""What must hold at the end of a soak."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from soaking.load import Tally
from soaking.stage import Stage
from soaking.watch import LineCounter, Samples
from variant_parallelism.gateway.types import Counters

SLOPE_SHARE = 0.5
SLOPE_KB_PER_MIN = 100.0
SLOPE_FROM_S = 600.0
GROWTH_MB = 24.0

_METRIC = re.compile(r'^vp_sink_(\w+?)(?:_total)?\{sink="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass
class SinkCounts:
    """What a sink says of itself, and what was found where it writes to (None: not looked at)."""

    written: int = 0
    dropped: int = 0
    refused: int = 0
    waiting: int = 0
    answers_found: int | None = None
    events_found: int | None = None


def read_metrics(stage: Stage) -> dict[str, SinkCounts]:
    """The sinks' counts, from /metrics."""
    text = httpx.get(f"http://{stage.fleet.table.gateway.http}/metrics", timeout=30).text
    counts: dict[str, SinkCounts] = {}
    for name, sink, value in _METRIC.findall(text):
        if name in ("written", "dropped", "refused", "waiting"):
            setattr(counts.setdefault(sink, SinkCounts()), name, int(float(value)))
    return counts


def read_counters(stage: Stage) -> dict[str, int]:
    """The gateway's counters."""
    reply = httpx.get(f"http://{stage.fleet.table.gateway.http}/v1/counters", timeout=30)
    return {name: value for name, value in reply.json().items() if isinstance(value, int)}


def look_at_sinks(stage: Stage, sinks: dict[str, SinkCounts], lines: LineCounter) -> None:
    """Count what reached the sinks' ends; the gateway has stopped."""
    lines.finish()
    if "jsonl" in sinks:
        sinks["jsonl"].answers_found = lines.events["answer"]
        sinks["jsonl"].events_found = sum(lines.events.values())
    if "sqlite" in sinks:
        with sqlite3.connect(stage.disk.folder / "events.db") as database:
            # Old rows go, and their ids are not used again.
            (found,) = database.execute("SELECT max(id) FROM answers").fetchone()
        sinks["sqlite"].answers_found = found or 0
    if "mqtt" in sinks:
        sinks["mqtt"].answers_found = len(stage.subscriber.answers)


@dataclass
class Findings:
    """All that the promises are held against."""

    tally: Tally
    samples: Samples
    counters: dict[str, int]
    sinks: dict[str, SinkCounts]
    lines: LineCounter
    reloads_missed: int
    broker_kills: int
    status: int | None
    """The gateway's exit status."""
    tracebacks: list[str]


def violations(found: Findings) -> list[str]:
    """Every promise that was not kept, in words."""
    tally, samples, tracebacks = found.tally, found.samples, found.tracebacks
    broken = []
    ended = found.counters.get("answers", 0) + found.counters.get("lost", 0)
    for count, what in (
        (tally.lost, "requests without an answer while nodes lived"),
        (tally.failed, "requests that the gateway failed"),
        (tally.wrong_votes, "votes that the node's model does not give"),
        (tally.wrong_answers, "answers that are not what the votes add up to"),
        (found.lines.damaged, "lines of JSON that are none"),
        (len(tracebacks), f"tracebacks in the gateway's log: {', '.join(sorted(set(tracebacks)))}"),
        (found.reloads_missed, "reloads that were not heeded"),
    ):
        if count:
            broken.append(f"{count} {what}")
    if tally.answered == 0:
        broken.append("no request was answered")
    if found.status != 0:
        broken.append(f"the gateway ended with status {found.status}")
    broken += _sink_violations(ended, found.sinks, found.broker_kills)
    seconds = samples.seconds[-1] if samples.seconds else 0.0
    slope = samples.slope_kb_per_min(SLOPE_SHARE)
    if seconds >= SLOPE_FROM_S and slope > SLOPE_KB_PER_MIN:
        broken.append(f"memory grows by {slope:.0f} kB/min, more than {SLOPE_KB_PER_MIN:g}")
    half = samples.rss[len(samples.rss) // 2 :]
    if half and (max(half) - half[0]) / 1e6 > GROWTH_MB:
        broken.append(f"memory grew by more than {GROWTH_MB:g} MB in the second half")
    return broken


def _sink_violations(ended: int, sinks: dict[str, SinkCounts], broker_kills: int) -> list[str]:
    broken = []
    for name, one in sinks.items():
        excused = one.dropped + one.refused + one.waiting
        if name == "mqtt" and broker_kills:
            # What the broker acknowledged and had not passed on when it was killed is gone.
            continue
        found = one.answers_found
        if found is not None and not ended - excused <= found <= ended:
            broken.append(
                f"{name} has {found} of {ended} answers, and counts {excused} events as not written"
            )
        if one.events_found is not None and one.events_found != one.written:
            broken.append(f"{name} has {one.events_found} events and counts {one.written}")
    return broken


def counters_of(counters: dict[str, int]) -> dict[str, int]:
    """Those of the fleet that a reader looks for first."""
    names = asdict(Counters()).keys()
    return {name: counters[name] for name in names if name in counters}


def as_json(sinks: dict[str, SinkCounts]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in sinks.items()}
