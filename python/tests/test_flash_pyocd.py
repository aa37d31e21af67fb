"""vp-flash through the real pyOCD: its session, flash algorithms and verification run as they do on
hardware; the probe is simulated, and QEMU runs what the simulated flash holds in the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyocd", reason="pyOCD is missing: pip install 'variant-parallelism[flash]'")
pytest.importorskip("unicorn", reason="Unicorn is missing: pip install unicorn")

from pyocd.core import exceptions
from pyocd.probe import aggregator
from pyocd.target import TARGET
from pyocd.target.builtin.target_STM32F429xx import STM32F429xG

from flash_bench import BOARD, DIGITS, QEMU, ROOT, Line, QemuChip, bench_fleet, flash_command
from simulated_probe import FLASH, SimulatedChip, SimulatedProbe
from variant_parallelism.firmware import build_images, load_board
from variant_parallelism.flash.identity import identity
from variant_parallelism.flash.image import read_image
from variant_parallelism.fleet import Fleet
from variant_parallelism.manifest import load_manifest
from variant_parallelism.wire import Provision, WireError

OUT = ROOT / "build" / "hil_tests"

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in (QEMU, "arm-none-eabi-gcc", "cmake", "ninja")),
    reason="needs qemu-system-arm, gcc-arm-none-eabi, cmake and ninja-build",
)


@pytest.fixture(scope="module")
def images() -> dict[str, Path]:
    """Images of two variants; other tests build the same ones."""
    return {image.variant: image.elf for image in build_images(DIGITS, ["d8", "d24"], BOARD, OUT)}


@pytest.fixture(autouse=True)
def pyocd_sees(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SimulatedProbe]]:
    """The probes that are plugged in. The chip's pack is not here; an STM32F429's first megabyte
    has the same sectors, registers and algorithm (RM0090 covers both)."""
    monkeypatch.setattr(aggregator, "PROBE_CLASSES", {"simulated": SimulatedProbe})
    monkeypatch.setitem(TARGET, "stm32f407vgtx", STM32F429xG)
    SimulatedProbe.connected.clear()
    yield SimulatedProbe.connected
    SimulatedProbe.connected.clear()


Plug = Callable[..., SimulatedProbe]


@pytest.fixture
def plug(tmp_path: Path, pyocd_sees: list[SimulatedProbe]) -> Iterator[Plug]:
    """Plug in a board with its probe; with a node's serial URL, QEMU runs its firmware."""
    chips: list[QemuChip] = []

    def plug_in(
        unique_id: str = "066DFF5652", url: str | None = None, **chip: int
    ) -> SimulatedProbe:
        if url is None:
            probe = SimulatedProbe(unique_id, SimulatedChip(**chip))
        else:
            chips.append(QemuChip(tmp_path, int(url.rpartition(":")[2]), **chip))
            probe = SimulatedProbe(unique_id, chips[-1])
        pyocd_sees.append(probe)
        return probe

    yield plug_in
    for chip in chips:
        chip.close()


def run(fleet: Fleet, *arguments: str) -> int:
    state = fleet.path.parent / "state"
    return flash_command(*arguments, "--state-dir", str(state), "--out", str(OUT), str(fleet.path))


def block_of(chip: SimulatedChip) -> Provision | None:
    start = load_board(BOARD).provision_address - FLASH
    try:
        return Provision.unpack(bytes(chip.flash[start : start + 128]))
    except WireError:
        return None


def holds(chip: SimulatedChip, elf: Path, variant: str) -> bool:
    info = load_manifest(DIGITS).variant(variant)
    return all(
        chip.flash[part.address - FLASH : part.end - FLASH] == part.data
        for part in read_image(elf, load_board(BOARD), info)
    )


def test_a_board_is_flashed_and_answers(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8"})
    chip = plug(url=fleet.nodes[0].serial).chip
    assert run(fleet, "--node", "3", "--board", BOARD) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"node 3 is up: variant d8 on stm32f4-disco, firmware \d+\.\d+\.\d+, boot 1, in [\d.]+ s\n",
        out,
    )
    assert re.search(r"^node 3: programmed [\d,]+ bytes in [\d.]+ s$", err, re.MULTILINE)
    assert re.search(r"^node 3: verified [\d,]+ bytes in [\d.]+ s$", err, re.MULTILINE)
    assert holds(chip, images["d8"], "d8")
    # Vectors, provisioning block, code: the journal's two sectors are left alone.
    assert set(chip.erased) == {0, 1, 4}
    assert chip.erased[0] == 1
    # No debugger's trap may catch the running firmware's faults.
    assert chip.running and not chip.debugged

    # Again: what is the same is not written again, and the boot counter rises.
    chip.erased.clear()
    assert run(fleet, "--node", "3") == 0
    assert ", boot 2, " in capsys.readouterr().out
    assert set(chip.erased) == {1}


def test_identity_alone(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8", 4: "d8"})
    chip = plug(url=fleet.nodes[1].serial).chip
    assert run(fleet, "--node", "3", "--timeout", "0") == 0
    assert "node 3 is programmed: variant d8 on stm32f4-disco, boot 1" in capsys.readouterr().out
    chip.erased.clear()
    assert run(fleet, "--node", "4", "--provision-only") == 0
    # The board was node 3 with boot 1; its counter must not fall when it becomes another node.
    assert "node 4 is up: " in capsys.readouterr().out
    assert set(chip.erased) == {1}
    block = block_of(chip)
    assert block is not None
    assert (block.node, block.boot, block.fleet) == (4, 2, 3)


def lay(chip: SimulatedChip, elf: Path, variant: str, block: Provision) -> None:
    """Put an image and a block into a flash, as if flashed long ago."""
    board = load_board(BOARD)
    for part in read_image(elf, board, load_manifest(DIGITS).variant(variant)):
        chip.flash[part.address - FLASH : part.end - FLASH] = part.data
    start = board.provision_address - FLASH
    chip.flash[start : start + 128] = block.pack()


@pytest.fixture(scope="module")
def transfers() -> list[int]:
    """How many words a whole run transfers, once one was counted."""
    return []


@pytest.mark.parametrize("share", [1.0, 0.03, 0.3, 0.75, 0.97])
def test_a_cable_pulled_half_way(
    share: float,
    tmp_path: Path,
    plug: Plug,
    images: dict[str, Path],
    transfers: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wherever it happens, a valid block stands beside a whole image of its own, or there is none;
    and then the board is flashed again."""
    fleet = bench_fleet(tmp_path, {3: "d8"})
    probe = plug()
    old = Provision(fleet=3, node=9, boot=77)
    lay(probe.chip, images["d24"], "d24", old)
    arguments = ("--node", "3", "--timeout", "0", "--image", str(images["d8"]))
    if not transfers:
        assert run(fleet, *arguments) == 0
        transfers.append(probe.transfers)
        return
    probe.fail_after = round(transfers[0] * share)
    assert run(fleet, *arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match("error: node 3: probe 066DFF5652: (lost while|no chip answers)", error), error
    block = block_of(probe.chip)
    if block == old:
        assert holds(probe.chip, images["d24"], "d24")
    else:
        assert block is None

    probe.plug_in()
    assert run(fleet, *arguments) == 0
    assert holds(probe.chip, images["d8"], "d8")
    block = block_of(probe.chip)
    assert block is not None
    assert block.node == 3
    assert block.boot > old.boot


def test_a_chip_that_stops_to_answer(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """SWD without acknowledge, as when the target's supply fails while the probe stays."""
    fleet = bench_fleet(tmp_path, {3: "d8"})
    probe = plug()
    probe.fail_after = 12_000
    probe.failure = exceptions.TransferError("No ACK received")
    assert run(fleet, "--node", "3", "--no-build", "--timeout", "0") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"error: node 3: probe 066DFF5652: lost while \w+( at 0x\w+)? \(No ACK received\): "
        "check the cable and run this again",
        error,
    )
    assert block_of(probe.chip) is None


@pytest.mark.parametrize("which", [["--node", "3"], ["--all"]], ids=["one", "all"])
def test_ctrl_c_half_way(
    which: list[str],
    tmp_path: Path,
    plug: Plug,
    images: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8", 4: "d8"}, probes={3: "066D", 4: "0671"})
    probe, _ = plug(), plug("0671FF")
    write, pressed = probe.write_ap_multiple, list[bool]()

    def interrupted(address: int, values: list[int]) -> None:
        if 4 in probe.chip.erased and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        write(address, values)

    monkeypatch.setattr(probe, "write_ap_multiple", interrupted)
    assert run(fleet, *which, "--no-build", "--timeout", "0") == 130
    assert "a node that was not done stays silent; flash it again" in capsys.readouterr().err
    assert (block_of(probe.chip), probe.chip.running) == (None, False)
    assert run(fleet, *which, "--no-build", "--timeout", "0") == 0
    assert block_of(probe.chip) is not None


def test_flash_that_does_not_take_what_is_written(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8"})
    probe = plug()
    at = next(index for index in range(0x08010800, 0x08011000) if _byte(images, index) != 0xFF)
    probe.chip.stuck.add(at)
    assert run(fleet, "--node", "3", "--no-build", "--timeout", "0") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    wrote = _byte(images, at)
    assert error == (
        f"error: node 3: verification failed at {at:#010x}: wrote {wrote:#04x}, read 0xff; "
        "the node stays silent: flash it again"
    )
    assert block_of(probe.chip) is None
    assert not probe.chip.running


def _byte(images: dict[str, Path], address: int) -> int:
    info = load_manifest(DIGITS).variant("d8")
    for part in read_image(images["d8"], load_board(BOARD), info):
        if part.address <= address < part.end:
            return part.data[address - part.address]
    return 0xFF


def test_another_chip_is_left_alone(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8"})
    chip = plug(idcode=0x10006421).chip
    chip.flash[:4] = b"mine"
    before = bytes(chip.flash)
    assert run(fleet, "--node", "3", "--no-build", "--timeout", "0") == 1
    assert capsys.readouterr().err.endswith(
        "error: node 3: probe 066DFF5652 is connected to STM32F446, but board stm32f4-disco has "
        "STM32F405/407: nothing was written\n"
    )
    assert bytes(chip.flash) == before
    assert chip.erased == []
    assert chip.running and not chip.debugged


def test_firmware_that_keeps_the_debugger_out(
    tmp_path: Path, plug: Plug, images: dict[str, Path]
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8"})
    chip = plug().chip
    chip.asleep = True
    assert run(fleet, "--node", "3", "--no-build", "--timeout", "0") == 0
    assert block_of(chip) is not None


def test_two_probes_and_no_choice(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8"})
    first, second = plug("066DFF5652").chip, plug("0671FF3839").chip
    assert run(fleet, "--node", "3", "--no-build", "--timeout", "0") == 1
    assert capsys.readouterr().err.endswith(
        "error: node 3: 2 debug probes are connected: 066DFF5652 (Simulated CMSIS-DAP), "
        "0671FF3839 (Simulated CMSIS-DAP); choose with --probe, or write probe into node 3 of "
        "the fleet file\n"
    )
    assert first.erased == second.erased == []
    assert run(fleet, "--node", "3", "--no-build", "--timeout", "0", "--probe", "0671") == 0
    assert (block_of(first), block_of(second) is None) == (None, False)
    assert run(fleet, "--node", "3", "--no-build", "--probe", "99") == 1
    assert "no debug probe 99: there is 066DFF5652" in capsys.readouterr().err


def test_no_probe(
    tmp_path: Path, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = bench_fleet(tmp_path, {3: "d8"})
    assert run(fleet, "--node", "3", "--no-build") == 1
    assert "error: node 3: no debug probe found: plug in" in capsys.readouterr().err


def test_a_chip_whose_pack_is_missing(
    tmp_path: Path,
    plug: Plug,
    images: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(TARGET, "stm32f407vgtx")
    plug()
    fleet = bench_fleet(tmp_path, {3: "d8"})
    assert run(fleet, "--node", "3", "--no-build", "--timeout", "0") == 1
    assert "run `pyocd pack install stm32f407vgtx` once" in capsys.readouterr().err


def test_a_running_gateway_hears_the_node_instead(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds the serial port, so vp-flash asks it, and waits for the boot that it started."""
    fleet = bench_fleet(tmp_path, {3: "d8"})
    chip = plug(url=fleet.nodes[0].serial).chip
    lay(chip, images["d8"], "d8", identity(fleet, fleet.nodes[0], 30))
    chip.reset()
    command = [sys.executable, "-m", "variant_parallelism.cli", "gateway", "--log-json"]
    with subprocess.Popen(
        [*command, "--state-dir", str(tmp_path / "state"), str(fleet.path)], stdout=subprocess.PIPE
    ) as gateway:
        assert gateway.stdout is not None
        limit = threading.Timer(30, gateway.kill)
        limit.start()
        try:
            for line in gateway.stdout:
                event = json.loads(line)
                if event["event"] == "node" and event["state"] == "up":
                    break
            assert run(fleet, "--node", "3", "--no-build") == 0
        finally:
            limit.cancel()
            gateway.terminate()
            gateway.stdout.read()
    out, err = capsys.readouterr()
    assert re.search(r"^node 3 is up: .*, boot 31, in [\d.]+ s$", out, re.MULTILINE)
    assert "(says the running gateway)" in err


def test_all_nodes_at_once_and_one_of_them_fails(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    probes = {1: "AAAA01", 2: "AAAA02", 3: "AAAA03"}
    fleet = bench_fleet(tmp_path, {1: "d8", 2: "d24", 3: "d8"}, probes=probes)
    good = [plug(probes[node.id], node.serial).chip for node in (fleet.nodes[0], fleet.nodes[2])]
    broken = plug(probes[2])
    broken.fail_after = 20_000
    line = Line(int(str(fleet.nodes[1].serial).rpartition(":")[2]))
    assert run(fleet, "--all", "--no-build", "--json") == 1
    line.close()
    outcomes = {outcome["node"]: outcome for outcome in json.loads(capsys.readouterr().out)}
    assert [outcomes[node]["boot"] for node in (1, 3)] == [1, 1]
    assert outcomes[1]["error"] is outcomes[3]["error"] is None
    assert "lost while" in outcomes[2]["error"]
    assert block_of(broken.chip) is None
    assert all(holds(chip, images["d8"], "d8") for chip in good)


def test_one_probe_is_not_two_nodes(
    tmp_path: Path, plug: Plug, images: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = bench_fleet(tmp_path, {1: "d8", 2: "d8"})
    plug()
    assert run(fleet, "--all", "--no-build", "--timeout", "0", "--json") == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["error"], first["boot"]) == (None, 1)
    assert second["error"].startswith("066DFF5652 is node 1 already: write probe into both")
