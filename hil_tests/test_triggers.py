"""Whole boards capture their test pattern when they are told, and answer bit for bit about that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hil_bench import DIGITS, LARGE, ROOT, Bench, Running, noise
from variant_parallelism.emulators import EMULATORS
from variant_parallelism.emulators.faults import Direction, FaultRates, both_directions
from variant_parallelism.emulators.network.frames import Datagram, read_frame
from variant_parallelism.emulators.network.lan import SwitchedNetwork
from variant_parallelism.emulators.network.pcapng import Reader
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import board_names, build_images, load_board
from variant_parallelism.gateway import Answer
from variant_parallelism.keys import group_key
from variant_parallelism.manifest import load_manifest
from variant_parallelism.pattern import captured
from variant_parallelism.wire import Trigger, decode

# The same as test_boards.py: what it built is not built again.
OUT = ROOT / "build" / "firmware"
WITH_PATTERN = ("mps2-an386", "mps2-an500", "mps3-an547")
BOARDS = [name for name in board_names() if load_board(name).qemu_machine]


def check(running: Running, answer: Answer, nodes: list[int], k: int = 2) -> None:
    """These nodes have voted, each for what this machine computes from that node's pattern."""
    source = running.fleet.manifest.input
    shape = (source.height, source.width, source.channels)
    assert answer.triggered and [vote.node for vote in answer.votes] == nodes
    for vote in answer.votes:
        image = captured(vote.node, answer.request, shape)
        assert vote.entries == running.reference[vote.variant].entries(image, k), vote


def mixed(bench: Bench) -> list[tuple[str, str]]:
    """All variants, on both links where the emulator's boards with a pattern have both."""
    ways = ("serial", "udp") if bench.board("udp") in WITH_PATTERN else ("serial", "serial")
    return [(name, ways[number % 2]) for number, name in enumerate(bench.variants)]


async def test_every_node_answers_about_its_own_pattern(bench: Bench) -> None:
    async with bench.run(bench.fleet(mixed(bench))) as running:
        classes: set[int] = set()
        for k in (1, 2, 5):
            for _ in range(8):
                answer = await running.gateway.trigger(k=k)
                check(running, answer, [1, 2, 3, 4, 5], k)
                assert (answer.missing, answer.errors) == ((), {})
                classes.update(vote.entries[0][0] for vote in answer.votes)
        assert len(classes) > 1
        assert all(running.hello(node).sensor for node in range(1, 6))
        assert running.gateway.counters.errors == 0


async def test_triggers_and_images_side_by_side(large_bench: Bench) -> None:
    """27 KB by chunks or from the board's own source, as they come, several at a time."""
    fleet = large_bench.fleet(mixed(large_bench)[:3])
    async with large_bench.run(fleet) as running:

        async def triggered() -> None:
            check(running, await running.gateway.trigger(), [1, 2, 3])

        async def asked(seed: int) -> None:
            answer = await running.classify(noise(seed, *(LARGE if seed else (40, 60))))
            assert [vote.node for vote in answer.votes] == [1, 2, 3]

        await asyncio.gather(triggered(), asked(0), triggered(), asked(1), triggered(), triggered())
        assert running.gateway.counters.errors == 0


async def test_a_board_killed_meanwhile_is_missing_and_comes_back(large_bench: Bench) -> None:
    fleet = large_bench.fleet(mixed(large_bench)[:3])
    async with large_bench.run(fleet) as running:
        for victim in (1, 2):
            others = [node for node in (1, 2, 3) if node != victim]
            request = asyncio.ensure_future(running.gateway.trigger())
            await asyncio.sleep(0)
            running.boards[victim].kill()
            answer = await request
            # Either it was killed in time, or its answer was quicker.
            voted = [vote.node for vote in answer.votes]
            check(running, answer, voted)
            assert set(others) <= set(voted)
            await running.until_state(victim, "dead")
            answer = await running.gateway.trigger()
            check(running, answer, others)
            assert answer.missing == (victim,)
            running.boards[victim].start()
            await running.until_state(victim, "up")
            check(running, await running.gateway.trigger(), [1, 2, 3])


async def test_a_board_reset_while_it_captures_answers_all_the_same(large_bench: Bench) -> None:
    fleet = large_bench.fleet([("d12", "serial")])
    async with large_bench.run(fleet, linked=True) as running:
        request = asyncio.ensure_future(running.gateway.trigger())
        await running.until_under_way(1, 1)
        running.boards[1].reset()
        check(running, await request, [1])


async def test_triggers_and_answers_that_are_lost_or_damaged(bench: Bench) -> None:
    faults = FaultRates(drop=0.1, corrupt=0.04, truncate=0.04, duplicate=0.1, delay=0.1)
    fleet = bench.fleet(mixed(bench)[:2], hello_ms=1000)
    schedules = {node: both_directions(faults, 20 + node) for node in (1, 2)}
    async with bench.run(fleet, linked=True, schedules=schedules.__getitem__) as running:

        def lost(way: Direction) -> int:
            return sum(link.schedules[way].counts["drop"] for link in running.links.values())

        # HELLOs meet faults, too: so many triggers that some are among them.
        for number in range(100):
            check(running, await running.gateway.trigger(), [1, 2])
            if number >= 7 and lost(Direction.TO_NODE) > 0 and lost(Direction.TO_GATEWAY) > 0:
                break
        counters = running.gateway.counters
        assert counters.lost == 0 and counters.damaged + counters.forged > 0


async def test_one_frame_for_the_whole_group(bench: Bench, tmp_path: Path) -> None:
    if bench.board("udp") not in WITH_PATTERN:
        pytest.skip(f"{bench.emulator}: {bench.board('udp')} has no input source")
    recording = tmp_path / "lan.pcapng"
    fleet = bench.fleet([(name, "udp") for name in bench.variants], hello_ms=1000)
    key = group_key(fleet.key or b"", fleet.table.id)
    async with (
        SwitchedNetwork(bench.ports, recording, ()) as network,
        bench.run(fleet, network=network) as running,
    ):
        alone = 0
        reader = Reader(recording)
        for _ in range(20):
            network.flush()
            reader.read()
            check(running, await running.gateway.trigger(), [1, 2, 3, 4, 5])
            network.flush()
            sent = [
                content.destination.is_multicast
                for frame in reader.read()
                if frame.interface == "gateway" and frame.inbound
                for content in [read_frame(frame.frame)]
                if isinstance(content, Datagram)
                and isinstance(decode(content.payload, key, 10)[1], Trigger)
            ]
            assert True in sent
            alone += sent == [True]
        # A board that a busy host holds up is asked once more, by itself.
        assert alone > 10


@pytest.mark.parametrize("board", BOARDS)
async def test_boards_with_a_pattern_and_without(board: str, emulator: str, tmp_path: Path) -> None:
    if not EMULATORS[emulator].supports(load_board(board), "serial"):
        pytest.skip(f"{emulator} does not run board {board}")
    path = DIGITS / "manifest.json"
    images = {image.variant: image.elf for image in build_images(path, ["d8", "d24"], board, OUT)}
    bench = Bench(load_manifest(path), DIGITS, images, tmp_path, emulator)
    fleet = bench.fleet([("d8", "serial"), ("d24", "serial")], board=board)
    async with bench.run(fleet) as running:
        if board in WITH_PATTERN:
            for _ in range(3):
                check(running, await running.gateway.trigger(), [1, 2])
        else:
            assert not running.hello(1).sensor
            with pytest.raises(VpError, match="no node that was heard of has an input source"):
                await running.gateway.trigger()
