"""The Pico's image in rp2040js, which has its processor, clocks, UART and watchdog.

Wants Node.js and the npm package. rp2040.js stands in for boot ROM and flash controller; what the
second stage sets up there, only a board can show.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from hil_bench import DIGITS, KEY, ROOT
from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.firmware import build_images, load_board
from variant_parallelism.flash.identity import identity
from variant_parallelism.flash.image import load_segments
from variant_parallelism.fleet import Fleet, FleetTable, NodeTable
from variant_parallelism.gateway import Gateway, NodeStatus
from variant_parallelism.manifest import load_manifest
from variant_parallelism.reference import FamilyReference
from variant_parallelism.training.datasets import Dataset
from variant_parallelism.wire import ResetCause

HINT = "install Node.js, and rp2040js with `npm install rp2040js` in any folder; RP2040JS names it"
PICO = load_board("pico")
PATIENCE_S = 60.0


def node_program() -> str:
    """Node.js with rp2040js in reach, or skip."""
    program = shutil.which("node")
    if program is None:
        pytest.skip(f"no node: {HINT}")
    found = subprocess.run(
        [program, "-e", "require('rp2040js')"], env=environment(), capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip(f"no rp2040js: {HINT}")
    return program


def environment() -> dict[str, str]:
    return os.environ | {"NODE_PATH": f"{os.environ.get('RP2040JS', '.')}/node_modules"}


@contextmanager
def pico(elf: Path, block: bytes, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    parts = []
    for number, (address, data) in enumerate(
        [(part.address, part.data) for part in load_segments(elf)]
        + [(PICO.provision_address, block)]
    ):
        path = folder / f"part-{number}"
        path.write_bytes(data)
        parts.append(f"{path}@{address}")
    script = Path(__file__).with_name("rp2040.js")
    process = subprocess.Popen([node_program(), script, str(port), *parts], env=environment())
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def listening(process: subprocess.Popen[bytes], port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while process.poll() is None:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.close()
                return
            await asyncio.sleep(0.05)
    raise AssertionError("rp2040.js has ended")


async def until(
    gateway: Gateway, process: subprocess.Popen[bytes], condition: Callable[[NodeStatus], bool]
) -> NodeStatus:
    async with asyncio.timeout(PATIENCE_S):
        while not condition(gateway.nodes()[0]):
            assert process.poll() is None, "rp2040.js has ended"
            await asyncio.sleep(0.05)
    return gateway.nodes()[0]


def has_boot(boot: int, status: NodeStatus) -> bool:
    return status.boot == boot


async def test_answers_bit_for_bit_and_keeps_its_boot_counter(
    digits: Dataset, tmp_path: Path
) -> None:
    node_program()
    path = DIGITS / "manifest.json"
    (image,) = build_images(path, ["d12"], "pico", ROOT / "build" / "firmware")
    manifest = load_manifest(path)
    reference = FamilyReference(manifest, DIGITS)
    port = PortPool().take()
    node = NodeTable(id=1, variant="d12", board="pico", serial=f"socket://127.0.0.1:{port}")
    table = FleetTable(
        name="pico", id=1, manifest="manifest.json", deadline_ms=30_000, hello_ms=500, nodes=[node]
    )
    fleet = Fleet(tmp_path / "fleet.toml", table, manifest, path, KEY)
    block = identity(fleet, node, 7).pack()
    with pico(image.elf, block, port, tmp_path) as process:
        await listening(process, port)
        gateway = Gateway(fleet, state_dir=tmp_path)
        async with gateway:
            await until(gateway, process, lambda now: now.state == "up")
            for digit in digits.test_images[:6]:
                answer = await gateway.classify(digit, k=3)
                (vote,) = answer.votes
                assert vote.entries == reference["d12"].entries(digit, 3)
            status = gateway.nodes()[0]
            assert status.boot == 7 and status.hello is not None
            assert status.hello.reset_cause is ResetCause.POWER
            for boot in (8, 9):
                process.send_signal(signal.SIGUSR1)
                status = await until(gateway, process, partial(has_boot, boot))
                assert status.hello is not None and status.hello.reset_cause is ResetCause.POWER
