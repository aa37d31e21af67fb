"""`vp top`: what it shows of polls and events, and the program before a real gateway."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from typing import Any

import pytest
from rich.console import Console

from page_fleet import PageFleet
from variant_parallelism.api import (
    AnswerEvent,
    Fault,
    FleetCounters,
    FleetInfo,
    Node,
    NodeEvent,
    SkippedEvent,
    Vote,
)
from variant_parallelism.gateway.types import Counters, NodeEstimate
from variant_parallelism.top.model import Model, Polled
from variant_parallelism.top.view import percent, render, spark

TIME = "2026-11-21T18:34:46.703+00:00"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COMMAND = [sys.executable, "-m", "variant_parallelism.cli", "top"]


def node(number: int, **known: Any) -> Node:
    values: dict[str, Any] = {
        "variant": f"d{number}",
        "board": "mps2-an386",
        "transport": "udp",
        "address": "a",
        "state": "up",
        "reason": "hello",
        "boot": 1,
        "hello": None,
        "fault": None,
        "counters": Counters(answers=10 * number, lost=number),
        "estimate": NodeEstimate(1 - number / 100, 1.0, 20.0 + number, 40.0, 100),
    }
    return Node(id=number, **values | known)


def polled(nodes: list[Node], answers: int = 0, started: float = 1.0, **info: Any) -> Polled:
    history = {
        "answered": [10, 20, 30],
        "seconds": [5, 5, 5],
        "labelled": [5, 0, 5],
        "correct": [5, 0, 4],
        "latency_p50_ms": [20.0, None, 30.0],
        "nodes": [
            {"id": one.id, "up": [None, 50, 100], "votes": 8, "agreed": 5 - one.id} for one in nodes
        ],
    }
    classes = info.get("classes", [str(index) for index in range(10)])
    fleet = FleetInfo(
        fleet="digits", classes=classes, input=(8, 8, 1), k=2, deadline_ms=1000, started=started
    )
    return Polled(
        fleet, nodes, FleetCounters(requests=answers + 2, answers=answers, lost=2), history
    )


def answer(winner: int | None = 7, label: int | None = None, **known: Any) -> AnswerEvent:
    """Node 1 voted 7, node 2 voted 9 without counting, node 3 is missing."""
    votes = [
        Vote(node=1, variant="d1", entries=[(7, 90)], latency_ms=1, inference_ms=1, wire_bytes=1),
        Vote(
            node=2, variant="d2", entries=[(9, 9)], latency_ms=1, inference_ms=1, wire_bytes=1,
            counted=False,
        ),
    ]  # fmt: skip
    values: dict[str, Any] = {
        "request": 1,
        "class": winner,
        "name": None if winner is None else str(winner),
        "score": None if winner is None else 0.875,
        "scores": [],
        "votes": votes,
        "missing": [3],
        "errors": {},
        "latency_ms": 24.4,
        "label": label,
        "time": TIME,
        "event": "answer",
    }
    return AnswerEvent.model_validate(values | known)


def drawn(model: Model, width: int = 80, height: int = 24, **options: Any) -> list[str]:
    """The lines on a console of this size, which must hold them all."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    with console.capture() as capture:
        console.print(render(model, width, height, **options), end="")
    lines = COLOUR.sub("", capture.get()).rstrip("\n").split("\n")
    assert all(len(line) <= width for line in lines)
    return lines


def filled() -> Model:
    model = Model()
    fault = Fault(pc="0x100", lr="0", psr="0", cfsr="0", hfsr="0", address="0", bits=["IACCVIOL"])
    nodes = [node(1), node(2, fault=fault), node(3), node(4, state="dead", reason="silent for 3 s")]
    model.poll(polled(nodes, 100), 0.0)
    model.poll(polled(nodes, 125), 2.0)
    model.hear(answer(label=7), 1.0)
    model.hear(answer(9, label=7), 1.1)
    return model


def test_80_by_24_hold_the_fleet_and_its_answers() -> None:
    lines = drawn(filled())
    assert len(lines) == 24
    assert lines[0].split() == ["vp", "top", "digits", "●", "live"]
    assert lines[1].split("  ")[:2] == ["3 of 4 up", "12.5 answers/s"]
    assert "median 30 ms  right 90 % of 10  lost 2 of 127" in lines[1]
    rows = [line.split() for line in lines[4:8]]
    assert rows[0] == ["1", "d1", "udp", "up", "21", "ms", "50", "%", "75", "%", "10", "1"]
    assert "IACC" in lines[5]
    assert rows[2][3] == "late"
    assert rows[3][3] == "dead" and "silent" in lines[7]
    newest, older = (next(line for line in lines if word in line) for word in ("is 7", "right "))
    assert "24 ms" in newest and "88 %" in newest
    answers = [line for line in lines if "24 ms" in line and ":34:46" in line]
    assert [line.split()[-1] for line in answers] == ["◆■··", "■◆··"]
    assert older
    assert lines[-1].startswith("quit  sort:  node ")


@pytest.mark.parametrize("size", [(80, 24), (60, 12), (200, 60), (80, 8), (20, 5)])
@pytest.mark.parametrize("nodes", [0, 1, 5, 100])
def test_any_size_holds_any_fleet(size: tuple[int, int], nodes: int) -> None:
    model = Model()
    model.poll(polled([node(number) for number in range(nodes)]), 0.0)
    model.hear(answer(), 0.0)
    width, height = size
    lines = drawn(model, width, height)
    if height >= 12:
        assert len(lines) == height
        assert ("more" in "".join(lines)) == (nodes == 100)


@pytest.mark.parametrize(
    ("sort", "order"),
    [("node", [1, 2, 3, 4]), ("state", [4, 3, 1, 2]), ("latency", [4, 3, 2, 1]),
     ("agreement", [4, 3, 2, 1])],
)  # fmt: skip
def test_what_needs_a_look_comes_first(sort: Any, order: list[int]) -> None:
    model = filled()
    model.sort = sort
    assert [row.node.id for row in model.rows()] == order


def test_agreement_is_with_the_answers_whatever_the_others_said() -> None:
    model = Model()
    model.poll(polled([node(1), node(2, estimate=None)]), 0.0)
    assert [(row.agreement, row.available) for row in model.rows()] == [(0.5, 0.75), (0.375, 0.75)]


def test_events_change_what_the_last_poll_said() -> None:
    model = filled()
    event = {"time": TIME, "event": "node", "node": 4, "variant": "d4", "state": "up"}
    model.hear(NodeEvent.model_validate({**event, "reason": "it says HELLO"}), 3.0)
    assert model.rows()[3].state == "up"
    assert "node 4 (d4) up: it says HELLO" in drawn(model)[-2]
    assert not model.sampled
    model.hear(SkippedEvent(time=TIME, event="skipped", count=40), 3.0)
    assert any("answers (a sample)" in line for line in drawn(model))
    model.hear(answer(None, missing=[1, 2, 3], votes=[]), 3.1)
    assert any("no answer" in line for line in drawn(model))
    assert [row.state for row in model.rows()] == ["late", "late", "late", "up"]


def test_too_many_votes_for_a_line_are_counted() -> None:
    model = Model()
    model.poll(polled([node(number) for number in range(100)]), 0.0)
    model.hear(answer(), 0.0)
    assert any("1 ■  1 ◆  98 ·" in line for line in drawn(model))


def test_a_lost_gateway_and_a_new_one() -> None:
    model = filled()
    model.lose("the gateway does not answer")
    assert "does not answer: trying again" in drawn(model)[0]
    model.poll(polled([node(1)], 125), 4.0)
    assert (model.trouble, model.news) == (None, "connected again")
    model.poll(polled([node(1)], 3, started=2.0), 6.0)
    assert (model.rate, model.news) == (None, "the gateway restarted")
    assert "connecting" in drawn(Model())[1]


def test_names_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;pwned\x07\x1b[2Jseven\nup"
    model = Model()
    model.poll(polled([node(1, state="dead", reason=evil)], classes=[evil] * 10), 0.0)
    model.hear(answer(name=evil, label=3), 0.0)
    console = Console(width=200, height=24, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(model, 200, 24))
    assert "\x1b" not in capture.get() and "\x07" not in capture.get()
    assert "seven up" in capture.get()


def test_bars_and_shares() -> None:
    assert spark([None, 0, 6, 14], 4) == " ▁▄█"
    assert spark([1.0] * 120, 20) == "█" * 20
    assert spark([], 5) == " " * 5
    assert [percent(share) for share in (0.0, 0.005, 0.5, 0.9996, 1.0, None)] == [
        "0 %", "0.5 %", "50 %", "99.9 %", "100 %", "-",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageFleet]:
    with PageFleet(tmp_path_factory.mktemp("top"), 3) as fleet:
        yield fleet


def test_without_a_terminal_it_prints_once(running: PageFleet) -> None:
    running.ask(3)
    result = subprocess.run(
        [*COMMAND, str(running.fleet.path)], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "virtual-3" in result.stdout and "3 of 3 up" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a fleet file, or --url and the gateway's address"),
        (["--url", "http://127.0.0.1:1"], "the gateway at http://127.0.0.1:1 does not answer"),
        (["--url", "http://127.0.0.1:99999"], "http://127.0.0.1:99999 is no address of a gateway"),
        (["--url", "ftp://x"], "--url ftp://x: an address begins with http:// or https://"),
        (["--url", "http://127.0.0.1:1", "--token-file", "/none"], "cannot read token file /none"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    result = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


def test_on_a_terminal_until_q(running: PageFleet) -> None:
    running.feed(20)
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    program = subprocess.Popen(
        [*COMMAND, "--url", running.url], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    try:
        wait_for(master, "virtual-3", "■■■")
        running.stop_gateway()
        wait_for(master, "trying again")
        running.start_gateway()
        wait_for(master, "the gateway restarted")
        os.write(master, b"q")
        wait_for(master, "\x1b[?1049l")
        assert program.wait(60) == 0
    finally:
        program.kill()
        program.wait()
        os.close(master)


def wait_for(terminal: int, *texts: str) -> None:
    """Read what is drawn until all of these were, in any order and colour."""
    seen, limit = "", time.monotonic() + 60
    while not all(text in COLOUR.sub("", seen) for text in texts):
        assert time.monotonic() < limit, seen[-2000:]
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
