"""Links that lose, damage and shuffle messages, both ways: answers stay right, bit for bit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from hil_bench import Bench, Running, noise
from variant_parallelism.emulators.faults import Direction, FaultRates, both_directions
from variant_parallelism.training.datasets import Dataset

TRANSPORTS = ("serial", "udp")
# 1,296 bytes, three chunks: enough for reports and gaps, quick even on a serial line.
SIDE = 36
EACH_FAULT = FaultRates(
    drop=0.08, corrupt=0.08, truncate=0.06, duplicate=0.08, reorder=0.08, delay=0.08
)
# How many messages an image takes, and so which faults it meets, depends on what the host is busy
# with: images go on until enough has happened, and not for ever.
MOST_IMAGES = 100


def faults_met(running: Running, direction: Direction) -> Counter[str]:
    """How often each fault struck in one direction, over all links."""
    schedules = [link.schedules[direction] for link in running.links.values()]
    return sum((schedule.counts for schedule in schedules), Counter[str]())


async def ask_until(running: Running, images: int, enough: Callable[[], bool]) -> None:
    """Classify at least so many images, every node answering all, until there is `enough`."""
    number = 0
    while number < images or not enough():
        met = {way: faults_met(running, way) for way in Direction}
        assert number < MOST_IMAGES, (met, running.gateway.counters)
        answer = await running.classify(noise(number, SIDE, SIDE))
        assert len(answer.votes) == len(running.boards), answer
        number += 1


@pytest.mark.parametrize(
    ("transport", "seed", "images"), [("serial", 1, 5), ("udp", 1, 20), ("udp", 2, 20)]
)
async def test_every_fault_at_once(
    large_bench: Bench, transport: str, seed: int, images: int
) -> None:
    fleet = large_bench.fleet([("d8", transport), ("d16", transport)], hello_ms=1000)
    schedules = {node: both_directions(EACH_FAULT, 10 * seed + node) for node in (1, 2)}
    async with large_bench.run(fleet, linked=True, schedules=schedules.__getitem__) as running:

        def enough() -> bool:
            counters = running.gateway.counters
            met = faults_met(running, Direction.TO_NODE) + faults_met(running, Direction.TO_GATEWAY)
            counted = (
                counters.damaged + counters.forged, counters.replayed, counters.retransmitted,
            )  # fmt: skip
            return all(met[fault] > 0 for fault in SINGLE) and all(counted)

        await ask_until(running, images, enough)
        assert running.gateway.counters.lost == 0


SINGLE = {
    "drop": FaultRates(drop=0.25),
    "corrupt": FaultRates(corrupt=0.25),
    "truncate": FaultRates(truncate=0.2),
    "duplicate": FaultRates(duplicate=0.7),
    "reorder": FaultRates(reorder=0.4),
    "delay": FaultRates(delay=0.6),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("fault", SINGLE)
async def test_one_fault_often(large_bench: Bench, transport: str, fault: str) -> None:
    fleet = large_bench.fleet([("d8", transport)], hello_ms=1000)
    faults = both_directions(SINGLE[fault], 7)
    async with large_bench.run(fleet, linked=True, schedules=lambda _: faults) as running:

        def enough() -> bool:
            met = [faults_met(running, way)[fault] for way in Direction]
            sent_again = fault != "drop" or running.gateway.counters.retransmitted > 0
            return min(met) >= 2 and sum(met) >= 5 and sent_again

        await ask_until(running, 5, enough)
        running.links[1].schedules = {}
        await counted_at_both_ends(running, fault)


async def counted_at_both_ends(running: Running, fault: str) -> None:
    """The gateway's counts, and the node's, once a clean HELLO brings them."""

    def counted() -> bool:
        hello, counters = running.hello(1), running.gateway.counters
        if fault in ("corrupt", "truncate"):
            return hello.damaged + hello.rejected > 0 and counters.damaged + counters.forged > 0
        return fault != "duplicate" or (hello.rejected > 0 and counters.replayed > 0)

    await running.until(counted, f"counts of {fault} at both ends")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cut_line_is_a_dead_node_that_comes_back(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([("d8", "udp"), ("d12", transport)])
    async with bench.run(fleet, linked=[2]) as running:
        request = asyncio.ensure_future(running.classify(digits.test_images[0]))
        running.links[2].cut()
        answer = await request
        assert 1 in [vote.node for vote in answer.votes]
        await running.until_state(2, "dead")
        answer = await running.classify(digits.test_images[1])
        assert [vote.node for vote in answer.votes] == [1]
        running.links[2].restore()
        await running.until_state(2, "up")
        answer = await running.classify(digits.test_images[2])
        assert [vote.node for vote in answer.votes] == [1, 2]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_garbage_on_the_line_is_skipped(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([("d12", transport)])
    async with bench.run(fleet, linked=True) as running:
        link = running.links[1]
        for seed in range(40):
            for direction in Direction:
                link.inject(direction, noise(seed, 1, 16 * seed + 1).tobytes())
        answer = await running.classify(digits.test_images[0])
        assert len(answer.votes) == 1
        await running.until(
            lambda: running.hello(1).damaged + running.hello(1).rejected > 0,
            "the node's count of garbage",
        )
        counters = running.gateway.counters
        assert counters.damaged + counters.forged + counters.foreign > 0


async def test_burst_beyond_the_fifo_does_no_harm(large_bench: Bench) -> None:
    fleet = large_bench.fleet([("d16", "udp")])
    async with large_bench.run(fleet, linked=True) as running:
        await running.classify(noise(0, SIDE, SIDE))
        link = running.links[1]
        (chunk,) = [data for way, data in link.log if way is Direction.TO_NODE and len(data) > 500][
            :1
        ]
        for _ in range(300):
            link.inject(Direction.TO_NODE, chunk)
        answer = await running.classify(noise(1, SIDE, SIDE))
        assert len(answer.votes) == 1
        await running.until(
            lambda: running.hello(1).rejected > 0,
            "the node's count of replayed chunks",
        )
