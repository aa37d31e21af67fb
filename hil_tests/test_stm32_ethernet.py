"""The Ethernet of STM32 boards on Renode's model of their MAC: images, a lost link, a flood."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hil_bench import LARGE, ROOT, Bench, Running, large_models, noise
from variant_parallelism.emulators.network.frames import Datagram, write_datagram
from variant_parallelism.emulators.network.lan import (
    FIRST_NODE,
    GATEWAY,
    GATEWAY_MAC,
    SwitchedNetwork,
)
from variant_parallelism.emulators.renode import RenodeBoard
from variant_parallelism.firmware import board_names, build_images, load_board
from variant_parallelism.manifest import load_manifest

BOARDS = [
    name
    for name in board_names()
    if "stm32_ethernet" in load_board(name).parts.split() and load_board(name).renode_ethernet
]
VARIANT = "d24"
MAC_CONFIGURATION = 0x40028000
# ETH_MACCR: 100 Mbit/s full duplex, 10 Mbit/s half duplex, neither sending nor receiving.
FULL_100, HALF_10, OFF = 0x1C80C, 0x1800C, 0x18000
# What the PHY says: link and negotiation complete, or not; what the other side can do.
UP, DOWN = 0x24, 0
PARTNER_100_FULL, PARTNER_10_HALF = 0x01E1, 0x0021
# More than any ring holds.
FLOOD = 100
FOREIGN_PORT = 4242
# Of node 1 in fleet 1.
NODE_MAC = bytes.fromhex("525400010001")


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest, emulator: str) -> str:
    name = str(request.param)
    if emulator != "renode":
        pytest.skip(f"{emulator} has no Ethernet for {name}: try --emulator all (docs/renode.md)")
    return name


@asynccontextmanager
async def on_a_switch(
    board: str, workdir: Path
) -> AsyncIterator[tuple[Running, RenodeBoard, SwitchedNetwork]]:
    """One node with room for large images."""
    folder = large_models()
    path = folder / "manifest.json"
    (image,) = build_images(path, [VARIANT], board, ROOT / "build" / "hil_tests")
    bench = Bench(load_manifest(path), folder, {VARIANT: image.elf}, workdir, "renode")
    network = SwitchedNetwork(bench.ports)
    fleet = bench.fleet([(VARIANT, "udp")], board=board)
    async with network, bench.run(fleet, network=network) as running:
        machine = running.boards[1]
        assert isinstance(machine, RenodeBoard)
        yield running, machine, network


def configuration(machine: RenodeBoard) -> int:
    return int(machine.monitor(f"sysbus ReadDoubleWord {MAC_CONFIGURATION:#x}"), 16)


async def set_link(
    running: Running, machine: RenodeBoard, status: int, partner: int, expected: int
) -> None:
    machine.monitor(f"sysbus.ethernet.phy AutoNegotiationLinkPartnerBasePageAbility {partner:#x}")
    machine.monitor(f"sysbus.ethernet.phy BasicStatus {status:#x}")
    await running.until(lambda: configuration(machine) == expected, f"MACCR {expected:#x}")


async def test_images_are_answered(board: str, tmp_path: Path) -> None:
    async with on_a_switch(board, tmp_path) as (running, _, _):
        assert running.hello(1).board == board
        for seed in range(3):
            answer = await running.classify(noise(seed, *LARGE))
            assert [vote.node for vote in answer.votes] == [1]


async def test_link_is_followed(board: str, tmp_path: Path) -> None:
    async with on_a_switch(board, tmp_path) as (running, machine, _):
        assert configuration(machine) == FULL_100
        await set_link(running, machine, DOWN, PARTNER_100_FULL, OFF)
        await running.until_state(1, "dead")
        await set_link(running, machine, UP, PARTNER_10_HALF, HALF_10)
        await running.until_state(1, "up")
        answer = await running.classify(noise(1, *LARGE))
        assert [vote.node for vote in answer.votes] == [1]
        await set_link(running, machine, DOWN, PARTNER_100_FULL, OFF)
        await set_link(running, machine, UP, PARTNER_100_FULL, FULL_100)


async def test_flood_of_foreign_frames_is_survived(board: str, tmp_path: Path) -> None:
    async with on_a_switch(board, tmp_path) as (running, _, network):
        for number in range(FLOOD):
            payload = bytes(1400 if number % 2 else 500)
            datagram = Datagram(GATEWAY, FOREIGN_PORT, FIRST_NODE, FOREIGN_PORT, payload)
            network.nodes[1].send(write_datagram(NODE_MAC, GATEWAY_MAC, datagram, number))
        answer = await running.classify(noise(1, *LARGE))
        assert [vote.node for vote in answer.votes] == [1]
