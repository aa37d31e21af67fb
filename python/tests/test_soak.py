"""What tools/soak.py takes for a broken promise, and how it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from soaking.load import Tally
from soaking.verify import Findings, SinkCounts, violations
from soaking.watch import LineCounter, Samples


def kept(tmp_path: Path) -> Findings:
    """A soak in which every promise was kept."""
    lines = LineCounter(tmp_path / "events.jsonl")
    return Findings(
        tally=Tally(asked=10, answered=10, votes=50, lies=2),
        samples=Samples([float(second) for second in range(1200)], [60_000_000] * 1200),
        counters={"answers": 10, "lost": 0},
        sinks={
            "jsonl": SinkCounts(written=12, answers_found=10, events_found=12),
            "sqlite": SinkCounts(written=11, dropped=1, answers_found=9),
            "mqtt": SinkCounts(written=12, answers_found=4),
        },
        lines=lines,
        reloads_missed=0,
        broker_kills=1,
        status=0,
        tracebacks=[],
    )


def test_a_soak_that_keeps_its_promises(tmp_path: Path) -> None:
    assert violations(kept(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tally": Tally(answered=9, lost=1)}, "1 requests without an answer while nodes lived"),
        ({"tally": Tally(answered=9, failed=1)}, "1 requests that the gateway failed"),
        ({"tally": Tally(answered=10, wrong_votes=2)}, "2 votes that the node's model"),
        ({"tally": Tally(answered=10, wrong_answers=3)}, "3 answers that are not what the votes"),
        ({"tally": Tally()}, "no request was answered"),
        ({"status": -9}, "the gateway ended with status -9"),
        ({"reloads_missed": 1}, "1 reloads that were not heeded"),
        ({"tracebacks": ["KeyError: 3"]}, "1 tracebacks in the gateway's log: KeyError: 3"),
        ({"broker_kills": 0}, "mqtt has 4 of 10 answers"),
        ({"counters": {"answers": 11, "lost": 0}}, "jsonl has 10 of 11 answers"),
    ],
)
def test_a_broken_promise_is_told(tmp_path: Path, change: dict[str, object], told: str) -> None:
    broken = violations(replace(kept(tmp_path), **change))  # type: ignore[arg-type]
    assert any(told in text for text in broken), broken


def test_a_sink_that_lost_events_without_a_word(tmp_path: Path) -> None:
    found = kept(tmp_path)
    found.sinks["sqlite"].dropped = 0
    found.sinks["jsonl"].events_found = 11
    assert violations(found) == [
        "jsonl has 11 events and counts 12",
        "sqlite has 9 of 10 answers, and counts 0 events as not written",
    ]


def test_memory_that_grows(tmp_path: Path) -> None:
    found = kept(tmp_path)
    found.samples.rss = [60_000_000 + 2_500 * second for second in range(1200)]
    assert violations(found) == ["memory grows by 150 kB/min, more than 100"]
    found.samples.rss = [60_000_000] * 1100 + [90_000_000] * 100
    assert "memory grew by more than 24 MB in the second half" in violations(found)


def test_lines_are_counted_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = LineCounter(path)

    def write(*events: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"event": event}) + "\n" for event in events)

    write("answer", "node")
    lines.rotate()
    assert not path.exists()
    with path.with_name("events.jsonl.moved").open("a", encoding="utf-8") as late:
        late.write('{"event": "answer"}\n')
    write("answer")
    lines.rotate()
    write("warning")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"event": "ans')
    lines.finish()
    assert dict(lines.events) == {"answer": 3, "node": 1, "warning": 1}
    assert lines.damaged == 1
