"""docs/http-api.md: every command and program in it works, and its figures are the gateway's."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fleet_factory import make_image
from served_gateway import LIMIT_S, Served, serve
from sink_events import until
from variant_parallelism.client import AsyncClient
from variant_parallelism.fleet import GatewayTable
from variant_parallelism.gateway.web import limits, protocol
from variant_parallelism.images import encode_png

PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"
TEXT = PAGE.read_text(encoding="utf-8")
BASE = "http://127.0.0.1:8470"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


COMMANDS = [
    line.removeprefix("$ ")
    for block in blocks("console")
    for line in block.splitlines()
    if line.startswith("$ ") and "curl" in line
]
PROGRAMS = blocks("python")
ENDLESS = [program for program in PROGRAMS if "client.events" in program]


def run_beside(folder: Path, commands: list[list[str]]) -> list[str]:
    """What commands print that run one after the other beside a gateway, without an error."""
    printed: list[str] = []

    async def test(served: Served) -> None:
        (folder / "digit.png").write_bytes(encode_png(make_image(served.fleet)))
        for command in commands:
            placed = [part.replace(BASE, served.url) for part in command]
            done = await asyncio.to_thread(
                subprocess.run,
                placed,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
            )
            assert done.returncode == 0, (command, done.stderr)
            printed.append(done.stdout)

    serve(folder, test, metrics=True)
    return printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_work(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 10
    whole = "set -o pipefail; "
    printed = run_beside(
        tmp_path,
        [
            ["bash", "-c", whole + command.replace("curl ", "curl -sS --fail-with-body ")]
            for command in COMMANDS
        ],
    )
    answers = [json.loads(text) for text in printed if text.startswith('{"request"')]
    assert len(answers) == 3
    assert answers[1]["label"] == 3
    assert [len(vote["entries"]) for vote in answers[1]["votes"]] == [3, 3]


def test_the_programs_work(tmp_path: Path) -> None:
    finite = [program for program in PROGRAMS if program not in ENDLESS]
    assert len(finite) == 3
    printed = run_beside(tmp_path, [[sys.executable, "-c", program] for program in finite])
    assert all(re.search(r"c[0-9]", text) for text in printed)


def test_the_program_that_watches_works(tmp_path: Path) -> None:
    (program,) = ENDLESS

    async def test(served: Served) -> None:
        watching = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            "-c",
            program.replace(BASE, served.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert watching.stdout is not None
        try:
            await until(lambda: served.server.counters.subscribers == 1)
            async with AsyncClient(served.fleet) as client:
                answer = await client.classify(make_image(served.fleet))
                assert f" {answer.name} ".encode() in await watching.stdout.readline()
                await client.quarantine(1)
                assert b" 1 quarantined " in await watching.stdout.readline()
        finally:
            watching.kill()
            await watching.communicate()

    serve(tmp_path, test)


def test_the_figures_are_the_gateways() -> None:
    table = GatewayTable()
    assert f"`http://{table.http}`" in TEXT
    assert f"max_in_flight` requests are in flight already, {table.max_in_flight} by " in TEXT
    assert f"max_body`, {table.max_body >> 20} MiB by default" in TEXT
    assert f"did not arrive within {limits.BODY_TIMEOUT_S:g} seconds" in TEXT
    assert f"send nothing for {protocol.HEAD_TIMEOUT_S:g} seconds" in TEXT
    assert f"asked for within {protocol.READ_TIMEOUT_S:g}, are closed" in TEXT
    for example in blocks("json"):
        json.loads(example)
