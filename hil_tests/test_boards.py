"""Every board that an emulator runs answers bit for bit, and comes back saying why it was away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil_bench import DIGITS, ROOT, Bench, Running, code_address, code_at
from variant_parallelism.emulators import EMULATORS
from variant_parallelism.firmware import (
    board_names,
    boards,
    build,
    build_images,
    load_board,
    variant_source,
)
from variant_parallelism.manifest import load_manifest
from variant_parallelism.training.datasets import Dataset
from variant_parallelism.wire import ResetCause

# The same as firmware/tests/test_every_board.py: what it built is not built again.
OUT = ROOT / "build" / "firmware"
# Boards that no user has: hil_tests/boards.
OWN = ["microbit"]
BOARDS = [
    name for name in board_names() if load_board(name).qemu_machine or load_board(name).renode_uart
]
# The others' watchdogs are not modelled.
WITH_WATCHDOG = {"qemu": ("mps2-an386", "mps2-an500", "mps3-an547")}
# What is wanted here is the boards' answers, not who is quick to notice a silent one.
HELLO_MS = 1000
UNDEFINED = bytes.fromhex("00de")  # udf #0
HANG = bytes.fromhex("fee7")  # b .
UNDEFINSTR = 1 << 16
FORCED = 1 << 30
STKERR = 1 << 12
NMI = 2
HARD_FAULT = 3
USAGE_FAULT = 6
VICTIM = "vp_topk_select"


@pytest.fixture(params=BOARDS + OWN)
def board(request: pytest.FixtureRequest, emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    if name in OWN:
        sources = firmware_with_own_boards()
        for module in (boards, build, variant_source):
            monkeypatch.setattr(module, "firmware_dir", lambda: sources)
    if not EMULATORS[emulator].supports(load_board(name), "serial"):
        pytest.skip(f"{emulator} does not run board {name}: try --emulator all (docs/renode.md)")
    return name


def firmware_with_own_boards() -> Path:
    """The firmware's folder as it is, with the tests' boards beside the others."""
    folder = ROOT / "build" / "hil_tests" / "firmware"
    firmware = ROOT / "firmware"
    own = Path(__file__).parent / "boards"
    (folder / "boards").mkdir(parents=True, exist_ok=True)
    links = {folder / path.name: path for path in firmware.iterdir() if path.name != "boards"}
    for parent in (firmware / "boards", own):
        links |= {folder / "boards" / path.name: path for path in parent.iterdir()}
    for link, path in links.items():
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    return folder


@pytest.fixture
def board_bench(board: str, emulator: str, tmp_path: Path) -> Bench:
    return bench_of(board, emulator, tmp_path)


def bench_of(board: str, emulator: str, workdir: Path) -> Bench:
    path = DIGITS / "manifest.json"
    built = build_images(path, ["d8", "d24"], board, OUT)
    images = {image.variant: image.elf for image in built}
    return Bench(load_manifest(path), DIGITS, images, workdir, emulator)


def nodes(board: str, emulator: str) -> list[tuple[str, str]]:
    """Two variants, one on each link that the board has in this emulator."""
    udp = EMULATORS[emulator].supports(load_board(board), "udp")
    return [("d8", "serial"), ("d24", "udp" if udp else "serial")]


def registers(board: str, emulator: str) -> tuple[int, int, int]:
    """Exception, CFSR and HFSR after an undefined instruction."""
    if load_board(board).core.startswith("Cortex-M0"):
        return HARD_FAULT, 0, 0
    if emulator == "renode":
        # It takes the usage fault by itself, which SHCSR has not enabled.
        return USAGE_FAULT, UNDEFINSTR, 0
    return HARD_FAULT, UNDEFINSTR, FORCED


async def until_back(running: Running, node: int, boot: int, cause: ResetCause) -> None:
    def back() -> bool:
        return (running.status(node).boot or 0) > boot and running.hello(node).reset_cause is cause

    await running.until(back, f"node {node} back after {cause.name}")


async def test_answers_bit_for_bit_also_after_a_reset(
    board: str, board_bench: Bench, emulator: str, digits: Dataset
) -> None:
    fleet = board_bench.fleet(nodes(board, emulator), board=board, hello_ms=HELLO_MS)
    async with board_bench.run(fleet) as running:
        for node in (1, 2):
            hello = running.hello(node)
            assert hello.board == running.status(node).board == board
            assert hello.reset_cause is ResetCause.POWER
            assert running.status(node).fault is None
        for image in digits.test_images[:8]:
            answer = await running.classify(image, 5)
            assert [vote.node for vote in answer.votes] == [1, 2]
        for node in (1, 2):
            boot = running.status(node).boot
            assert boot is not None
            await asyncio.to_thread(running.boards[node].reset)
            await until_back(running, node, boot, ResetCause.EXTERNAL)
            assert running.status(node).fault is None
        answer = await running.classify(digits.test_images[8])
        assert [vote.node for vote in answer.votes] == [1, 2]


async def test_faults_are_reported_and_overcome(
    board: str, board_bench: Bench, emulator: str, digits: Dataset
) -> None:
    fleet = board_bench.fleet(nodes(board, emulator), board=board, hello_ms=HELLO_MS)
    async with board_bench.run(fleet) as running:
        for node, (variant, _) in enumerate(nodes(board, emulator), start=1):
            image = board_bench.images[variant]
            address = code_address(image, VICTIM)
            await break_at(running, node, image, UNDEFINED, digits, ResetCause.FAULT)
            fault = running.status(node).fault
            assert fault is not None
            assert (fault.pc, fault.address) == (address, 0)
            assert (fault.psr & 511, fault.status, fault.hard_status) == registers(board, emulator)
        answer = await running.classify(digits.test_images[1])
        assert [vote.node for vote in answer.votes] == [1, 2]


@dataclass(frozen=True)
class OtherFault:
    """Code that faults; `offset` is the program counter's in it, None if it cannot be known."""

    board: str
    code: str
    offset: int | None
    bit: int
    address: int


@pytest.mark.parametrize(
    "case",
    [
        # mov.w r0, #0xC0000000; ldr r0, [r0]
        OtherFault("mps2-an386", "4ff04040 0068", 4, 1 << 9, 0xC0000000),
        # 1: push {r0-r7}; b 1b
        OtherFault("stm32f4-disco", "ffb4 fde7", None, STKERR, 0),
    ],
    ids=["bus-error", "stack-overflow"],
)
async def test_record_of_other_faults(
    case: OtherFault, emulator: str, digits: Dataset, tmp_path: Path
) -> None:
    if emulator != "qemu":
        pytest.skip(f"{emulator} does not model bus faults as the processor raises them")
    bench = bench_of(case.board, emulator, tmp_path)
    async with bench.run(
        bench.fleet([("d8", "serial")], board=case.board, hello_ms=HELLO_MS)
    ) as running:
        image = bench.images["d8"]
        code = bytes.fromhex(case.code)
        await break_at(running, 1, image, code, digits, ResetCause.FAULT)
        fault = running.status(1).fault
        assert fault is not None
        where = 0 if case.offset is None else code_address(image, VICTIM) + case.offset
        assert (fault.pc, fault.psr & 511) == (where, HARD_FAULT)
        assert fault.status & case.bit and fault.hard_status == FORCED
        assert case.address in (0, fault.address)


async def test_watchdog_says_where_the_firmware_hung(
    board: str, board_bench: Bench, emulator: str, digits: Dataset
) -> None:
    if board not in WITH_WATCHDOG.get(emulator, ()):
        pytest.skip(f"{emulator} does not model the watchdog of board {board}")
    fleet = board_bench.fleet(nodes(board, emulator), board=board, hello_ms=HELLO_MS)
    async with board_bench.run(fleet) as running:
        # Not the one on the serial line, whose interrupts go on while the main loop hangs.
        image = board_bench.images["d24"]
        address = code_address(image, VICTIM)
        await break_at(running, 2, image, HANG, digits, ResetCause.WATCHDOG)
        fault = running.status(2).fault
        assert fault is not None
        assert (fault.pc, fault.psr & 511) == (address, NMI)
        assert (fault.status, fault.hard_status, fault.address) == (0, 0, 0)
        answer = await running.classify(digits.test_images[1])
        assert [vote.node for vote in answer.votes] == [1, 2]


async def break_at(
    running: Running, node: int, image: Path, code: bytes, digits: Dataset, cause: ResetCause
) -> None:
    """Overwrite code of a node, have it run, wait until the node is back and has said why; mend it.

    Where the code lies in flash, a reset does not mend it.
    """
    boot = running.status(node).boot
    assert boot is not None
    address = code_address(image, VICTIM)
    await asyncio.to_thread(running.boards[node].write_memory, address, code)
    question = asyncio.create_task(running.classify(digits.test_images[0]))
    await until_back(running, node, boot, cause)
    await running.until(lambda: running.status(node).fault is not None, "the fault's record")
    whole = code_at(image, address, len(code))
    await asyncio.to_thread(running.boards[node].write_memory, address, whole)
    await question
