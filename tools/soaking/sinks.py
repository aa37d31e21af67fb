"""What reached the sinks' ends, held against what they and the gateway count."""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import httpx

from soaking.stage import Stage
from soaking.watch import LineCounter

SINKS = ("jsonl", "sqlite", "mqtt")
AT_A_KILL = 20
"""Answers that a broker may have acknowledged and not passed on when it is killed: the gateway has
no more than these on their way."""
_ARRIVE_S = 20.0

_METRIC = re.compile(r'^vp_sink_(\w+?)(?:_total)?\{sink="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass
class SinkCounts:
    """What a sink says of itself, and what was found where it writes to (None: not looked at).

    `unexcused` are answers that its subscriber has not seen and no kill of the broker explains.
    """

    taken: int = 0
    written: int = 0
    dropped: int = 0
    refused: int = 0
    waiting: int = 0
    answers_found: int | None = None
    events_found: int | None = None
    unexcused: int = 0


def sinks_of(metrics: str) -> dict[str, SinkCounts]:
    """The sinks' counts, from the text of /metrics."""
    counts: dict[str, SinkCounts] = {}
    for name, sink, value in _METRIC.findall(metrics):
        if name in ("taken", "written", "dropped", "refused", "waiting"):
            setattr(counts.setdefault(sink, SinkCounts()), name, int(float(value)))
    return counts


def read_sinks(stage: Stage) -> dict[str, SinkCounts]:
    """The same, from the gateway."""
    reply = httpx.get(f"http://{stage.fleet.table.gateway.http}/metrics", timeout=30)
    return sinks_of(reply.text)


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
        heard = stage.subscriber.answers
        end = time.monotonic() + _ARRIVE_S
        while not heard.issuperset(lines.answers) and time.monotonic() < end:
            time.sleep(0.2)
        sinks["mqtt"].answers_found = len(heard)
        missing = lines.answers - heard
        sinks["mqtt"].unexcused = unexcused(missing, stage.broker.kills) + len(
            heard - lines.answers
        )


def unexcused(missing: set[tuple[str, int]], kills: list[float]) -> int:
    """How many of these answers (time as the sinks write it, request) no kill explains.

    Each kill, in seconds since 1970, explains `AT_A_KILL` of those between it and the one before.
    """
    explained: Counter[float] = Counter()
    left = 0
    for when, _ in sorted(missing):
        kill = min((k for k in kills if k >= datetime.fromisoformat(when).timestamp()), default=0.0)
        if kill and explained[kill] < AT_A_KILL:
            explained[kill] += 1
        else:
            left += 1
    return left


def sink_violations(answers: int, sinks: dict[str, SinkCounts]) -> list[str]:
    """`answers`: requests that ended, by the gateway's counters."""
    broken = [f"no {name} among the sinks" for name in SINKS if name not in sinks]
    for name, one in sinks.items():
        # Troubles are short and queues are long: there is no reason to give anything up.
        for what in ("dropped", "refused", "waiting", "unexcused"):
            count = getattr(one, what)
            if count:
                told = "answers missing" if what == "unexcused" else f"events {what}"
                broken.append(f"{name}: {count} {told}")
        given = one.written + one.dropped + one.refused + one.waiting
        if given != one.taken:
            broken.append(f"{name} took {one.taken} events and accounts for {given}")
        if one.taken < answers:
            broken.append(f"{name} took {one.taken} events where {answers} requests ended")
        found = one.answers_found
        if name != "mqtt" and found is not None and found != answers:
            broken.append(f"{name} has {found} of {answers} answers")
        if one.events_found is not None and one.events_found != one.written:
            broken.append(f"{name} has {one.events_found} events and counts {one.written}")
    return broken


def as_json(sinks: dict[str, SinkCounts]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in sinks.items()}
