"""Links that lose, damage and shuffle messages, both ways: answers stay right, bit for bit."""

from __future__ import annotations

import asyncio
from collections import Counter

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


def faults_met(running: Running) -> Counter[str]:
    """How often each fault struck, over all links and both directions."""
    total: Counter[str] = Counter()
    for link in running.links.values():
        for schedule in link.schedules.values():
            total += schedule.counts
    return total


@pytest.mark.parametrize(
    ("transport", "seed", "images"), [("serial", 1, 5), ("udp", 1, 20), ("udp", 2, 20)]
)
async def test_every_fault_at_once(
    large_bench: Bench, transport: str, seed: int, images: int
) -> None:
    fleet = large_bench.fleet(
        [("d8", transport), ("d16", transport)], deadline_ms=15000, hello_ms=1000
    )
    schedules = {node: both_directions(EACH_FAULT, 10 * seed + node) for node in (1, 2)}
    async with large_bench.run(fleet, linked=True, schedules=schedules.__getitem__) as running:
        for number in range(images):
            answer = await running.classify(noise(number, SIDE, SIDE))
            assert len(answer.votes) == 2, answer
        met = faults_met(running)
        for fault in ("drop", "corrupt", "truncate", "duplicate", "reorder", "delay"):
            assert met[fault] > 0, met
        counters = running.gateway.counters
        assert counters.lost == 0
        assert counters.damaged + counters.forged > 0
        assert counters.replayed > 0
        assert counters.retransmitted > 0


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
    fleet = large_bench.fleet([("d8", transport)], deadline_ms=15000, hello_ms=1000)
    faults = both_directions(SINGLE[fault], 7)
    async with large_bench.run(fleet, linked=True, schedules=lambda _: faults) as running:
        for number in range(5):
            answer = await running.classify(noise(number, SIDE, SIDE))
            assert len(answer.votes) == 1, answer
        assert faults_met(running)[fault] >= 5
        running.links[1].schedules = {}
        await hello_with(running, fault)


async def hello_with(running: Running, fault: str) -> None:
    """The node's own counts, once a clean HELLO brings them."""
    counters = running.gateway.counters

    def counted() -> bool:
        hello = running.status(1).hello
        if hello is None:
            return False
        dropped = hello.damaged + hello.rejected
        if fault in ("corrupt", "truncate"):
            return dropped > 0 and counters.damaged + counters.forged > 0
        if fault == "duplicate":
            return hello.rejected > 0 and counters.replayed > 0
        if fault == "drop":
            return counters.retransmitted > 0
        return True

    await running.until(counted, f"counts of {fault} at both ends")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cut_line_is_a_dead_node_that_comes_back(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([("d8", "udp"), ("d12", transport)], deadline_ms=1500)
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
    fleet = bench.fleet([("d12", transport)], deadline_ms=8000)
    async with bench.run(fleet, linked=True) as running:
        link = running.links[1]
        for seed in range(40):
            for direction in Direction:
                link.inject(direction, noise(seed, 1, 16 * seed + 1).tobytes())
        answer = await running.classify(digits.test_images[0])
        assert len(answer.votes) == 1
        await running.until(
            lambda: (
                (hello := running.status(1).hello) is not None
                and hello.damaged + hello.rejected > 0
            ),
            "the node's count of garbage",
        )
        counters = running.gateway.counters
        assert counters.damaged + counters.forged + counters.foreign > 0


async def test_burst_beyond_the_fifo_does_no_harm(large_bench: Bench) -> None:
    fleet = large_bench.fleet([("d16", "udp")], deadline_ms=8000)
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
            lambda: (hello := running.status(1).hello) is not None and hello.rejected > 0,
            "the node's count of replayed chunks",
        )
