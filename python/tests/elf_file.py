"""ELF files without a linker."""

from __future__ import annotations

import struct
from pathlib import Path


def write_elf(path: Path, *segments: tuple[int, bytes], machine: int = 40) -> Path:
    """An ELF file of these (address, bytes), as a linker for 32-bit Arm writes it."""
    head = struct.pack("<16s2H5I6H", b"\x7fELF\x01\x01\x01", 2, machine, 1, 0, 52, 0, 0, 52, 32,
                       len(segments), 40, 0, 0)  # fmt: skip
    table, body = b"", b""
    offset = 52 + 32 * len(segments)
    for address, data in segments:
        size = len(data)
        table += struct.pack("<8I", 1, offset + len(body), address, address, size, size, 5, 4)
        body += data
    path.write_bytes(head + table + body)
    return path
