"""Three gateways, several workers and a real Mosquitto; workers and the broker are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fleet_factory import KEY, make_image
from loopback_nodes import run
from mosquitto_broker import Broker, Gate, Listener, needs_mosquitto, running
from sink_events import until
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Gateway
from variant_parallelism.workers import BrokerClient, Spread, Worker
from variant_parallelism.workers.messages import AnswerMessage
from workers_fleet import (
    all_shared,
    expected_scores,
    gateway_of,
    nodes_in,
    part,
    worker_command,
    write_worker_file,
)

pytestmark = needs_mosquitto

ALL_NODES = [0, 1, 2, 3, 4, 5]


class Three:
    """Gateways a, b and c with two nodes each."""

    def __init__(self, fleets: Sequence[Fleet], parts: Sequence[tuple[Gateway, Spread, Any]]):
        self.fleets = fleets
        self.gateways = [gateway for gateway, _, _ in parts]
        self.spreads = [spread for _, spread, _ in parts]
        self.nodes = {number: node for _, _, nodes in parts for number, node in nodes.nodes.items()}

    @property
    def kept(self) -> int:
        """Reports whose answer no gateway has seen."""
        return sum(spread.waiting for spread in self.spreads)

    def scores(self, seed: int) -> list[float]:
        return expected_scores(self.fleets, make_image(self.fleets[0], seed).tobytes(), 2)


@contextlib.asynccontextmanager
async def three_gateways(port: int, folder: Path, **options: Any) -> AsyncIterator[Three]:
    fleets = [
        part([0, 1], "a", port, **options),
        part([2, 3], "b", port, **options),
        part([4, 5], "c", port, **options),
    ]
    async with contextlib.AsyncExitStack() as stack:
        parts = [await stack.enter_async_context(gateway_of(fleet, folder)) for fleet in fleets]
        yield Three(fleets, parts)


def worker(fleet: Fleet, answers: list[AnswerMessage] | None = None) -> Worker:
    assert fleet.table.workers is not None
    return Worker(fleet, fleet.table.workers, (answers if answers is not None else []).append)


def answers_of(listener: Listener) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in listener.of("vp/simulated/answer")]


def test_one_answer_from_all_gateways(tmp_path: Path) -> None:
    """Bit-equal to one gateway with all the nodes, whichever gateway is asked and whoever works."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            three_gateways(broker.port, tmp_path) as three,
            worker(three.fleets[0]) as first,
            worker(three.fleets[1]) as second,
        ):
            await all_shared(three.spreads, 2)
            await until(lambda: first.partitions + second.partitions == 256)
            answers = await asyncio.gather(
                *(
                    three.gateways[seed % 3].classify(make_image(three.fleets[0], seed), label=1)
                    for seed in range(24)
                )
            )
            for seed, answer in enumerate(answers):
                assert answer.scores.tolist() == three.scores(seed)
                assert nodes_in(answer.votes) == ALL_NODES
                assert (answer.missing, answer.errors, answer.label) == ((), {}, 1)
            assert len({answer.uid for answer in answers}) == 24
            assert first.counters.answers + second.counters.answers == 24
            assert min(first.counters.answers, second.counters.answers) > 0
            await until(lambda: three.kept == 0)

    run(test)


def test_killed_workers_and_a_killed_broker_lose_nothing(tmp_path: Path) -> None:
    """240 requests; after a third a worker is killed, after two thirds the broker."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            three_gateways(broker.port, tmp_path) as three,
            worker_process(three.fleets[0], tmp_path / "one") as victim,
            worker_process(three.fleets[0], tmp_path / "two"),
            listening(broker, "vp/simulated/answer") as listener,
        ):
            await all_shared(three.spreads, 2)
            seeds = iter(range(240))
            replies: dict[int, Any] = {}

            async def ask(gateway: Gateway) -> None:
                for seed in seeds:
                    replies[seed] = await gateway.classify(
                        make_image(three.fleets[0], seed), deadline_ms=2000
                    )
                    if seed == 80:
                        os.kill(victim.pid, signal.SIGKILL)
                    if seed == 160:
                        broker.kill()
                        broker.start()

            await asyncio.gather(*(ask(three.gateways[index % 3]) for index in range(9)))
            await until(lambda: three.kept == 0)
            uids = {answer["uid"] for answer in answers_of(listener)}
            assert len(replies) == 240
            assert {r.uid for r in replies.values() if r.uid is not None} <= uids
            assert len(uids) >= sum(spread.counters.asked for spread in three.spreads) - 9
            for seed, reply in replies.items():
                assert reply.class_index is not None
                if nodes_in(reply.votes) == ALL_NODES:
                    assert reply.scores.tolist() == three.scores(seed)
            assert sum(spread.counters.expired for spread in three.spreads) == 0
            assert sum(spread.counters.displaced for spread in three.spreads) == 0

    run(test)


@contextlib.asynccontextmanager
async def listening(broker: Broker, *topics: str) -> AsyncIterator[Listener]:
    listener = Listener(broker, *topics)
    try:
        await until(lambda: listener.subscribed)
        yield listener
    finally:
        listener.close()


@contextlib.asynccontextmanager
async def worker_process(fleet: Fleet, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *worker_command(write_worker_file(fleet, folder)), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
