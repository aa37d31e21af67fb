"""The SQLite sink: what is in it, what survives, what it keeps within."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loopback_nodes import run
from sink_events import VARIANTS, answered, disk_full_at, one_of_each, until
from variant_parallelism.errors import VpError
from variant_parallelism.gateway import Answered, NodeChanged
from variant_parallelism.gateway.report import answer_json
from variant_parallelism.gateway.sinks import schema
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.sinks.sqlite import SqliteSink
from variant_parallelism.sinks_table import SqliteTable


def sink_in(folder: Path, **table: Any) -> SqliteSink:
    return SqliteSink(SqliteTable(**{"commit_ms": 10} | table), folder, VARIANTS)


@contextlib.contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(folder / "events.db", timeout=20, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with database(folder) as connection:
        return connection.execute(query).fetchall()


def test_every_event_has_its_table(tmp_path: Path) -> None:
    async def test() -> None:
        sink = sink_in(tmp_path)
        await sink.start()
        now = time.time()
        for number, event in enumerate(one_of_each()):
            sink.put(Record(now + number, event))
        await sink.stop(10)
        columns = "id, time, request, class, name, score, votes, missing, errors"
        errors = '{"2": "runtime failed"}'
        assert rows(tmp_path, f"SELECT {columns} FROM answers") == [
            (1, now, 1, 3, "c3", 0.75, 2, "[2]", errors),
            (2, now + 1, 2, None, None, None, 0, "[0, 1, 2]", errors),
        ]
        assert rows(tmp_path, "SELECT * FROM votes") == [
            (1, node, f"v{node}", 3, "[[3, 90], [7, -100]]", 20.0, 5.5, 25, 1) for node in (0, 1)
        ]
        assert rows(tmp_path, "SELECT * FROM node_states") == [
            (1, now + 2, 2, "v2", "dead", "silent for 3 s")
        ]
        ((_, when, node, variant, board, fault, text),) = rows(tmp_path, "SELECT * FROM faults")
        assert (when, node, variant, board) == (now + 3, 1, "v1", "mps2-an386")
        assert json.loads(fault)["pc"] == "0x00000100"
        assert text.startswith("node 1 (mps2-an386) faulted at 0x00000100")
        assert rows(tmp_path, "SELECT time, text FROM warnings") == [(now + 4, "look at this")]
        assert rows(tmp_path, "PRAGMA journal_mode") == [("wal",)]
        assert rows(tmp_path, "PRAGMA user_version") == [(schema.VERSION,)]

    run(test)


def test_all_that_is_told_of_an_answer_is_stored(tmp_path: Path) -> None:
    """Every key that lines of JSON and messages have, under the same name."""
    plain = answered(1)
    uncounted = replace(plain.answer.votes[1], counted=False)
    answer = replace(
        plain.answer,
        votes=(plain.answer.votes[0], uncounted),
        spared=(5, 6),
        label=4,
        triggered=True,
        uid="kitchen-17",
    )
    sink = sink_in(tmp_path)
    sink.open()
    sink.write([Record(time.time(), Answered(answer))])
    sink.close()
    with database(tmp_path) as connection:
        connection.row_factory = sqlite3.Row
        (stored,) = map(dict, connection.execute("SELECT * FROM answers"))
        votes = [dict(row) for row in connection.execute("SELECT * FROM votes ORDER BY node")]
    told = answer_json(answer)
    for row in (stored, *votes):
        for key in {"scores", "missing", "spared", "errors", "entries"} & row.keys():
            row[key] = json.loads(row[key])
    assert stored["votes"] == 2
    stored["votes"] = [{key: vote[key] for key in told["votes"][0]} for vote in votes]
    assert {key: stored[key] for key in told} == told


def test_a_second_run_adds_to_the_first(tmp_path: Path) -> None:
    for number in (1, 2):
        sink = sink_in(tmp_path)
        sink.open()
        sink.write([Record(time.time(), answered(number))])
        sink.close()
    assert rows(tmp_path, "SELECT id, request FROM answers") == [(1, 1), (2, 2)]


WRITER = """
import sys, time
from pathlib import Path
from sink_events import VARIANTS, answered
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.sinks.sqlite import SqliteSink
from variant_parallelism.sinks_table import SqliteTable

sink = SqliteSink(SqliteTable(), Path(sys.argv[1]), VARIANTS)
sink.open()
first = int(sys.argv[2])
while True:
    sink.write([Record(time.time(), answered(first + more)) for more in range(50)])
    first += 50
    print(first, flush=True)
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    """Killed at any moment, twice: no hole, no half answer, nothing lost that was told."""
    following = 0
    for batches in (1, 7):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(following)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(sys.path)},
            text=True,
        )
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(batches)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().split()]
        assert writer.wait() == -signal.SIGKILL
        assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        assert rows(tmp_path, "PRAGMA foreign_key_check") == []
        requests = [row[0] for row in rows(tmp_path, "SELECT request FROM answers ORDER BY id")]
        assert requests == list(range(len(requests)))
        assert len(requests) >= told[-1] and len(requests) % 50 == 0
        assert rows(tmp_path, "SELECT count(*) FROM votes") == [(2 * len(requests),)]
        following = len(requests)


def test_a_locked_database_is_caught_up(tmp_path: Path) -> None:
    async def test() -> None:
        sink = sink_in(tmp_path, queue=64)
        await sink.start()
        with database(tmp_path) as other:
            other.execute("BEGIN EXCLUSIVE")
            for number in range(100):
                sink.put(Record(time.time(), answered(number)))
            await until(lambda: sink.status().trouble is not None)
            assert "database is locked" in str(sink.status().trouble)
            other.execute("ROLLBACK")
        await until(lambda: sink.status().waiting == 0)
        await sink.stop(10)
        kept = [row[0] for row in rows(tmp_path, "SELECT request FROM answers ORDER BY id")]
        status = sink.status()
        assert (status.taken, status.written, status.trouble) == (100, len(kept), None)
        assert status.dropped == 100 - len(kept)
        assert kept[-32:] == list(range(68, 100))

    run(test)


def test_a_row_that_cannot_be_is_refused_alone(tmp_path: Path) -> None:
    async def test() -> None:
        sink = sink_in(tmp_path)
        await sink.start()
        nameless = NodeChanged(0, "up", None)  # type: ignore[arg-type]
        for event in (answered(1), nameless, answered(1 << 70), answered(2)):
            sink.put(Record(time.time(), event))
        await sink.stop(10)
        assert rows(tmp_path, "SELECT request FROM answers") == [(1,), (2,)]
        assert (sink.status().written, sink.status().refused) == (2, 2)

    run(test)


def test_a_full_disk_is_caught_up(tmp_path: Path) -> None:
    async def test() -> None:
        sink = sink_in(tmp_path)
        await sink.start()
        sink.put(Record(time.time(), answered(0)))
        await until(lambda: sink.status().written == 1)
        with disk_full_at((tmp_path / "events.db-wal").stat().st_size + 1000):
            for number in range(1, 300):
                sink.put(Record(time.time(), answered(number)))
            await until(lambda: sink.status().trouble is not None)
        await until(lambda: sink.status().waiting == 0)
        await sink.stop(10)
        assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        requests = rows(tmp_path, "SELECT request FROM answers ORDER BY id")
        assert requests == [(number,) for number in range(300)]

    run(test)


def test_rows_beyond_their_age_go(tmp_path: Path) -> None:
    sink = sink_in(tmp_path, max_age_days=1)
    sink.open()
    now = time.time()
    ages = [3.0, 2.0, 0.5, 0.0]
    events = [(answered(number), NodeChanged(0, "up", str(number))) for number in range(4)]
    for age, pair in zip(ages, events, strict=True):
        sink.write([Record(now - age * 86400, event) for event in pair])
    sink.idle()
    sink.close()
    assert rows(tmp_path, "SELECT request FROM answers") == [(2,), (3,)]
    assert rows(tmp_path, "SELECT DISTINCT answer FROM votes") == [(3,), (4,)]
    assert rows(tmp_path, "SELECT reason FROM node_states") == [("2",), ("3",)]


def test_a_clock_that_jumps_makes_no_row_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_in(tmp_path, max_age_days=1)
    sink.open()
    sink.write([Record(time.time(), answered(1))])
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 1e9)
    sink.idle()
    sink.close()
    assert rows(tmp_path, "SELECT request FROM answers") == [(1,)]


@pytest.mark.parametrize("kind", ["answers", "node_states"])
def test_the_oldest_rows_go_for_the_newest(tmp_path: Path, kind: str) -> None:
    """The file stays near its limit, whatever fills it, and never more than a piece goes."""
    limit = 300_000
    sink = sink_in(tmp_path, max_bytes=limit)
    sink.open()
    made, highest, before = 0, 0, 0
    for _ in range(8):
        batch = []
        for _ in range(500):
            made += 1
            event = answered(made) if kind == "answers" else NodeChanged(0, "up", str(made) * 40)
            batch.append(Record(time.time(), event))
        sink.write(batch)
        sink.idle()
        ((first, last),) = rows(tmp_path, f"SELECT min(id), max(id) FROM {kind}")
        assert last == made
        assert first - before <= 2001 and first < last
        before = first
        highest = max(highest, (tmp_path / "events.db").stat().st_size)
    sink.close()
    assert before > 1
    assert highest < 2 * limit
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_a_database_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    sink.open()
    sink.write([Record(time.time(), answered(1))])
    for name in ("events.db", "events.db-wal", "events.db-shm"):
        (tmp_path / name).rename(tmp_path / name.replace("events", "old"))
    sink.write([Record(time.time(), answered(2))])
    sink.close()
    assert rows(tmp_path, "SELECT request FROM answers") == [(2,)]


def _another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (name)")


def _newer(path: Path) -> None:
    schema.open_database(path, 1).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.mkdir(), "cannot write .*: Is a directory"),
        (lambda path: path.symlink_to("no/such"), "cannot write .*: No such file"),
        (lambda path: path.write_bytes(b"something else " * 100), "file is not a database"),
        (_another_program, "is another program's database"),
        (_newer, "has schema 99, this version knows 1: use a newer gateway"),
    ],
)
def test_a_file_that_is_no_such_database_is_a_mistake(
    tmp_path: Path, prepare: Any, message: str
) -> None:
    async def test() -> None:
        prepare(tmp_path / "events.db")
        sink = sink_in(tmp_path)
        with pytest.raises(VpError, match=rf"{message}.*\[sinks.sqlite\] path"):
            await sink.start()
        await sink.stop(10)

    run(test)
