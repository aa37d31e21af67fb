"""How `vp classify` keeps several images in flight, and its progress bar."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_factory import make_image
from served_gateway import Served, serve
from variant_parallelism.errors import VpError
from variant_parallelism.gateway.program import (
    Images,
    Pace,
    Reply,
    ask_in_order,
    classify_by_gateway,
)

DEADLINE_MS = 1000.0


def images(count: int) -> Images:
    """Each holds its index."""
    return [np.full((1, 1, 1), index, np.uint8) for index in range(count)]


@given(delays=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_answers_are_shown_in_order_whatever_comes_first(delays: list[int]) -> None:
    shown: list[int] = []
    most = 0

    async def main() -> None:
        nonlocal most
        going = 0

        async def ask(image: Any) -> Reply:
            nonlocal going, most
            going += 1
            most = max(most, going)
            index = int(image[0, 0, 0])
            for _ in range(delays[index]):
                await asyncio.sleep(0)
            going -= 1
            return {"latency_ms": 1.0, "index": index}, {}

        def show(index: int, answer: dict[str, Any], down: dict[int, str]) -> None:
            assert answer["index"] == index
            shown.append(index)

        await ask_in_order(images(len(delays)), ask, Pace(DEADLINE_MS), show)

    asyncio.run(main())
    assert shown == list(range(len(delays)))
    assert most <= 8


def test_the_pace_rises_while_answers_are_quick_and_falls_when_they_are_not() -> None:
    pace = Pace(DEADLINE_MS)
    widths = []
    for latency in (30, 30, 30, 30, 30, 30, 30, 30, 30, 600, 600, 1000, 1000, 250):
        pace.observe(latency)
        widths.append(pace.width)
    assert widths == [2, 3, 4, 5, 6, 7, 8, 8, 8, 4, 2, 1, 1, 2]


def test_slow_boards_are_asked_one_image_at_a_time() -> None:
    async def main() -> None:
        going = 0

        async def ask(image: Any) -> Reply:
            nonlocal going
            going += 1
            assert going == 1
            await asyncio.sleep(0)
            going -= 1
            return {"latency_ms": 400.0}, {}

        await ask_in_order(images(10), ask, Pace(DEADLINE_MS), lambda *_: None)

    asyncio.run(main())


def test_an_error_comes_after_what_was_answered_before() -> None:
    shown: list[int] = []
    cancelled: list[int] = []

    async def ask(image: Any) -> Reply:
        index = int(image[0, 0, 0])
        if index == 9:
            raise VpError("the gateway refuses: enough")
        try:
            await asyncio.sleep(0 if index < 9 else 60)
        except asyncio.CancelledError:
            cancelled.append(index)
            raise
        return {"latency_ms": 1.0}, {}

    async def main() -> None:
        with pytest.raises(VpError, match="enough"):
            await ask_in_order(
                images(30), ask, Pace(DEADLINE_MS), lambda index, *_: shown.append(index)
            )

    asyncio.run(main())
    assert shown == list(range(9))
    assert cancelled and min(cancelled) > 9


def test_several_images_are_in_flight_at_a_gateway_and_busy_ones_come_later(
    tmp_path: Path,
) -> None:
    """With room for two at a time, what is refused is asked again."""

    async def test(served: Served) -> None:
        real = served.gateway.classify
        most = 0

        async def observed(*arguments: Any, **named: Any) -> Any:
            nonlocal most
            most = max(most, served.server.counters.in_flight)
            await asyncio.sleep(0.01)
            return await real(*arguments, **named)

        served.gateway.classify = observed  # type: ignore[method-assign]
        pixels = [make_image(served.fleet, seed) for seed in range(12)]
        shown: list[int] = []
        names: list[str] = []

        def show(index: int, answer: dict[str, Any], down: dict[int, str]) -> None:
            shown.append(index)
            names.append(answer["name"])

        await classify_by_gateway(served.fleet, pixels, 2, 20_000, show)
        assert shown == list(range(12))
        assert most == 2
        alone = [await real(image) for image in pixels]
        assert names == [answer.class_name for answer in alone]

    serve(tmp_path, test, max_in_flight=2)


PROGRESS = """
import time
from variant_parallelism.cli.classify import _Progress

_Progress._AFTER_S = 0
progress = _Progress(40)
for _ in range(40):
    progress.advance()
    print("an answer", flush=True)
time.sleep(0.2)
progress.end()
"""


def test_progress_is_shown_on_a_terminal_while_answers_go_elsewhere() -> None:
    def errors_of(stderr: int | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", PROGRESS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if stderr is None else stderr,
            text=True,
            timeout=60,
            env=os.environ | {"TERM": "xterm"},
        )

    master, slave = pty.openpty()
    try:
        done = errors_of(slave)
        assert (done.returncode, done.stdout.count("an answer\n")) == (0, 40)
        assert b"40/40" in os.read(master, 65536)
    finally:
        os.close(master)
        os.close(slave)
    piped = errors_of(None)
    assert (piped.returncode, piped.stderr) == (0, "")
