"""What a model takes on a board, read from an ELF file that holds nothing else."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHT_NOBITS = 8
_SECTION = struct.Struct("<10I")
_HEADER_MINIMUM = 52


@dataclass(frozen=True)
class Footprint:
    """Bytes of the sections that are loaded.

    Attributes:
        code: instructions with their literals.
        constants: what flash holds beside code: constant data and start values of variables.
        static: variables.
    """

    code: int
    constants: int
    static: int

    @property
    def flash(self) -> int:
        """Bytes of flash."""
        return self.code + self.constants


def footprint(elf: bytes) -> Footprint:
    """Adds up the sections of a little-endian ELF32 file.

    Raises:
        ValueError: it is none.
    """
    if len(elf) < _HEADER_MINIMUM or elf[:6] != b"\x7fELF\x01\x01":
        raise ValueError("not a little-endian ELF32 file")
    (table,) = struct.unpack_from("<I", elf, 32)
    entry_size, count = struct.unpack_from("<HH", elf, 46)
    code = constants = static = 0
    for number in range(count):
        _, kind, flags, _, _, size, *_ = _SECTION.unpack_from(elf, table + number * entry_size)
        if not flags & _SHF_ALLOC:
            continue
        if flags & _SHF_EXECINSTR:
            code += size
            continue
        if flags & _SHF_WRITE:
            static += size
        if kind != _SHT_NOBITS:
            constants += size
    return Footprint(code, constants, static)
