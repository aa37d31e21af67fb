"""JSON lines and the spool: what waits, what gives way, what a file holds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopback_nodes import run
from sink_events import VARIANTS, answered, disk_full_at, one_of_each, until
from variant_parallelism.errors import VpError
from variant_parallelism.gateway.report import event_json
from variant_parallelism.gateway.sinks.json_lines import JsonLinesSink
from variant_parallelism.gateway.sinks.spool import Record, Spool
from variant_parallelism.sinks_table import JsonLinesTable


def sink_in(folder: Path, **table: Any) -> JsonLinesSink:
    return JsonLinesSink(JsonLinesTable(**table), folder, VARIANTS)


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def requests_in(folder: Path, files: int) -> list[int]:
    """Of all files, from the oldest line to the newest."""
    names = [f"events.jsonl.{number}" for number in range(files - 1, 0, -1)] + ["events.jsonl"]
    return [
        line["request"]
        for name in names
        if (folder / name).exists()
        for line in lines_of(folder / name)
    ]


@given(
    capacity=st.integers(2, 9),
    steps=st.lists(st.one_of(st.just("put"), st.integers(1, 12)), max_size=60),
)
def test_a_spool_keeps_the_newest_and_counts_the_rest(capacity: int, steps: list[Any]) -> None:
    spool = Spool(capacity)
    put, out = 0, []
    for step in steps:
        if step == "put":
            spool.put(Record(float(put), answered(put)))
            put += 1
        else:
            out += [int(record.time) for record in spool.take(step, 0.0)]
            spool.done(12)
        assert len(spool) <= capacity
        assert spool.taken == put == len(out) + len(spool) + spool.dropped
    spool.close()
    spool.put(Record(0.0, answered(99)))
    while batch := spool.take(3, 0.0):
        out += [int(record.time) for record in batch]
        spool.done(12)
    assert out == sorted(set(out))
    assert out[-capacity:] == list(range(put))[-capacity:] or not put
    assert len(out) + spool.dropped == put


def test_what_is_in_hand_counts_for_the_capacity() -> None:
    spool = Spool(4)
    for number in range(4):
        spool.put(Record(float(number), answered(number)))
    in_hand = spool.take(9, 0.0)
    assert [record.time for record in in_hand] == [0.0, 1.0]
    for number in range(4, 7):
        spool.put(Record(float(number), answered(number)))
    assert (len(spool), spool.dropped) == (4, 3)
    spool.done(12)
    assert [record.time for record in spool.take(9, 0.0)] == [5.0, 6.0]


def test_a_line_is_the_event_and_its_time(tmp_path: Path) -> None:
    async def test() -> None:
        sink = sink_in(tmp_path)
        await sink.start()
        for number, event in enumerate(one_of_each()):
            sink.put(Record(1_700_000_000.5 + number, event))
        await sink.stop(10)
        expected = [
            {"time": f"2023-11-14T22:13:2{number}.500+00:00", **event_json(event, VARIANTS)}
            for number, event in enumerate(one_of_each())
        ]
        assert lines_of(tmp_path / "events.jsonl") == json.loads(json.dumps(expected))
        assert (sink.status().written, sink.status().dropped) == (5, 0)

    run(test)


@given(
    names=st.lists(st.integers(0, 70_000), max_size=60),
    files=st.integers(1, 4),
    reopen=st.integers(1, 20),
)
def test_files_rotate_and_lose_the_oldest_lines_only(
    tmp_path_factory: pytest.TempPathFactory, names: list[int], files: int, reopen: int
) -> None:
    folder = tmp_path_factory.mktemp("rotation")
    sink = sink_in(folder, max_bytes=4096, files=files)
    for at in range(0, len(names), reopen):
        sink.open()
        batch = [Record(0.0, answered(name)) for name in names[at : at + reopen]]
        sink.write(batch)
        sink.close()
    kept = requests_in(folder, files)
    assert kept == names[len(names) - len(kept) :]
    assert all(path.stat().st_size <= 4096 for path in folder.iterdir())
    assert len(list(folder.iterdir())) <= files
    assert len(kept) == len(names) or len(kept) >= 5 * (files - 1)


def test_a_line_longer_than_a_file_gets_one_of_its_own(tmp_path: Path) -> None:
    sink = sink_in(tmp_path, max_bytes=4096, files=9)
    sink.open()
    long = answered(2)
    long.answer.errors[1] = "x" * 5000
    sink.write([Record(0.0, event) for event in (answered(1), long, answered(3))])
    sink.close()
    assert requests_in(tmp_path, 9) == [1, 2, 3]
    assert len(lines_of(tmp_path / "events.jsonl.1")) == 1


def test_half_a_line_that_a_crash_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"request": 1}\n{"requ' + b"x" * 70_000)
    sink = sink_in(tmp_path)
    sink.open()
    sink.write([Record(0.0, answered(2))])
    sink.close()
    assert [line["request"] for line in lines_of(path)] == [1, 2]


def test_a_full_disk_is_said_once_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        path = tmp_path / "events.jsonl"
        sink = sink_in(tmp_path, queue=64)
        await sink.start()
        sink.put(Record(0.0, answered(0)))
        await until(lambda: sink.status().written == 1)
        size = path.stat().st_size
        with disk_full_at(size * 2 - 20):
            for number in range(1, 100):
                sink.put(Record(0.0, answered(number)))
            await until(lambda: sink.status().trouble is not None)
            assert path.stat().st_size == size
            assert "File too large" in str(sink.status().trouble)
            before = len(caplog.records)
            await until(lambda: sink.spool.dropped >= 99 - 64)
        await until(lambda: sink.status().waiting == 0)
        await sink.stop(10)
        status = sink.status()
        kept = requests_in(tmp_path, 1)
        assert kept[-32:] == list(range(68, 100))
        assert (status.taken, status.trouble) == (100, None)
        assert status.written == len(kept) == 100 - status.dropped
        assert [record.levelname for record in caplog.records[:before]] == ["WARNING"]
        assert [record.message[:18] for record in caplog.records[before:]] == ["jsonl: works again"]

    caplog.set_level(logging.INFO, "variant_parallelism.gateway")
    run(test)


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    sink.open()
    sink.write([Record(0.0, answered(1))])
    (tmp_path / "events.jsonl").rename(tmp_path / "elsewhere")
    sink.write([Record(0.0, answered(2))])
    sink.close()
    assert [line["request"] for line in lines_of(tmp_path / "elsewhere")] == [1]
    assert [line["request"] for line in lines_of(tmp_path / "events.jsonl")] == [2]


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda folder: (folder / "events.jsonl").mkdir(), "Is a directory"),
        (lambda folder: (folder / "events.jsonl").symlink_to("no/such"), "No such file"),
    ],
)
def test_a_file_that_never_opens_is_a_mistake(
    tmp_path: Path, prepare: Callable[[Path], None], why: str
) -> None:
    async def test() -> None:
        prepare(tmp_path)
        sink = sink_in(tmp_path)
        with pytest.raises(
            VpError, match=rf"cannot write .*events.jsonl: {why}.*see \[sinks.jsonl"
        ):
            await sink.start()
        await sink.stop(10)

    run(test)
