"""`vp gateway` and `vp classify` as programs: what they print, and every mistake on one line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fleet_factory import KEY, make_image, write_fleet_file
from loopback_nodes import LoopbackFleet
from simulated_fleet import entries_of
from variant_parallelism.fleet import load_fleet

VP = [sys.executable, "-c", "from variant_parallelism.cli import main; main()"]
LIMIT_S = 60


def vp(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VP, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=os.environ | {"XDG_STATE_HOME": str(folder / "state")},
    )


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node(number: int, **where: str) -> dict[str, object]:
    return {"id": number, "variant": f"v{number}", "board": "mps2-an386", **where}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "three.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)
    return path


@contextlib.asynccontextmanager
async def running_fleet(folder: Path, alive: bool = True) -> AsyncIterator[Path]:
    """Two UDP nodes with a key, and their fleet file."""
    key = folder / "fleet.key"
    key.write_text(KEY.hex(), encoding="ascii")
    key.chmod(0o600)
    listen = free_port(socket.SOCK_DGRAM)
    top = {
        "key_file": key.name,
        "deadline_ms": 3000 if alive else 100,
        "gateway": {
            "listen": f"127.0.0.1:{listen}",
            "http": f"127.0.0.1:{free_port(socket.SOCK_STREAM)}",
        },
    }
    unplaced = [node(number, udp=f"127.0.0.1:{number + 1}") for number in range(2)]
    fleet = load_fleet(write_fleet_file(folder, unplaced, **top))
    nodes = LoopbackFleet(fleet, ("127.0.0.1", listen))
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

            arguments = ("--json", "--k", "3", "--deadline-ms", "2500")
            done = await asyncio.to_thread(vp, tmp_path, "classify", fleet, other, *arguments)
            (answer,) = json.loads(done.stdout)
            assert answer["image"] == str(other)
            assert [len(vote["entries"]) for vote in answer["votes"]] == [3, 3]
            assert answer["class"] == winner

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
            assert log[-1].endswith("stopped: 1 requests, 1 answered")

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
    text = error_of(node(0, serial=f"{tmp_path}/ttyUSB7"))
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
