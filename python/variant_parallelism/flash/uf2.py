"""UF2 files, and the order of blocks that an interruption survives.

A file is a row of 512-byte blocks (https://github.com/microsoft/uf2), each with 256 bytes of the
flash, where they belong, its number and how many there are. A bootloader takes each block as it
comes, whatever else the file system brings, and starts the firmware when it has had all of them.

What the boot ROM of the RP2040 makes of them (virtual_disk.c of its published source) decides the
order:

- It erases a sector of 4 KB at the first block of each 16 *block numbers*, not of each sector: so
  every 16 numbers here are the 16 pages of one sector, those that have nothing to say included.
- It takes each number once and ignores it the second time, until a block says another number of
  blocks: a transfer that was broken off would lend its blocks to the next one of equal length. So
  the file begins with block 0 of 2, which belongs to a transfer of its own that never ends.
- The same address may come twice, under two numbers.
- It starts what it finds when the second stage in the flash's first page has a good checksum, and
  is a drive again otherwise.

So the first block erases the provisioning block's page; then come the image's first sector, blank,
the rest of the image and the provisioning block; and at last the first sector, with the second
stage in the file's last block. Cut anywhere before that, the board stays a drive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from variant_parallelism.flash.backend import FlashError, Job, Segment, TooLargeError

BLOCK = 512
"""Bytes of a block in the file."""
PAGE = 256
"""Bytes of the flash in a block."""
SECTOR = 4096
"""Bytes that the RP2040's boot ROM erases at once."""

MAGIC = (0x0A324655, 0x9E5D5157)
MAGIC_END = 0x0AB16F30
FAMILY_PRESENT = 0x2000
NOT_MAIN_FLASH = 0x0001

_HEAD = struct.Struct("<8I")
_PAYLOAD_ROOM = 476
_BLANK = b"\xff"
# Systems write a file in pieces of 4 KB: the first block fills one, so that it is not sent again
# with the blocks behind it. The ROM ignores its repetitions.
_GUARD_BLOCKS = 8
_PAGES_PER_SECTOR = SECTOR // PAGE


@dataclass(frozen=True, slots=True)
class Block:
    """One block: `number` of `total` with `data` for `address`, for chips of `family` (or any)."""

    address: int
    data: bytes
    number: int
    total: int
    family: int | None

    def pack(self) -> bytes:
        """The 512 bytes."""
        head = _HEAD.pack(
            *MAGIC,
            0 if self.family is None else FAMILY_PRESENT,
            self.address,
            len(self.data),
            self.number,
            self.total,
            self.family or 0,
        )
        body = self.data.ljust(_PAYLOAD_ROOM, b"\0")
        return head + body + struct.pack("<I", MAGIC_END)


def transfer(pages: Sequence[Segment], family: int | None) -> bytes:
    """Blocks for these pages, numbered in their order."""
    return b"".join(
        Block(page.address, page.data, number, len(pages), family).pack()
        for number, page in enumerate(pages)
    )


def parse(data: bytes) -> list[Block]:
    """The blocks of a file, one after the other. FlashError names the first that is none."""
    if not data or len(data) % BLOCK:
        raise FlashError(f"not a UF2 file: {len(data):,} bytes are no whole number of blocks")
    return [_block(data[at : at + BLOCK], at // BLOCK) for at in range(0, len(data), BLOCK)]


def _block(data: bytes, index: int) -> Block:
    magic0, magic1, flags, address, size, number, total, family = _HEAD.unpack_from(data)
    (end,) = struct.unpack_from("<I", data, BLOCK - 4)
    if (magic0, magic1) != MAGIC or end != MAGIC_END:
        raise FlashError(f"not a UF2 file: block {index} lacks its magic numbers")
    if not 0 < size <= _PAYLOAD_ROOM:
        raise FlashError(f"UF2 block {index} says that it holds {size:,} bytes")
    if number >= total:
        raise FlashError(f"UF2 block {index} calls itself number {number} of {total}")
    if address + size > 1 << 32:
        raise FlashError(f"UF2 block {index} ends behind the last address")
    payload = data[_HEAD.size : _HEAD.size + size]
    return Block(address, payload, number, total, family if flags & FAMILY_PRESENT else None)


@dataclass(frozen=True, slots=True)
class SafeFile:
    """A UF2 file in the three parts that must reach the board in their order."""

    guard: bytes
    body: bytes
    last: bytes

    def __bytes__(self) -> bytes:
        return self.guard + self.body + self.last

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.guard) + len(self.body) + len(self.last)


def safe_file(job: Job) -> SafeFile:
    """What makes a board its node, in the order of this module's description.

    Without an image the identity alone is written. FlashError if the board takes no UF2 files or
    the image is not the board's, TooLargeError if it does not fit.
    """
    family = job.board.uf2_family
    if family is None:
        raise FlashError(f"board {job.board.name} takes no UF2 files")
    _check_fit(job)
    identity = _sector(_start(job.block.address), [job.block])
    guard = Block(identity[0].address, _BLANK * PAGE, 0, 2, family).pack() * _GUARD_BLOCKS
    if not job.image:
        return _split(guard, identity, family)
    starts = sorted({at for segment in job.image for at in _sectors_of(segment)})
    sectors = [_sector(at, job.image) for at in starts]
    head = sectors[0]
    pages = [
        *_sector(head[0].address, []),
        *(page for sector in sectors[1:] for page in sector),
        *identity,
        *head[1:],
        head[0],
    ]
    return _split(guard, pages, family)


def _split(guard: bytes, pages: list[Segment], family: int) -> SafeFile:
    blocks = transfer(pages, family)
    last = _PAGES_PER_SECTOR * BLOCK
    return SafeFile(guard, blocks[:-last], blocks[-last:])


def _check_fit(job: Job) -> None:
    board = job.board
    end = board.flash_origin + board.flash_size
    for segment in job.image:
        if segment.address < board.flash_origin or segment.address >= end:
            raise FlashError(
                f"the image wants bytes at {segment.address:#010x}, where board {board.name} has "
                "no room for an image"
            )
        if segment.end > end:
            raise TooLargeError(
                f"the image needs {segment.end - board.flash_origin:,} bytes of flash, "
                f"board {board.name} has {board.flash_size:,}"
            )
    if job.image and job.image[0].address != board.flash_origin:
        raise FlashError(f"the image does not begin where board {board.name} starts")


def _start(address: int) -> int:
    return address - address % SECTOR


def _sectors_of(segment: Segment) -> range:
    return range(_start(segment.address), segment.end, SECTOR)


def _sector(start: int, segments: Iterable[Segment]) -> list[Segment]:
    """The pages of a sector with what these segments have for it, blank elsewhere."""
    content = bytearray(_BLANK * SECTOR)
    for segment in segments:
        first = max(segment.address, start)
        end = min(segment.end, start + SECTOR)
        if first < end:
            content[first - start : end - start] = segment.data[
                first - segment.address : end - segment.address
            ]
    return [Segment(start + at, bytes(content[at : at + PAGE])) for at in range(0, SECTOR, PAGE)]
