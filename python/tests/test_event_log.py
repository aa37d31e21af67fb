"""The gateway's log: what a line says, what is held back, and that nothing can block it."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink_events import VARIANTS, answered
from variant_parallelism.gateway.event_log import EventLog
from variant_parallelism.gateway.line_writer import LineWriter
from variant_parallelism.gateway.repeats import Repeats
from variant_parallelism.gateway.types import Event, NodeChanged, Warned

LIMIT_S = 30.0


def wait_for(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.event_log")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


def written(
    folder: Path, logger: logging.Logger, as_json: bool, say: Callable[[EventLog], None]
) -> list[str]:
    path = folder / "log"
    with path.open("wb", buffering=0) as file:
        log = EventLog(file.fileno(), as_json, VARIANTS)
        logger.addHandler(log)
        say(log)
        log.close()
    return path.read_text().splitlines()


def test_lines_for_people(tmp_path: Path, logger: logging.Logger) -> None:
    def say(log: EventLog) -> None:
        log.tell(NodeChanged(1, "dead", "silent for 3 s"))
        log.tell(answered(5))
        logger.info("serving %s", "here", extra={"fields": {"event": "serving"}})

    lines = written(tmp_path, logger, False, say)
    assert [line.partition(" ")[2] for line in lines][::2] == [
        f"node 1 ({VARIANTS[1]}) dead: silent for 3 s",
        "serving here",
    ]
    assert "request 5: " in lines[1]


def test_names_and_reasons_cannot_steer_a_terminal(tmp_path: Path, logger: logging.Logger) -> None:
    def say(log: EventLog) -> None:
        log.tell(NodeChanged(1, "dead", "\x1b[2J\x07gone"))
        logger.warning("the board %s", "\x9b31m\x7f")

    text = "".join(written(tmp_path, logger, False, say))
    assert text.isprintable()
    assert "[2J" in text and "31m" in text


def test_lines_for_programs(tmp_path: Path, logger: logging.Logger) -> None:
    warned = Warned("node 2 takes what this gateway sends for old")

    def say(log: EventLog) -> None:
        log.tell(NodeChanged(1, "dead", "silent for 3 s"))
        log.tell(warned)
        logger.warning(warned.text, extra={"event": warned})
        logger.info("serving", extra={"fields": {"event": "serving", "http": "127.0.0.1:1"}})
        try:
            raise KeyError("x")
        except KeyError:
            logger.exception("oh")

    lines = [json.loads(line) for line in written(tmp_path, logger, True, say)]
    assert all(line.pop("time").endswith("+00:00") for line in lines)
    assert lines == [
        {
            "level": "warning",
            "event": "node",
            "node": 1,
            "variant": VARIANTS[1],
            "state": "dead",
            "reason": "silent for 3 s",
        },
        {"level": "warning", "event": "warning", "text": warned.text},
        {"level": "info", "event": "serving", "http": "127.0.0.1:1"},
        {"level": "error", "event": "log", "text": "oh: KeyError('x')"},
    ]


def test_a_warning_over_and_over_is_held_back_but_no_event_is(
    tmp_path: Path, logger: logging.Logger
) -> None:
    flap: Event = NodeChanged(1, "dead", "disconnected")

    def say(log: EventLog) -> None:
        for _ in range(50):
            logger.warning("the broker is away")
            logger.info("as ever")
            log.tell(flap)

    lines = written(tmp_path, logger, False, say)
    assert sum("broker" in line for line in lines) == 6
    assert any(line.endswith(" 45 times more: the broker is away") for line in lines)
    assert sum("as ever" in line for line in lines) == 50
    events = [json.loads(line)["event"] for line in written(tmp_path, logger, True, say)]
    assert events.count("node") == 50


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=60))
def test_what_is_held_back_is_counted(said: list[tuple[str, float]]) -> None:
    repeats = Repeats(most=2, period_s=60.0, texts=2)
    now, passed, counted = 0.0, 0, 0
    for text, gap in said:
        now += gap
        counted += sum(count for _, count in repeats.due(now))
        passed += repeats.passes(text, now)
    counted += sum(count for _, count in repeats.due(now, at_end=True))
    assert passed + counted == len(said)
    assert repeats.due(now + 1000) == []


def test_a_reader_that_does_not_read_blocks_nobody(logger: logging.Logger) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    log = EventLog(writer, True, VARIANTS)
    logger.addHandler(log)
    for number in range(30_000):
        logger.info("line %d", number)
    wait_for(lambda: log._writer.dropped > 0)
    text = b""
    while b"line 29999" not in text or not text.endswith(b"\n"):
        text += os.read(reader, 65536)
    lines = [json.loads(line)["text"] for line in text.splitlines()]
    assert (lines[0], lines[-1]) == ("line 0", "line 29999")
    (lost,) = (line for line in lines if "lines of this log were lost" in line)
    assert int(lost.split()[0]) + len(lines) - 1 == 30_000
    os.close(reader)
    log.close()
    os.close(writer)


def test_a_full_disk_tears_no_line_and_the_rest_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]
    written = bytearray()

    def write(file: int, data: memoryview) -> int:
        room = 25 - len(written) if full[0] else len(data)
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.extend(data[:room])
        return min(room, len(data))

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr("variant_parallelism.gateway.line_writer._RETRY_S", 0.01)
    writer: LineWriter[str] = LineWriter(
        99, lambda line: [line], lambda ending: [], lambda lost: f"lost {lost}", capacity=5
    )
    for number in range(3):
        writer.put(f"{number:09}")
        wait_for(lambda end=10 * (number + 1): len(written) >= min(25, end))  # type: ignore[misc]
    for number in range(3, 30):
        writer.put(f"{number:09}")
    wait_for(lambda: writer.dropped > 0)
    full[0] = False
    wait_for(lambda: b"lost" in written)
    writer.close(LIMIT_S)
    lines = written.decode().splitlines()
    assert lines[:3] == ["000000000", "000000001", "00000"]
    assert set(lines) >= {f"{number:09}" for number in range(25, 30)}
    assert all(len(line) == 9 for line in lines[3:] if not line.startswith("lost"))


def test_a_log_that_nobody_can_read_is_no_trouble(logger: logging.Logger) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for file in (writer, None):
        log = EventLog(file, False, VARIANTS)
        logger.addHandler(log)
        for _ in range(1000):
            logger.warning("hello?")
        log.close()
        logger.removeHandler(log)
    os.close(writer)
