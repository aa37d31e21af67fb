"""vp-flash from its command line to the HELLO over an STM32's serial bootloader, and to a drive."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("pyocd", reason="pyOCD is missing: pip install 'variant-parallelism[flash]'")
pytest.importorskip("unicorn", reason="Unicorn is missing: pip install unicorn")

from elf_file import write_elf
from flash_bench import BOARD, DIGITS, QEMU, ROOT, bench_fleet, boot_flash, flash_command
from rp2040_rom import Rom, second_stage
from simulated_probe import SECTORS
from stm32_peer import Stm32Peer
from test_uf2_drive import board_behind, make_drive
from variant_parallelism.firmware import build_images, load_board
from variant_parallelism.flash import uf2_drive
from variant_parallelism.wire import Provision

OUT = ROOT / "build" / "hil_tests"

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in (QEMU, "arm-none-eabi-gcc", "cmake", "ninja")),
    reason="needs qemu-system-arm, gcc-arm-none-eabi, cmake and ninja-build",
)


class BootingPeer(Stm32Peer):
    """A chip that, told to go, runs in QEMU what its flash holds, on the same line."""

    def __init__(self, folder: Path) -> None:
        super().__init__(0x413, list(SECTORS))
        self._file = folder / "flash.bin"
        self._emulator: subprocess.Popen[bytes] | None = None

    def _run(self) -> None:
        super()._run()
        if self.started_at is not None:
            host, _ = self._server.accept()
            with host:
                self._emulator = boot_flash(self.flash, self._file, host)

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()


def run(folder: Path, *arguments: str) -> int:
    state = ("--state-dir", str(folder / "state"), "--out", str(OUT))
    return flash_command(*arguments, *state, str(folder / "fleet.toml"))


def test_over_the_serial_bootloader_and_up_on_the_same_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_images(DIGITS, ["d8"], BOARD, OUT)
    with BootingPeer(tmp_path) as chip:
        bench_fleet(tmp_path, {3: "d8"}, lines={3: chip.path})
        assert run(tmp_path, "--node", "3", "--with", "stm32-uart", "--no-build") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"node 3 is up: variant d8 on stm32f4-disco, .*, boot 1, in .*\n", out)
    assert re.search(r"^node 3: verified [\d,]+ bytes", err, re.MULTILINE)


def test_to_a_uf2_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pico = load_board("pico")
    fleet = bench_fleet(tmp_path, {3: "d8"}, board="pico", lines={3: "/dev/none"})
    code = pico.name.encode() + b"\0" + bytes.fromhex(fleet.manifest.variant("d8").hash)
    image = write_elf(tmp_path / "d8.elf", (pico.flash_origin, second_stage(code)))
    drive = make_drive(tmp_path / "RPI-RP2")
    monkeypatch.setattr(uf2_drive, "mounted_drives", lambda: [drive])
    rom = Rom()
    with board_behind(drive, rom):
        arguments = ("--node", "3", "--with", "uf2", "--timeout", "0")
        assert run(tmp_path, *arguments, "--image", str(image)) == 0
    assert rom.boots
    block = Provision.unpack(rom.at(pico.provision_address, 128))
    assert (block.fleet, block.node, block.boot) == (fleet.table.id, 3, 1)
    assert "node 3 is programmed: variant d8 on pico, boot 1" in capsys.readouterr().out
