"""Firmware images as the bytes that flash gets, checked against board and variant."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.flash.backend import FlashError, Segment, TooLargeError
from variant_parallelism.manifest import VariantInfo


def read_image(path: Path, board: BoardInfo, variant: VariantInfo) -> tuple[Segment, ...]:
    """What an ELF file has for the flash, by rising address.

    Raises VpError if it cannot be read, TooLargeError if it does not fit, FlashError if it was
    not built for this board and variant.
    """
    segments = load_segments(path)
    _check_fit(path, segments, board)
    _check_content(path, segments, board, variant)
    return segments


def load_segments(path: Path) -> tuple[Segment, ...]:
    """What an ELF file has to load, by rising address, whatever board it is for.

    VpError if it has nothing, or less than its headers say.
    """
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] != "EM_ARM" or elf.elfclass != 32:
                raise FlashError(f"{path} is not for a 32-bit Arm core")
            size = os.fstat(file.fileno()).st_size
            segments = []
            for part in elf.iter_segments():
                if part["p_type"] != "PT_LOAD" or not part["p_filesz"]:
                    continue
                if part["p_offset"] + part["p_filesz"] > size:
                    raise FlashError(f"{path} is cut short at {size:,} bytes: build it again")
                segments.append(Segment(int(part["p_paddr"]), part.data()))
    except OSError as error:
        raise VpError(f"cannot read image {path}: {error.strerror}") from None
    except ELFError:
        raise VpError(f"{path} is not an ELF file: vp build makes them") from None
    if not segments:
        raise FlashError(f"{path} has nothing to program")
    segments.sort(key=lambda segment: segment.address)
    for before, after in pairwise(segments):
        if after.address < before.end:
            raise FlashError(f"{path} says twice what stands at {after.address:#010x}")
    return tuple(segments)


def _regions(board: BoardInfo) -> list[tuple[int, int]]:
    """First address and size of every part of the flash that an image may fill."""
    found = [(board.flash_origin, board.flash_size)]
    if board.vectors_origin is not None and board.vectors_size is not None:
        found.append((board.vectors_origin, board.vectors_size))
    return found


def _region(segment: Segment, board: BoardInfo) -> tuple[int, int] | None:
    for origin, size in _regions(board):
        if origin <= segment.address < origin + size:
            return origin, size
    return None


def _check_fit(path: Path, segments: tuple[Segment, ...], board: BoardInfo) -> None:
    for segment in segments:
        region = _region(segment, board)
        if region is None:
            raise FlashError(
                f"{path} wants bytes at {segment.address:#010x}, where board {board.name} has no "
                "room for an image: was it built for another board?"
            )
        origin, size = region
        if segment.end > origin + size:
            raise TooLargeError(
                f"{path} needs {segment.end - origin:,} bytes of flash, "
                f"board {board.name} has {size:,}"
            )


def _check_content(
    path: Path, segments: tuple[Segment, ...], board: BoardInfo, variant: VariantInfo
) -> None:
    """An image holds its board's name and its model's hash, since HELLO reports both."""
    if not any(board.name.encode() + b"\0" in segment.data for segment in segments):
        raise FlashError(f"{path} was not built for board {board.name}")
    if not any(bytes.fromhex(variant.hash) in segment.data for segment in segments):
        raise FlashError(f"{path} does not hold variant {variant.name}")
