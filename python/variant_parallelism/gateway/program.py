"""`vp classify` and `vp trigger`, without their command lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.api import Answer, Node
from variant_parallelism.client import AsyncClient, GatewayError
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.report import answer_json
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.types import NodeStatus

_SETTLE_S = 2.0
_WIDEST = 8
_MOST_WAITING = 64
"""Answers that wait for an earlier image's."""
_MOST_TRIES = 30

Images: TypeAlias = Sequence[NDArray[np.uint8]]
Reply: TypeAlias = tuple[dict[str, Any], dict[int, str]]
"""An answer, and for each node that is not up, why."""

Ask: TypeAlias = Callable[[NDArray[np.uint8]], Awaitable[Reply]]
Show: TypeAlias = Callable[[int, dict[str, Any], dict[int, str]], None]
"""Called with an image's index and its reply, in the images' order."""


class Pace:
    """How many images are asked about at a time.

    More while answers come well before the deadline, since boards work while others receive;
    fewer when they do not, since an image that waits behind others on a slow board would miss it.
    """

    def __init__(self, deadline_ms: float) -> None:
        self.width = 1
        self._deadline_ms = deadline_ms

    def observe(self, latency_ms: float) -> None:
        if latency_ms <= self._deadline_ms / 4:
            self.width = min(_WIDEST, self.width + 1)
        else:
            self.width = max(1, self.width // 2)


async def ask_in_order(images: Images, ask: Ask, pace: Pace, show: Show) -> None:
    """Ask about several images at a time; `show` each as soon as it and all before are answered.

    An error ends it once what was answered before that image has been shown.
    """
    asked: deque[asyncio.Task[Reply]] = deque()
    observed: set[asyncio.Task[Reply]] = set()
    begun = shown = 0
    try:
        while shown < len(images):
            going = sum(not task.done() for task in asked)
            while going < pace.width and begun < len(images) and len(asked) < _MOST_WAITING:
                asked.append(asyncio.ensure_future(ask(images[begun])))
                begun += 1
                going += 1
            await asyncio.wait(
                [task for task in asked if not task.done()] or asked,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in asked:
                if task.done() and task not in observed and task.exception() is None:
                    observed.add(task)
                    pace.observe(task.result()[0]["latency_ms"])
            while asked and asked[0].done():
                task = asked.popleft()
                observed.discard(task)
                show(shown, *task.result())
                shown += 1
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def classify_images(
    fleet: Fleet,
    images: Images,
    k: int | None,
    deadline_ms: float | None,
    state_dir: Path | None,
    show: Show,
) -> None:
    """Run a gateway for as long as these images (H, W, C) take."""
    async with Gateway(fleet, state_dir=state_dir) as gateway:
        await gateway.wait_until_settled(_SETTLE_S)

        async def ask(image: NDArray[np.uint8]) -> Reply:
            answer = await gateway.classify(image, k=k, deadline_ms=deadline_ms)
            return answer_json(answer), reasons(gateway.nodes())

        await ask_in_order(images, ask, Pace(_deadline(fleet, deadline_ms)), show)


async def classify_by_gateway(
    fleet: Fleet, images: Images, k: int | None, deadline_ms: float | None, show: Show
) -> None:
    """The same through the fleet's gateway, which already runs."""
    async with AsyncClient(fleet) as client:

        async def ask(image: NDArray[np.uint8]) -> Reply:
            return await ask_gateway(
                client, lambda: client.classify(image, k=k, deadline_ms=deadline_ms)
            )

        await ask_in_order(images, ask, Pace(_deadline(fleet, deadline_ms)), show)


async def trigger_fleet(
    fleet: Fleet,
    count: int,
    every_s: float,
    k: int | None,
    deadline_ms: float | None,
    state_dir: Path | None,
    show: Show,
) -> None:
    """Run a gateway for `count` triggers, one every `every_s` seconds, or later if it is late."""
    async with Gateway(fleet, state_dir=state_dir) as gateway:
        await gateway.wait_until_settled(_SETTLE_S)

        async def ask() -> Reply:
            answer = await gateway.trigger(k=k, deadline_ms=deadline_ms)
            return answer_json(answer), reasons(gateway.nodes())

        await _in_turn(count, every_s, ask, show)


async def trigger_by_gateway(
    fleet: Fleet, count: int, every_s: float, k: int | None, deadline_ms: float | None, show: Show
) -> None:
    """The same through the fleet's gateway, which already runs."""
    async with AsyncClient(fleet) as client:

        async def ask() -> Reply:
            return await ask_gateway(client, lambda: client.trigger(k=k, deadline_ms=deadline_ms))

        await _in_turn(count, every_s, ask, show)


async def _in_turn(
    count: int, every_s: float, ask: Callable[[], Awaitable[Reply]], show: Show
) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for index in range(count):
        await asyncio.sleep(max(0.0, start + index * every_s - loop.time()))
        show(index, *await ask())


async def ask_gateway(client: AsyncClient, ask: Callable[[], Awaitable[Answer]]) -> Reply:
    """One answer; while the gateway is busy, ask again when it says so."""
    for left in reversed(range(_MOST_TRIES)):
        try:
            answer = await ask()
            break
        except GatewayError as busy:
            if busy.retry_after is None or not left:
                raise
            await asyncio.sleep(busy.retry_after)
    down = {}
    if answer.missing:
        # The answer counts, also if the gateway has gone away since.
        with contextlib.suppress(VpError):
            down = reasons(await client.nodes())
    return answer.as_json(), down


def reasons(nodes: Iterable[Node | NodeStatus]) -> dict[int, str]:
    """For each node that is not up, why."""
    return {node.id: f"{node.state}: {node.reason}" for node in nodes if node.state != "up"}


def _deadline(fleet: Fleet, deadline_ms: float | None) -> float:
    return fleet.table.deadline_ms if deadline_ms is None else deadline_ms
