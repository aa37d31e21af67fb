"""Boards that die, freeze, reset and come back while the fleet answers."""

from __future__ import annotations

import asyncio

import pytest

from hil_bench import LARGE, PATIENCE_S, Bench, code_address, noise
from variant_parallelism.training.datasets import Dataset
from variant_parallelism.wire import ResetCause

TRANSPORTS = ("serial", "udp")
MIXED = [("d8", "serial"), ("d12", "udp"), ("d16", "serial"), ("d20", "udp"), ("d24", "serial")]


async def test_answers_go_on_until_the_last_board_and_then_say_so(
    bench: Bench, digits: Dataset
) -> None:
    deadline_ms = 2000
    fleet = bench.fleet(MIXED, deadline_ms=deadline_ms)
    async with bench.run(fleet) as running:
        alive = [1, 2, 3, 4, 5]
        for image, victim in zip(digits.test_images, (3, 2, 5, 1), strict=False):
            running.boards[victim].kill()
            alive.remove(victim)
            first = await running.classify(image)
            assert [vote.node for vote in first.votes] == alive
            await running.until_state(victim, "dead")
            second = await running.classify(image)
            assert [vote.node for vote in second.votes] == alive
            assert second.latency_ms < deadline_ms
        running.boards[4].kill()
        request = asyncio.ensure_future(running.classify(digits.test_images[0]))
        # Timers of one loop: a busy host delays both, and the answer's comes first.
        await asyncio.sleep(deadline_ms / 1000 + 0.2)
        await asyncio.sleep(0.1)
        assert request.done(), "no answer at the deadline"
        nobody = await request
        assert nobody.class_index is None and nobody.class_name is None and nobody.score is None
        assert nobody.votes == () and nobody.missing == (1, 2, 3, 4, 5)
        assert nobody.latency_ms >= deadline_ms
        await running.until_state(4, "dead")
        again = await running.classify(digits.test_images[0])
        assert again.class_index is None and again.latency_ms >= deadline_ms
        assert running.gateway.counters.lost == 2


async def test_dead_serial_line_is_noticed_at_once(bench: Bench) -> None:
    # At this heartbeat, silence would tell only after the bench has lost patience.
    fleet = bench.fleet([("d8", "serial"), ("d12", "udp")], hello_ms=15_000)
    assert 3 * fleet.table.hello_ms > 1000 * PATIENCE_S
    async with bench.run(fleet) as running:
        running.boards[1].kill()
        status = await running.until_state(1, "dead")
        assert "silent" not in status.reason
        assert running.status(2).state == "up"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_board_killed_in_the_middle_of_an_input(large_bench: Bench, transport: str) -> None:
    fleet = large_bench.fleet([("d8", "udp"), ("d12", transport)])
    async with large_bench.run(fleet, linked=[2]) as running:
        request = asyncio.ensure_future(running.classify(noise(1, *LARGE)))
        await running.until_under_way(2, 5)
        running.boards[2].kill()
        answer = await request
        assert [vote.node for vote in answer.votes] == [1] and answer.missing == (2,)
        await running.until_state(2, "dead")
        running.boards[2].start()
        await running.until_state(2, "up")
        answer = await running.classify(noise(2, 64, 64))
        assert [vote.node for vote in answer.votes] == [1, 2]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_reset_in_the_middle_of_an_input_starts_it_again(
    large_bench: Bench, transport: str
) -> None:
    fleet = large_bench.fleet([("d12", transport)])
    async with large_bench.run(fleet, linked=True) as running:
        request = asyncio.ensure_future(running.classify(noise(1, *LARGE)))
        await running.until_under_way(1, 5)
        running.boards[1].reset()
        answer = await request
        assert [vote.node for vote in answer.votes] == [1]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_paused_past_the_deadline_then_back(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    deadline_ms = 1000
    fleet = bench.fleet([("d8", "udp"), ("d12", transport)], hello_ms=5000)
    async with bench.run(fleet) as running:
        image = digits.test_images[0]
        running.boards[2].pause()
        answer = await running.classify(image, deadline_ms=deadline_ms)
        assert [vote.node for vote in answer.votes] == [1] and answer.missing == (2,)
        assert answer.latency_ms >= deadline_ms
        assert running.boards[2].running
        running.boards[2].resume()
        await running.until(lambda: running.status(2).counters.late >= 1, "the late answer")
        assert running.gateway.counters.lost == 0
        answer = await running.classify(image)
        assert [vote.node for vote in answer.votes] == [1, 2]


async def test_paused_board_is_dead_until_it_speaks_again(bench: Bench, digits: Dataset) -> None:
    fleet = bench.fleet([("d8", "udp"), ("d12", "serial")])
    async with bench.run(fleet) as running:
        for board in running.boards.values():
            board.pause()
        for node in running.boards:
            status = await running.until_state(node, "dead")
            assert "silent" in status.reason
        for board in running.boards.values():
            board.resume()
        for node in running.boards:
            await running.until_state(node, "up")
        answer = await running.classify(digits.test_images[0])
        assert [vote.node for vote in answer.votes] == [1, 2]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_reset_board_rejoins_with_a_higher_boot_counter(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([("d12", transport)])
    async with bench.run(fleet, linked=True) as running:
        assert running.hello(1).reset_cause is ResetCause.POWER
        boot = running.boots(1)[-1]
        for resets in (1, 2, 3):
            running.boards[1].reset()
            await running.until(
                lambda last=boot: running.boots(1)[-1] > last, "a message of the next boot"
            )
            await running.until(
                lambda: running.hello(1).reset_cause is ResetCause.EXTERNAL,
                "a HELLO with cause external",
            )
            assert running.boots(1)[-1] == boot + 1, resets
            boot += 1
            answer = await running.classify(digits.test_images[resets])
            assert [vote.node for vote in answer.votes] == [1]
        assert running.boots(1) == sorted(running.boots(1))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_restarted_board_rejoins_after_power_loss(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([("d12", transport), ("d8", "udp")])
    async with bench.run(fleet, linked=[1]) as running:
        first = running.boots(1)[-1]
        running.boards[1].kill()
        await running.until_state(1, "dead")
        running.boards[1].start()
        await running.until_state(1, "up")
        assert running.hello(1).reset_cause is ResetCause.POWER
        assert running.boots(1)[-1] >= first + 256
        answer = await running.classify(digits.test_images[0])
        assert [vote.node for vote in answer.votes] == [1, 2]


# Thumb instructions that a cosmic ray, or a test, leaves at the start of a function.
HANG = bytes.fromhex("fee7")  # b .
UNDEFINED = bytes.fromhex("00de")  # udf #0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("instruction", "cause"),
    [(HANG, ResetCause.WATCHDOG), (UNDEFINED, ResetCause.FAULT)],
    ids=["hangs", "faults"],
)
async def test_firmware_that_hangs_or_faults_is_back_and_says_why(
    bench: Bench, digits: Dataset, transport: str, instruction: bytes, cause: ResetCause
) -> None:
    if cause is ResetCause.WATCHDOG:
        bench.skip_without_watchdog(transport)
    fleet = bench.fleet([("d12", transport), ("d8", "udp")])
    async with bench.run(fleet, linked=[1]) as running:
        boot = running.boots(1)[-1]
        where = code_address(bench.image("d12", transport), "vp_topk_select")
        await asyncio.to_thread(running.boards[1].write_memory, where, instruction)
        answer = await running.classify(digits.test_images[0])
        assert 2 in [vote.node for vote in answer.votes]
        await running.until(lambda: running.boots(1)[-1] > boot, "a message of the next boot")
        await running.until(lambda: running.hello(1).reset_cause is cause, f"HELLO: {cause.name}")
        # The reset has loaded the image again, so the board is whole.
        answer = await running.classify(digits.test_images[1])
        assert [vote.node for vote in answer.votes] == [1, 2]
