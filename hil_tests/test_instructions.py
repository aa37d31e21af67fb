"""One inference takes as many instructions in Renode as in QEMU, counted on the same image."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hil_bench import BOARD, DIGITS, ROOT, Bench, code_address
from variant_parallelism.emulators import EMULATORS
from variant_parallelism.emulators.qemu import QemuBoard
from variant_parallelism.emulators.renode import RenodeBoard
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import build_images
from variant_parallelism.manifest import load_manifest
from variant_parallelism.training.datasets import Dataset

# The whole inference is a few dozen calls of this, with other work of the node in between.
PIECE = "vp_model_step"
VARIANT = "d8"
REPEATS = 5


@pytest.fixture(scope="module")
def image() -> Path:
    for emulator in ("qemu", "renode"):
        try:
            EMULATORS[emulator].check()
        except VpError as error:
            pytest.skip(str(error))
    out = ROOT / "build" / "hil_tests"
    return build_images(DIGITS / "manifest.json", [VARIANT], BOARD, out)[0].elf


def return_addresses(image: Path) -> list[int]:
    """Where calls of PIECE go on."""
    code = subprocess.run(
        ["arm-none-eabi-objdump", "-d", image], check=True, capture_output=True, text=True
    ).stdout
    calls = re.findall(rf"^ *([0-9a-f]+):.*\tbl\t[0-9a-f]+ <{PIECE}>", code, re.MULTILINE)
    assert calls and len(calls) + 1 == code.count(f"<{PIECE}>"), "calls that are not seen"
    return [int(address, 16) + 4 for address in calls]


Count = Callable[[], int]


def qemu_counter(board: QemuBoard, image: Path, folder: Path) -> Count:
    """Counts the lines of a trace of single instructions."""
    log = folder / "trace.log"
    entry, ends = code_address(image, PIECE), return_addresses(image)
    for command in ("singlestep on", f"logfile {log}", "log exec,nochain"):
        assert not board._monitor(command)
    seen = 0

    def count() -> int:
        nonlocal seen
        with log.open(errors="replace") as file:
            file.seek(seen)
            lines = file.readlines()
            seen = file.tell()
        total, inside = 0, False
        for line in lines:
            found = re.match(r"Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/", line)
            if found is not None:
                pc = int(found[1], 16)
                inside = pc == entry or (inside and pc not in ends)
                total += inside
        return total

    return count


def renode_counter(board: RenodeBoard, image: Path) -> Count:
    """Sums what Renode counts between the beginnings of the calls and their ends."""
    entry, ends = code_address(image, PIECE), return_addresses(image)
    for address, what in [(entry, "begin"), *((end, "end") for end in ends)]:
        script = f"self.ErrorLog('{what} %d' % self.ExecutedInstructions)"
        board.monitor(f'sysbus.cpu AddHook {address:#x} "{script}"')
    seen = 0

    def count() -> int:
        nonlocal seen
        text = board.log()
        events = re.findall(r"cpu: (begin|end) (\d+)", text[seen:])
        seen = len(text)
        assert [what for what, _ in events] == ["begin", "end"] * (len(events) // 2), events
        return sum(int(number) * (1 if what == "end" else -1) for what, number in events)

    return count


async def measure(emulator: str, image: Path, folder: Path, digits: Dataset) -> list[int]:
    """Instructions of the same inference, several times."""
    bench = Bench(
        load_manifest(DIGITS / "manifest.json"), DIGITS, {VARIANT: image}, folder, emulator
    )
    counts = []
    async with bench.run(bench.fleet([(VARIANT, "serial")], hello_ms=5000)) as running:
        board = running.boards[1]
        if isinstance(board, QemuBoard):
            count = await asyncio.to_thread(qemu_counter, board, image, folder)
        else:
            assert isinstance(board, RenodeBoard)
            count = await asyncio.to_thread(renode_counter, board, image)
        for _ in range(REPEATS):
            assert (await running.classify(digits.test_images[0])).votes
            # The log is written behind the board's back.
            await asyncio.sleep(0.5)
            counts.append(count())
    return counts


async def test_an_inference_takes_as_many_instructions_in_both(
    image: Path, tmp_path: Path, digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {}
    for emulator in ("qemu", "renode"):
        (tmp_path / emulator).mkdir()
        counts[emulator] = await measure(emulator, image, tmp_path / emulator, digits)
    # Interrupts come on top: the least has the fewest.
    qemu, renode = min(counts["qemu"]), min(counts["renode"])
    with capsys.disabled():
        print(f"\ninstructions of one inference of {VARIANT}: QEMU {qemu:,}, Renode {renode:,}")
    assert qemu > 100_000
    assert abs(qemu - renode) <= qemu // 1000, counts
