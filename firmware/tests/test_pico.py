"""The Pico's second stage of the boot, as it stands in an image."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from rp2040_rom import checksum
from variant_parallelism.firmware import build_images
from variant_parallelism.flash.image import load_segments

ROOT = Path(__file__).resolve().parent.parent.parent
# The same as test_every_board: what it built is not built again.
OUT = ROOT / "build" / "firmware"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "cmake", "ninja"))),
    reason="no cross compiler: apt install gcc-arm-none-eabi cmake ninja-build",
)


def test_the_boot_rom_will_run_the_second_stage() -> None:
    (image,) = build_images(ROOT / "models" / "digits" / "manifest.json", ["d8"], "pico", OUT)
    code = next(part for part in load_segments(image.elf) if part.address == 0x10000000).data
    assert code[252:256] == struct.pack("<I", checksum(code[:252])), (
        f"boot2.S ends with another word than {checksum(code[:252]):#010x}"
    )
    # Vectors behind it: a stack in RAM, and a reset handler in Thumb code of the flash.
    stack, reset = struct.unpack_from("<2I", code, 256)
    assert 0x20000000 < stack <= 0x20041000
    assert reset & 1 and 0x10000100 < reset < 0x10000000 + len(code)
