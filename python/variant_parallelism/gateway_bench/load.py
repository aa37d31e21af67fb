"""The real gateway under load: requests in flight in a closed loop, or a few a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway import Answer, Gateway
from variant_parallelism.gateway_bench.jobs import Job
from variant_parallelism.gateway_bench.meters import rss_bytes
from variant_parallelism.virtual import rule, trigger_answer

_IMAGES = 64
_LOOK_EVERY = 16
_RSS_POINTS = 200

Progress = Callable[[float], None]
Ask = Callable[[int], Awaitable[tuple[Answer, int]]]
"""The answer to a request of this number, and the class that the nodes gave."""


@dataclass
class Tally:
    """What came of a load."""

    requests: int = 0
    answers: int = 0
    lost: int = 0
    wrong: int = 0
    incomplete: int = 0
    """Answers that lack a vote."""
    added_us: list[float] = field(default_factory=list)
    rss: list[tuple[int, int]] = field(default_factory=list)

    def take(self, answer: Answer, expected: int) -> None:
        if answer.class_index is None:
            self.lost += 1
        else:
            self.answers += 1
            self.wrong += answer.class_index != expected


def asks_images(gateway: Gateway) -> Ask:
    """Ask about random images of the fleet's shape, each for itself."""
    source, classes = gateway.fleet.manifest.input, len(gateway.fleet.manifest.classes)
    images = np.random.default_rng(1).integers(
        0, 256, (_IMAGES, source.height, source.width, source.channels), dtype=np.uint8
    )
    expected = [rule(image, 0, classes, 1)[0][0] for image in images]

    async def ask(number: int) -> tuple[Answer, int]:
        at = number % _IMAGES
        return await gateway.classify(images[at]), expected[at]

    return ask


def asks_triggers(gateway: Gateway) -> Ask:
    """Trigger the nodes."""
    classes = len(gateway.fleet.manifest.classes)

    async def ask(number: int) -> tuple[Answer, int]:
        answer = await gateway.trigger()
        return answer, trigger_answer(answer.request, 0, classes, 1)[0][0]

    return ask


async def closed_loop(ask: Ask, job: Job, tell: Progress) -> Tally:
    """`job.in_flight` callers, each of which asks again as soon as it has its answer."""
    tally, begin = Tally(), time.monotonic()
    numbers = iter(range(1 << 62))

    def is_over() -> bool:
        if job.answers is not None:
            return tally.answers >= job.answers
        return time.monotonic() >= begin + job.seconds

    async def caller() -> None:
        while not is_over():
            number = next(numbers)
            tally.requests += 1
            tally.take(*await ask(number))
            if number % _LOOK_EVERY == 0:
                _look(tally, job, begin, tell)

    await asyncio.gather(*(caller() for _ in range(job.in_flight)))
    return tally


def _look(tally: Tally, job: Job, begin: float, tell: Progress) -> None:
    if job.answers is None:
        tell((time.monotonic() - begin) / job.seconds)
        return
    tell(tally.answers / job.answers)
    if tally.answers >= len(tally.rss) * job.answers / _RSS_POINTS:
        tally.rss.append((tally.answers, rss_bytes()))


async def open_loop(ask: Ask, job: Job, sent_ns: NDArray[np.uint64], tell: Progress) -> Tally:
    """`job.rate` requests a second, each asked at its time whether or not the last one is back."""
    tally, begin = Tally(), time.monotonic()

    async def one(number: int) -> None:
        tally.requests += 1
        answer, expected = await ask(number)
        now_ns = time.monotonic_ns()
        tally.take(answer, expected)
        if answer.missing:
            tally.incomplete += answer.class_index is not None
        else:
            tally.added_us.append((now_ns - int(sent_ns[answer.request])) / 1000)

    async with asyncio.TaskGroup() as group:
        for number in range(max(1, round(job.rate * job.seconds))):
            await asyncio.sleep(max(0.0, begin + number / job.rate - time.monotonic()))
            group.create_task(one(number))
            tell((time.monotonic() - begin) / job.seconds)
    return tally
