"""UF2 files: the format, and what the RP2040's boot ROM makes of ours at every cut."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rp2040_rom import Rom, second_stage
from variant_parallelism.firmware import load_board
from variant_parallelism.flash.backend import FlashError, Job, Segment, TooLargeError
from variant_parallelism.flash.uf2 import BLOCK, Block, parse, safe_file, transfer
from variant_parallelism.wire import Provision
from variant_parallelism.wire.provisioning import PROVISION_SIZE

PICO = load_board("pico")
OLD = Provision(fleet=1, node=3, boot=7)
NEW = Provision(fleet=1, node=4, boot=9)
JOURNAL = b"boot counters"


def image(size: int, fill: int) -> tuple[Segment, ...]:
    """Second stage, vectors and code, and data behind a gap."""
    code = second_stage(bytes([fill])) + bytes((fill + at) % 251 for at in range(size))
    return (
        Segment(PICO.flash_origin, code),
        Segment(PICO.flash_origin + len(code) + 40, bytes([fill]) * 300),
    )


def job(segments: Sequence[Segment], provision: Provision = NEW) -> Job:
    return Job(PICO, tuple(segments), provision)


def block_of(rom: Rom) -> bytes:
    return rom.at(PICO.provision_address, PROVISION_SIZE)


def holds(rom: Rom, segments: Sequence[Segment]) -> bool:
    return all(rom.at(part.address, len(part.data)) == part.data for part in segments)


def running(segments: Sequence[Segment]) -> Rom:
    """A board that runs an older node."""
    rom = Rom()
    assert PICO.journal_address is not None
    for part in (*segments, Segment(PICO.provision_address, OLD.pack())):
        at = part.address - PICO.flash_origin
        rom.flash[at : at + len(part.data)] = part.data
    at = PICO.journal_address - PICO.flash_origin
    rom.flash[at : at + len(JOURNAL)] = JOURNAL
    return rom


def cuts(size: int) -> range:
    return range(0, size + 1, BLOCK)


def test_a_whole_file_makes_the_board_the_node() -> None:
    new = image(20_000, 7)
    rom = running(image(30_000, 5))
    rom.write(bytes(safe_file(job(new))))
    assert rom.boots and rom.restarts == 1
    assert holds(rom, new) and block_of(rom) == NEW.pack()
    assert PICO.journal_address is not None
    assert rom.at(PICO.journal_address, len(JOURNAL)) == JOURNAL


def test_cut_anywhere_the_board_is_a_drive_or_silent() -> None:
    old, new = image(9_000, 5), image(13_000, 7)
    data = bytes(safe_file(job(new)))
    for cut in cuts(len(data) - BLOCK):
        rom = running(old)
        rom.write(data[:cut])
        if not rom.boots:
            continue
        # The old firmware is whole; it is the old node, or finds no block.
        assert holds(rom, old)
        assert block_of(rom) == (OLD.pack() if cut == 0 else b"\xff" * PROVISION_SIZE), cut


def test_the_identity_alone_leaves_the_image() -> None:
    old = image(9_000, 5)
    data = bytes(safe_file(job(())))
    for cut in cuts(len(data)):
        rom = running(old)
        rom.write(data[:cut])
        assert rom.boots and holds(rom, old)
        whole = block_of(rom) == NEW.pack()
        assert whole or cut == 0 or block_of(rom) == b"\xff" * PROVISION_SIZE
        assert rom.restarts == int(cut == len(data))
    assert whole


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.booleans())
def test_a_transfer_after_a_broken_one_of_equal_length_is_its_own(
    part: float, replugged: bool
) -> None:
    other, new = image(9_000, 5), image(9_000, 7)
    broken, data = (bytes(safe_file(job(segments))) for segments in (other, new))
    assert len(broken) == len(data)
    rom = Rom()
    rom.write(broken[: int(part * (len(broken) // BLOCK - 1)) * BLOCK])
    if replugged:
        rom.replug()
    rom.write(data)
    assert rom.boots and rom.restarts == 1
    assert holds(rom, new) and block_of(rom) == NEW.pack()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40_000), st.integers(0, 5_000))
def test_an_image_of_any_shape_arrives(size: int, gap: int) -> None:
    head = image(size, 3)[0]
    new = (head, Segment(head.end + gap, b"\x5a" * 300))
    rom = running(image(40_000, 5))
    data = bytes(safe_file(job(new)))
    rom.write(data)
    assert rom.boots and holds(rom, new) and block_of(rom) == NEW.pack()
    assert rom.erasures * 4096 <= len(data)


def test_a_block_written_twice_in_a_row_does_no_harm() -> None:
    """Systems write a file in pieces of 4 KB, and may write the last one again."""
    new = image(9_000, 7)
    data = bytes(safe_file(job(new)))
    rom = Rom()
    for start in range(0, len(data), 4096):
        piece = data[start : start + 4096]
        rom.write(piece[: len(piece) // 2])
        rom.write(piece)
    assert rom.boots and rom.restarts == 1 and holds(rom, new)


def test_parts_begin_where_systems_cut() -> None:
    file = safe_file(job(image(9_000, 7)))
    assert len(file.guard) == 4096 and len(file.body) % 4096 == 0
    assert len(file.last) == 16 * BLOCK
    assert parse(bytes(file))[-1].address == PICO.flash_origin
    assert {block.family for block in parse(bytes(file))} == {PICO.uf2_family}


@pytest.mark.parametrize(
    ("segments", "kind", "text"),
    [
        ((Segment(0x20000000, b"x"),), FlashError, "0x20000000"),
        ((Segment(PICO.flash_origin + 256, b"x"),), FlashError, "does not begin"),
        ((Segment(PICO.flash_origin, bytes(PICO.flash_size + 1)),), TooLargeError, "2,084,865"),
    ],
)
def test_an_image_that_is_not_the_boards_is_refused(
    segments: tuple[Segment, ...], kind: type[FlashError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        safe_file(job(segments))


def test_a_board_without_uf2_is_named() -> None:
    with pytest.raises(FlashError, match="mps2-an386 takes no UF2"):
        safe_file(Job(load_board("mps2-an386"), (), NEW))


pages = st.lists(
    st.builds(
        Segment,
        st.integers(0, (1 << 24) - 1).map(lambda page: page * 256),
        st.binary(min_size=1, max_size=476),
    ),
    min_size=1,
    max_size=20,
)
families = st.none() | st.integers(0, (1 << 32) - 1)


@given(pages, families)
def test_what_was_packed_is_parsed(segments: list[Segment], family: int | None) -> None:
    data = transfer(segments, family)
    assert len(data) == BLOCK * len(segments)
    blocks = parse(data)
    assert [(block.address, block.data) for block in blocks] == [
        (segment.address, segment.data) for segment in segments
    ]
    assert [block.number for block in blocks] == list(range(len(segments)))
    assert {(block.total, block.family) for block in blocks} == {(len(segments), family)}


@given(st.binary(max_size=1200))
def test_noise_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(FlashError) as refusal:
        parse(data)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("offset", "value", "text"),
    [
        (0, 0, "block 1 lacks its magic"),
        (4, 0, "block 1 lacks its magic"),
        (508, 0, "block 1 lacks its magic"),
        (12, 0xFFFFFFFF, "behind the last address"),
        (16, 0, "holds 0 bytes"),
        (16, 477, "holds 477 bytes"),
        (20, 2, "number 2 of 2"),
        (24, 1, "number 1 of 1"),
    ],
)
def test_a_damaged_field_is_named(offset: int, value: int, text: str) -> None:
    page = Segment(PICO.flash_origin, bytes(256))
    data = bytearray(transfer([page, page], PICO.uf2_family))
    struct.pack_into("<I", data, BLOCK + offset, value)
    with pytest.raises(FlashError, match=text):
        parse(bytes(data))


def test_a_block_is_laid_out_as_the_format_says() -> None:
    data = Block(0x10000100, bytes(range(256)), 5, 9, 0xE48BFF56).pack()
    assert data[:8] == b"UF2\n\x57\x51\x5d\x9e" and data[508:] == b"\x30\x6f\xb1\x0a"
    assert struct.unpack_from("<6I", data, 8) == (0x2000, 0x10000100, 256, 5, 9, 0xE48BFF56)
    assert data[32:288] == bytes(range(256)) and data[288:508] == bytes(220)
