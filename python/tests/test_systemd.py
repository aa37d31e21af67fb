"""What systemd hears of a gateway, on real sockets, and the unit file."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fleet_factory import make_image
from loopback_nodes import loopback_fleet, nodes_of, run
from sink_events import until
from variant_parallelism.cli.gateway import _print_unit
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.systemd import Notifier, keep_notified, status_line, unit_file

LIMIT_S = 30.0


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd reads; `address_of` gives its name as NOTIFY_SOCKET has it."""
    abstract = f"\0vp-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify") if request.param == "file" else abstract)
        listening.settimeout(LIMIT_S)
        yield listening


def environment(systemd: socket.socket, **more: str) -> dict[str, str]:
    name = systemd.getsockname()
    text = name if isinstance(name, str) else "@" + name[1:].decode()
    return {"NOTIFY_SOCKET": text, **more}


def test_what_is_told(systemd: socket.socket) -> None:
    notifier = Notifier(environment(systemd))
    notifier.ready()
    notifier.reloading()
    notifier.status("4 of 5 nodes up")
    notifier.alive()
    notifier.stopping()
    told = [systemd.recv(1024).decode() for _ in range(5)]
    assert told[0] == "READY=1"
    reloading, monotonic = told[1].splitlines()
    assert reloading == "RELOADING=1"
    age_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 - int(monotonic.split("=")[1])
    assert 0 <= age_us < LIMIT_S * 1e6
    assert told[2:] == ["STATUS=4 of 5 nodes up", "WATCHDOG=1", "STOPPING=1"]
    notifier.close()


def test_a_systemd_that_is_gone_or_does_not_read_is_no_trouble(systemd: socket.socket) -> None:
    notifier = Notifier(environment(systemd))
    for _ in range(10_000):
        notifier.alive()
    systemd.close()
    notifier.ready()
    notifier.close()


def test_without_systemd_nothing_is_told() -> None:
    notifier = Notifier({})
    notifier.ready()
    assert notifier.watchdog_s is None
    notifier.close()


@pytest.mark.parametrize(
    ("told", "period_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_when_systemd_wants_to_hear_of_us(
    systemd: socket.socket, told: dict[str, str], period_s: float | None
) -> None:
    notifier = Notifier(environment(systemd, **told))
    assert notifier.watchdog_s == period_s
    notifier.close()


def test_a_gateway_that_works_is_alive_and_one_whose_core_hangs_is_not(
    systemd: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.setblocking(False)
    told: list[str] = []

    def read() -> int:
        while True:
            try:
                told.append(systemd.recv(1024).decode())
            except BlockingIOError:
                return told.count("WATCHDOG=1")

    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(2, 20)
            await gateway.classify(make_image(fleet))
            notifier = Notifier(environment(systemd, WATCHDOG_USEC="60000"))
            telling = asyncio.create_task(keep_notified(notifier, gateway))
            await until(lambda: read() >= 3)
            assert any(line.startswith("STATUS=2 of 2 nodes up, ") for line in told)
            # As if the timer that drives the core had been lost.
            monkeypatch.setattr(gateway, "overdue_s", lambda: 5.0)
            alive, statuses = read(), len(told)
            await until(lambda: read() > alive + 5 or len(told) >= statuses + 5)
            assert read() == alive
            telling.cancel()
            notifier.close()

    run(test)


def test_what_is_overdue_is_seen(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(1, 20)
            assert gateway._timer is not None
            gateway._timer.cancel()
            gateway._open = False  # Nothing drives the core from here on.
            await until(lambda: gateway.overdue_s() > 0.05)
            gateway._open = True

    run(test)


def test_a_status_line(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            assert status_line(gateway, 0.0) == "0 of 2 nodes up, 0 answers/s"
            assert status_line(gateway, 1234.5) == "0 of 2 nodes up, 1234 answers/s"
            assert status_line(gateway, 0.333) == "0 of 2 nodes up, 0.33 answers/s"

    run(test)


def test_the_unit_runs_this_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "variant_parallelism.cli", "gateway", "--print-unit"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert f"ExecStart={sys.executable} -m variant_parallelism.cli gateway " in done.stdout
    assert "/opt/vp" not in done.stdout


@pytest.mark.parametrize("folder", ["/home/me", "/root", "/opt"])
def test_a_unit_that_cannot_work_is_printed_with_a_warning(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", f"{folder}/venv/bin/python")
    monkeypatch.setattr(sys, "argv", ["pytest"])
    with pytest.raises(typer.Exit):
        _print_unit(True)
    said = capsys.readouterr()
    assert f"ExecStart={folder}/venv/bin/python -m variant_parallelism.cli gateway " in said.out
    assert said.err.startswith(
        "" if folder == "/opt" else f"warning: the service cannot run {folder}/venv/bin/python: "
    )
    assert said.err.count("\n") == (folder != "/opt")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "vp-gateway@.service"
    unit.write_text(unit_file())
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (done.returncode, done.stderr) == (0, "")
