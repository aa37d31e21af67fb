"""What the RP2040's boot ROM makes of the blocks that reach its drive, as its source has it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

ORIGIN = 0x10000000
SIZE = 2 << 20
FAMILY = 0xE48BFF56
_BLOCK = struct.Struct("<8I476sI")


@lru_cache
def checksum(data: bytes) -> int:
    """CRC-32 as the ROM takes it of the second stage: from the highest bit, nothing inverted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def second_stage(code: bytes) -> bytes:
    """256 bytes that the ROM runs."""
    padded = code.ljust(252, b"\0")
    return padded + struct.pack("<I", checksum(padded))


@dataclass
class Rom:
    """Flash, and the state of a transfer. `restarts` counts how often one was complete."""

    flash: bytearray = field(default_factory=lambda: bytearray(b"\xff" * SIZE))
    restarts: int = 0
    erasures: int = 0
    _total: int = 0
    _had: set[int] = field(default_factory=set)
    _erased: set[int] = field(default_factory=set)

    @property
    def boots(self) -> bool:
        """Whether it starts what stands in the flash, and is no drive."""
        stage = bytes(self.flash[:256])
        return struct.unpack("<I", stage[252:])[0] == checksum(stage[:252])

    def at(self, address: int, size: int) -> bytes:
        return bytes(self.flash[address - ORIGIN : address - ORIGIN + size])

    def write(self, data: bytes) -> None:
        """Sectors of the drive, in the order in which the system writes them."""
        for start in range(0, len(data) - len(data) % 512, 512):
            self._sector(data[start : start + 512])

    def replug(self) -> None:
        """Power off and on: the flash remains."""
        self._total = 0

    def _sector(self, data: bytes) -> None:
        first, second, flags, address, size, number, total, family, payload, end = _BLOCK.unpack(
            data
        )
        if (first, second, end) != (0x0A324655, 0x9E5D5157, 0x0AB16F30):
            return
        if not flags & 0x2000 or flags & 1 or family != FAMILY or size != 256:
            return
        if not total or address % 256 or not ORIGIN <= address < ORIGIN + SIZE:
            self._total = 0
            return
        if total != self._total:
            self._total, self._had, self._erased = total, set(), set()
        if number >= total:
            self._total = 0
            return
        if number in self._had:
            return
        at = address - ORIGIN
        if number // 16 not in self._erased:
            self._erased.add(number // 16)
            self.erasures += 1
            self.flash[at & ~4095 : (at & ~4095) + 4096] = b"\xff" * 4096
        page = zip(self.flash[at : at + 256], payload[:256], strict=True)
        self.flash[at : at + 256] = bytes(old & new for old, new in page)
        self._had.add(number)
        if len(self._had) == total:
            self.restarts += 1
