"""`vp gateway` and `vp classify` as programs: what they print, and every mistake on one line."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fleet_factory import KEY, make_image, write_fleet_file
from free_ports import free_ports
from loopback_nodes import LoopbackFleet
from simulated_fleet import entries_of
from variant_parallelism.fleet import GatewayTable, load_fleet

VP = [sys.executable, "-c", "from variant_parallelism.cli import main; main()"]
LIMIT_S = 60
FLEET_INFO = {
    "fleet": "simulated",
    "classes": [f"c{index}" for index in range(10)],
    "input": [64, 64, 1],
    "k": 2,
    "deadline_ms": 20_000,
    "started": 0.0,
}
"""What a gateway of these tests' fleet says of itself."""


def vp(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VP, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=os.environ | {"XDG_STATE_HOME": str(folder / "state")},
    )


def node(number: int, **where: str) -> dict[str, object]:
    return {"id": number, "variant": f"v{number}", "board": "mps2-an386", **where}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "three.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)
    return path


@contextlib.asynccontextmanager
async def running_fleet(
    folder: Path, alive: bool = True, sensors: Collection[int] = ()
) -> AsyncIterator[Path]:
    """Two UDP nodes with a key, and their fleet file; `sensors` have an input source."""
    key = folder / "fleet.key"
    key.write_text(KEY.hex(), encoding="ascii")
    key.chmod(0o600)
    (listen,) = free_ports(socket.SOCK_DGRAM, 1)
    (http_port,) = free_ports(socket.SOCK_STREAM, 1)
    top = {
        "key_file": key.name,
        "deadline_ms": 20_000 if alive else 100,
        "gateway": {
            "listen": f"127.0.0.1:{listen}",
            "http": f"127.0.0.1:{http_port}",
        },
    }
    unplaced = [node(number, udp=f"127.0.0.1:{number + 1}") for number in range(2)]
    fleet = load_fleet(write_fleet_file(folder, unplaced, **top))
    nodes = LoopbackFleet(fleet, ("127.0.0.1", listen), sensors)
    placed = [
        node(number, udp=f"127.0.0.1:{await nodes.start_udp(number, 0)}") for number in range(2)
    ]
    for simulated in nodes.nodes.values():
        simulated.alive = alive
    try:
        yield write_fleet_file(folder, placed, **top)
    finally:
        nodes.close()


def test_classify_runs_its_own_gateway(tmp_path: Path, picture: Path) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path) as fleet:
            other = tmp_path / "other.png"
            image = make_image(load_fleet(fleet), 1)
            Image.fromarray(image[:, :, 0]).save(other)
            done = await asyncio.to_thread(vp, tmp_path, "classify", fleet, picture, other)
            assert (done.returncode, done.stderr) == (0, "")
            lines = done.stdout.splitlines()
            assert [line for line in lines if not line.startswith(" ")] == [lines[0], lines[3]]
            (winner, _), *_ = entries_of(0, image.tobytes(), 2, 10)
            assert lines[3].startswith(f"{other}: c{winner}  score 0.")
            assert lines[4].startswith(f"  node 0 (v0): c{winner} 0.734, ")

            own = tmp_path / "own"
            arguments = ("--json", "--k", "3", "--deadline-ms", "15000", "--state-dir", own)
            done = await asyncio.to_thread(vp, tmp_path, "classify", fleet, other, *arguments)
            (answer,) = json.loads(done.stdout)
            assert answer["image"] == str(other)
            assert [len(vote["entries"]) for vote in answer["votes"]] == [3, 3]
            assert answer["class"] == winner
            assert (own / "simulated.json").is_file()

    asyncio.run(main())


def test_classify_uses_the_running_gateway_and_it_ends_on_a_signal(
    tmp_path: Path, picture: Path
) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path) as fleet:
            gateway = await asyncio.create_subprocess_exec(
                *VP,
                "gateway",
                str(fleet),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
            )
            assert gateway.stdout is not None
            log = []
            try:
                async with asyncio.timeout(LIMIT_S):
                    while sum(" up: " in line for line in log) < 2 or "serving" not in log[-1]:
                        log.append((await gateway.stdout.readline()).decode())
                        assert log[-1], "the gateway ended"
                        if sum(" up: " in line for line in log) == 2:
                            break
                done = await asyncio.to_thread(vp, tmp_path, "classify", fleet, picture)
                assert (done.returncode, done.stderr) == (0, "")
                second = await asyncio.to_thread(vp, tmp_path, "gateway", fleet)
                assert second.returncode == 1
                assert "another program uses this port" in second.stderr
                gateway.send_signal(signal.SIGTERM)
                out, err = await asyncio.wait_for(gateway.communicate(), LIMIT_S)
            finally:
                if gateway.returncode is None:
                    gateway.kill()
            assert (gateway.returncode, err.decode()) == (0, "")
            log += out.decode().splitlines()
            assert sum("request " in line and "2 of 2 nodes" in line for line in log) == 1
            assert log[-1].endswith("stopped: 1 request, 1 answered")

    asyncio.run(main())


@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_what_was_answered_before_the_gateway_died_is_printed(
    tmp_path: Path, picture: Path, as_json: bool
) -> None:
    """The first image is answered, the second one's answer breaks off in the middle."""
    answer = {
        "request": 1,
        "class": 3,
        "name": "c3",
        "score": 0.5,
        "scores": [0.0],
        "votes": [],
        "missing": [0],
        "spared": [],
        "errors": {},
        "latency_ms": 4.0,
    }
    posts = itertools.count()

    class Dying(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(FLEET_INFO)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert len(body) == 64 * 64
            self.reply(answer, cut=0 if next(posts) == 0 else 20)

        def reply(self, value: dict[str, object], cut: int = 0) -> None:
            text = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text[: len(text) - cut])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dying) as server:
        endpoint = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever).start()
        try:
            nodes = [node(0, udp="127.0.0.1:5000")]
            fleet = write_fleet_file(tmp_path, nodes, gateway={"http": endpoint})
            other = tmp_path / "other.png"
            other.write_bytes(picture.read_bytes())
            options = ["--json"] if as_json else []
            done = vp(tmp_path, "classify", fleet, picture, other, *options)
        finally:
            server.shutdown()
    assert done.returncode == 1
    assert done.stderr == (
        f"error: the gateway at http://{endpoint} does not answer: it stopped, or is no gateway "
        "(RemoteProtocolError)\n"
    )
    if as_json:
        assert json.loads(done.stdout) == [{"image": str(picture), **answer}]
    else:
        assert done.stdout == f"{picture}: c3  score 0.500  4 ms\n  node 0: no answer (late)\n"


def test_a_file_of_any_size_goes_through_a_running_gateway(tmp_path: Path) -> None:
    """What is sent is the image in the fleet's size, not the file."""
    sent: list[int] = []

    class Counting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.end(200, FLEET_INFO)

        def do_POST(self) -> None:
            sent.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self.end(400, {"error": "enough"})

        def end(self, status: int, value: dict[str, object]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None:
            pass

    large = tmp_path / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (5000, 4000), dtype=np.uint8)
    Image.fromarray(noise).save(large, compress_level=0)
    assert large.stat().st_size > GatewayTable().max_body
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            table = {"http": f"127.0.0.1:{server.server_port}"}
            fleet = write_fleet_file(tmp_path, [node(0, udp="127.0.0.1:5000")], gateway=table)
            done = vp(tmp_path, "classify", fleet, large)
        finally:
            server.shutdown()
    assert (done.returncode, done.stderr) == (1, "error: the gateway refuses: enough\n")
    assert len(sent) == 1
    assert sent[0] == 64 * 64


def test_the_gateway_prints_its_events_as_json_lines(tmp_path: Path, picture: Path) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path) as fleet:
            gateway = await asyncio.create_subprocess_exec(
                *VP,
                "gateway",
                str(fleet),
                "--log-json",
                "--state-dir",
                str(tmp_path / "own"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert gateway.stdout is not None
            events: list[dict[str, object]] = []
            try:
                async with asyncio.timeout(LIMIT_S):
                    while [event["event"] for event in events].count("node") < 2:
                        events.append(json.loads(await gateway.stdout.readline()))
                done = await asyncio.to_thread(vp, tmp_path, "classify", fleet, picture)
                assert (done.returncode, done.stderr) == (0, "")
                gateway.send_signal(signal.SIGTERM)
                out, err = await asyncio.wait_for(gateway.communicate(), LIMIT_S)
            finally:
                if gateway.returncode is None:
                    gateway.kill()
            assert (gateway.returncode, err) == (0, b"")
            events += map(json.loads, out.splitlines())
            kinds = [event["event"] for event in events]
            assert sorted(kinds) == ["answer", "node", "node", "serving", "starting", "stopped"]
            assert kinds[0] == "starting"
            assert {event["level"] for event in events} == {"info"}
            assert kinds[-2:] == ["answer", "stopped"]
            assert all(str(event["time"]).endswith("+00:00") for event in events)
            by_kind = {str(event["event"]): event for event in events}
            assert by_kind["node"]["state"] == "up"
            assert len(by_kind["answer"]["votes"]) == 2  # type: ignore[arg-type]
            assert by_kind["stopped"]["counters"]["answers"] == 1  # type: ignore[index]

    asyncio.run(main())


def test_with_no_node_classify_says_so(tmp_path: Path, picture: Path) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path, alive=False) as fleet:
            done = await asyncio.to_thread(vp, tmp_path, "classify", fleet, picture)
            assert done.returncode == 1
            assert done.stderr == f"error: no node answered for {picture}; see the reasons above\n"
            assert "node 1: no answer (unknown: not heard of yet)" in done.stdout

    asyncio.run(main())


@pytest.mark.parametrize("command", ["classify", "gateway"])
def test_mistakes_in_the_fleet_file_name_the_line(
    tmp_path: Path, picture: Path, command: str
) -> None:
    images = [picture] if command == "classify" else []

    def error_of(*nodes: dict[str, object], **top: object) -> str:
        path = write_fleet_file(tmp_path, list(nodes), **top)
        done = vp(tmp_path, command, path, *images)
        assert done.returncode == 1
        assert done.stdout == "" or command == "gateway"
        assert done.stderr.count("\n") == 1
        return done.stderr

    text = error_of(node(0, udp="127.0.0.1:5000", speed="9"))
    assert text == f"error: {tmp_path}/fleet.toml:10: nodes.speed: unknown key\n"
    text = error_of(node(0, serial="/dev/ttyS9"), node(1, serial="/dev/ttyS9"))
    assert text.endswith("fleet.toml:15: nodes.serial: node 1 and node 0 are both on /dev/ttyS9\n")
    (http_port,) = free_ports(socket.SOCK_STREAM, 1)
    api = {"http": f"127.0.0.1:{http_port}"}
    text = error_of(node(0, serial=f"{tmp_path}/ttyUSB7"), gateway=api)
    assert f"{tmp_path}/ttyUSB7: no such port; is the board plugged in?" in text
    text = error_of(node(0, emulated="serial"))
    assert "node 0 is emulated: run `vp emulate " in text


def test_the_http_address_must_be_loopback(tmp_path: Path) -> None:
    path = write_fleet_file(
        tmp_path, [node(0, udp="127.0.0.1:5000")], gateway={"http": "0.0.0.0:8470"}
    )
    done = vp(tmp_path, "gateway", path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: [gateway] http = '0.0.0.0:8470' is not a loopback")


def test_images_are_checked_before_anything_is_sent(tmp_path: Path, picture: Path) -> None:
    path = write_fleet_file(tmp_path, [node(0, serial="/dev/none")])
    bad = tmp_path / "bad.png"
    bad.write_bytes(picture.read_bytes()[:40])
    done = vp(tmp_path, "classify", path, picture, bad)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: image {bad} is damaged: ")
    missing = tmp_path / "missing.jpg"
    done = vp(tmp_path, "classify", path, missing)
    assert done.stderr == f"error: cannot read image {missing}: No such file or directory\n"
    done = vp(tmp_path, "classify", tmp_path / "none.toml", picture)
    assert done.stderr == f"error: cannot read {tmp_path}/none.toml: No such file or directory\n"
    assert vp(tmp_path, "classify", path).returncode == 2
