"""The gateway as a process that runs for months: its end, its log, systemd, other gateways."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import socket
from pathlib import Path

import pytest

from free_ports import free_ports
from gateway_process import LIMIT_S, VP, gateway_of, write_loopback
from loopback_nodes import nodes_of, run
from sink_events import until
from variant_parallelism.fleet import load_fleet


def test_requests_in_flight_are_answered_before_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path)
        async with nodes_of(load_fleet(path), {}) as nodes, gateway_of(path) as gateway:
            for node in nodes.nodes.values():
                node.compute_s = 0.4
            await gateway.up(2)
            asking = [asyncio.create_task(gateway.classify(seed)) for seed in range(2)]
            await gateway.asked(2)
            assert await gateway.ended(signal.SIGINT) == 0
            for answer in await asyncio.gather(*asking):
                assert (len(answer["votes"]), answer["missing"]) == (2, [])

    run(test)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path, deadline_ms=600_000)
        async with nodes_of(load_fleet(path), {}) as nodes, gateway_of(path) as gateway:
            for node in nodes.nodes.values():
                node.compute_s = 500.0
            await gateway.up(2)
            asking = asyncio.create_task(gateway.classify(deadline_ms=600_000))
            await gateway.asked(1)
            gateway.process.send_signal(signal.SIGTERM)
            host, port = gateway.fleet.table.gateway.http.split(":")
            with socket.socket() as probe:
                # Once nothing listens any more, the first signal has been heard.
                await until(lambda: probe.connect_ex((host, int(port))) != 0 or probe.close())  # type: ignore[func-returns-value]
            assert await gateway.ended() == -signal.SIGTERM
            with pytest.raises(OSError):
                await asking

    run(test)


@pytest.mark.parametrize("how", ["closed", "full", "reader gone"])
def test_a_log_that_cannot_be_written_does_not_stop_it(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path)
        reader, writer = os.pipe()
        if how == "full":
            os.close(writer)
            writer = os.open("/dev/full", os.O_WRONLY)
        os.close(reader)
        closing = {"preexec_fn": lambda: (os.close(1), os.close(2))} if how == "closed" else {}
        starting = gateway_of(path, stdout=writer, stderr=writer, wait=False, **closing)
        async with nodes_of(load_fleet(path), {}), starting as gateway:
            os.close(writer)
            await gateway.up(2)
            assert len((await gateway.classify())["votes"]) == 2
            assert await gateway.ended() == 0

    run(test)


def test_systemd_hears_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(LIMIT_S)
            told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
            async with nodes_of(load_fleet(path), {}), gateway_of(path, env=told) as gateway:
                heard: list[str] = []

                async def hear(what: str) -> None:
                    while not any(line.startswith(what) for line in heard):
                        heard.append((await asyncio.to_thread(systemd.recv, 1024)).decode())

                await hear("READY=1")
                assert heard[0].startswith("STATUS=")
                await hear("WATCHDOG=1")
                await hear("STATUS=2 of 2 nodes up")
                assert await gateway.ended() == 0
                await hear("STOPPING=1")

    run(test)


def test_it_ends_with_the_terminal_that_it_runs_in(tmp_path: Path) -> None:
    """A closed window sends SIGHUP, too, which is no wish for a reload then."""

    async def test() -> None:
        path = write_loopback(tmp_path)
        process, master = pty.fork()
        if process == 0:
            os.execv(VP[0], [*VP, "gateway", "--state-dir", str(tmp_path), str(path)])
        text = b""
        while b"serving" not in text:
            text += await asyncio.to_thread(os.read, master, 4096)
        os.close(master)
        async with asyncio.timeout(LIMIT_S):
            _, status = await asyncio.to_thread(os.waitpid, process, 0)
        assert os.waitstatus_to_exitcode(status) == 0

    run(test)


def test_two_gateways_of_one_fleet(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path)
        async with gateway_of(path) as gateway:
            port = gateway.fleet.table.gateway.listen.rpartition(":")[2]
            process = gateway.process.pid
            complaints = {
                "state": f"a gateway of fleet simulated already runs here (process {process})",
                "other": f"cannot listen on udp 127.0.0.1:{port}: another program uses this port",
            }
            for state_dir, complaint in complaints.items():
                second = await asyncio.create_subprocess_exec(
                    *VP,
                    "gateway",
                    "--state-dir",
                    str(tmp_path / state_dir),
                    str(other_http(path)),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                )
                _, error = await asyncio.wait_for(second.communicate(), LIMIT_S)
                assert second.returncode == 1
                assert error.decode().startswith(f"error: {complaint}")
                assert error.count(b"\n") == 1

    run(test)


def other_http(path: Path) -> Path:
    """The same fleet file with an HTTP port that nobody has."""
    other = path.with_name("other.toml")
    http = load_fleet(path).table.gateway.http
    (port,) = free_ports(socket.SOCK_STREAM, 1)
    other.write_text(path.read_text().replace(http, f"127.0.0.1:{port}"))
    return other
