"""`vp trigger`: by its own gateway or the one that runs, and every mistake on one line."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from simulated_fleet import entries_of
from test_cli_classify import LIMIT_S, VP, running_fleet, vp
from variant_parallelism.fleet import load_fleet
from variant_parallelism.gateway import Answered, Event, Gateway
from variant_parallelism.pattern import captured


def check(answer: dict[str, Any], nodes: list[int], k: int = 2) -> None:
    """These nodes have voted, each for its own capture."""
    assert answer["triggered"] and [vote["node"] for vote in answer["votes"]] == nodes
    for vote in answer["votes"]:
        image = captured(vote["node"], answer["request"], (64, 64, 1)).tobytes()
        assert vote["entries"] == [list(entry) for entry in entries_of(vote["node"], image, k, 10)]


def test_a_gateway_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path, sensors=(0, 1)) as fleet:
            done = await asyncio.to_thread(vp, tmp_path, "trigger", fleet)
            assert (done.returncode, done.stderr) == (0, "")
            head, *votes = done.stdout.splitlines()
            assert head.startswith("trigger 1: c") and "  score 0." in head
            assert [line.partition(":")[0] for line in votes] == ["  node 0 (v0)", "  node 1 (v1)"]
            options = ("--count", 3, "--every", 0.01, "--k", 4, "--json")
            done = await asyncio.to_thread(vp, tmp_path, "trigger", fleet, *options)
            assert (done.returncode, done.stderr) == (0, "")
            answers = json.loads(done.stdout)
            assert [answer["trigger"] for answer in answers] == [1, 2, 3]
            for answer in answers:
                check(answer, [0, 1], k=4)

    asyncio.run(main())


def test_the_gateway_that_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path, sensors=(1,)) as fleet:
            gateway = await asyncio.create_subprocess_exec(
                *VP,
                "gateway",
                str(fleet),
                stdout=subprocess.PIPE,
                env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
            )
            assert gateway.stdout is not None
            try:
                async with asyncio.timeout(LIMIT_S):
                    up = 0
                    while up < 2:
                        line = await gateway.stdout.readline()
                        assert line, "the gateway ended"
                        up += b" up: " in line
                done = await asyncio.to_thread(vp, tmp_path, "trigger", fleet, "--json")
                assert (done.returncode, done.stderr) == (0, "")
                (answer,) = json.loads(done.stdout)
                check(answer, [1])
                assert answer["errors"] == {"0": "the node has no input source"}
            finally:
                gateway.terminate()
                await asyncio.wait_for(gateway.communicate(), LIMIT_S)

    asyncio.run(main())


def test_a_fleet_without_a_source_and_one_that_is_silent(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path) as fleet:
            done = await asyncio.to_thread(vp, tmp_path, "trigger", fleet)
            text = "error: no node that was heard of has an input source: send an image instead\n"
            assert (done.returncode, done.stdout, done.stderr) == (1, "", text)
        async with running_fleet(tmp_path, alive=False, sensors=(0, 1)) as fleet:
            done = await asyncio.to_thread(vp, tmp_path, "trigger", fleet, "--count", "2")
            assert done.returncode == 1
            assert done.stderr == (
                "error: no node answered 2 of 2 triggers; see the reasons above\n"
            )
            lines = done.stdout.splitlines()
            assert lines[0].startswith("trigger 1: no answer after ") and len(lines) == 6

    asyncio.run(main())


@pytest.mark.parametrize("option", [("--count", "0"), ("--every", "-1")])
def test_impossible_options(tmp_path: Path, option: tuple[str, str]) -> None:
    done = vp(tmp_path, "trigger", tmp_path / "fleet.toml", *option)
    assert done.returncode == 2 and option[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_listeners_hear_of_triggers_and_get_no_image(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_fleet(tmp_path, sensors=(0, 1)) as path:
            heard: list[Event] = []
            async with Gateway(load_fleet(path), state_dir=tmp_path / "own") as gateway:
                gateway.on_event(heard.append)
                assert await gateway.wait_for_nodes(2, LIMIT_S) == 2
                answers = await asyncio.gather(*(gateway.trigger(label=3) for _ in range(5)))
        assert all(answer.triggered and answer.label == 3 for answer in answers)
        assert all(len(answer.votes) == 2 for answer in answers)
        told = [event for event in heard if isinstance(event, Answered)]
        assert {event.answer.request for event in told} == {answer.request for answer in answers}
        assert all(event.image is None for event in told)

    asyncio.run(main())
