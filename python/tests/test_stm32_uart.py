"""vp-flash over the STM32 bootloader: an emulated chip, pulled cables, users' mistakes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serial.urlhandler import protocol_socket

from stm32_peer import Silent, Stm32Peer, Unplugged
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo, board_names, load_board
from variant_parallelism.flash.backend import (
    BusyError,
    DisconnectedError,
    FlashError,
    Job,
    NoTargetError,
    Segment,
    Target,
    VerifyError,
    WrongBoardError,
)
from variant_parallelism.flash.stm32_bootloader import BootloaderError
from variant_parallelism.flash.stm32_chips import CHIPS, FLASH_ORIGIN, chip_of_target
from variant_parallelism.flash.stm32_uart import Stm32UartBackend
from variant_parallelism.wire import Provision
from variant_parallelism.wire.provisioning import PROVISION_SIZE

BOARD = load_board("nucleo-f446re")
CHIP = next(chip for chip in CHIPS if chip.product == 0x421)
PROVISION = Provision(fleet=1, node=3, boot=7)
IMAGE = (
    Segment(BOARD.vectors_origin or 0, bytes(range(200)) * 2),
    Segment(BOARD.flash_origin, bytes(range(256)) * 5 + b"end"),
)
OLD_JOURNAL = b"boot counters"


@pytest.fixture(autouse=True)
def _no_rest_between_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """pySerial gives a device server 0.3 s after each connection; the peer needs none."""
    monkeypatch.setattr(protocol_socket, "time", SimpleNamespace(sleep=lambda seconds: None))


def peer(product: int = CHIP.product) -> Stm32Peer:
    """A chip that holds an older node."""
    chip = Stm32Peer(product, list(CHIP.sectors))
    put(chip, BOARD.provision_address, Provision(fleet=1, node=3, boot=2).pack())
    assert BOARD.journal_address is not None
    put(chip, BOARD.journal_address, OLD_JOURNAL)
    return chip


def put(chip: Stm32Peer, address: int, data: bytes) -> None:
    at = address - FLASH_ORIGIN
    chip.flash[at : at + len(data)] = data


def held(chip: Stm32Peer, address: int, size: int) -> bytes:
    return bytes(chip.flash[address - FLASH_ORIGIN :][:size])


def flash(path: str, board: BoardInfo = BOARD, image: tuple[Segment, ...] = IMAGE) -> list[str]:
    """Program a chip; the stages that it was told about, in order."""
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        if not stages or stages[-1] != stage:
            stages.append(stage)

    backend = Stm32UartBackend()
    with backend.open(Target(backend.name, path, ""), board) as connection:
        connection.write(Job(board, image, PROVISION), progress)
        connection.reset()
    return stages


def test_image_and_identity_are_written_and_the_journal_is_left_alone() -> None:
    with peer() as chip:
        stages = flash(chip.path)
        for segment in IMAGE:
            assert held(chip, segment.address, len(segment.data)) == segment.data
        assert held(chip, BOARD.provision_address, PROVISION_SIZE) == PROVISION.pack()
        assert held(chip, BOARD.journal_address or 0, len(OLD_JOURNAL)) == OLD_JOURNAL
    assert stages == ["erase", "program", "verify", "provision"]
    assert chip.started_at == BOARD.vectors_origin


def test_identity_alone_leaves_the_image() -> None:
    with peer() as chip:
        put(chip, BOARD.flash_origin, b"old image")
        flash(chip.path, image=())
        assert held(chip, BOARD.flash_origin, 9) == b"old image"
        assert held(chip, BOARD.provision_address, PROVISION_SIZE) == PROVISION.pack()


def test_cut_at_any_command_no_half_node_has_an_identity() -> None:
    """Whatever the moment, the block is the old one, nothing, or the new one over a whole image."""
    with peer() as chip:
        flash(chip.path)
        commands = len(chip.commands)
    assert commands > 20
    old = Provision(fleet=1, node=3, boot=2).pack()
    for last in range(0, commands):
        left = last

        def count(command: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Unplugged

        with peer() as chip:
            chip.at_command = count
            with pytest.raises(DisconnectedError):
                flash(chip.path)
        block = held(chip, BOARD.provision_address, PROVISION_SIZE)
        whole = all(held(chip, part.address, len(part.data)) == part.data for part in IMAGE)
        untouched = not any(held(chip, BOARD.flash_origin, 16))
        assert block != old or untouched, last
        assert block != PROVISION.pack() or whole, last


def test_a_chip_that_falls_silent() -> None:
    def silence(command: int) -> None:
        if command == 0x31:
            raise Silent

    with peer() as chip:
        chip.at_command = silence
        with pytest.raises(DisconnectedError, match=r"answers nothing to: write .* cable loose"):
            flash(chip.path)
        assert held(chip, BOARD.provision_address, 4) == b"\xff" * 4


def test_a_bit_that_does_not_hold() -> None:
    with peer() as chip:
        chip.stuck.add(BOARD.flash_origin + 257)
        with pytest.raises(VerifyError, match=f"{BOARD.flash_origin + 257:#010x}.*stays silent"):
            flash(chip.path)
        assert held(chip, BOARD.provision_address, 4) == b"\xff" * 4
        chip.stuck.clear()
    with peer() as chip:
        chip.flash[:] = bytes(len(chip.flash))
        flash(chip.path)


def test_another_chip_is_left_as_it_is() -> None:
    with peer(product=0x413) as chip:
        before = bytes(chip.flash)
        with pytest.raises(WrongBoardError, match=r"leads to STM32F405/407, but .* nothing was"):
            flash(chip.path)
        assert bytes(chip.flash) == before
    with peer(product=0x999) as chip, pytest.raises(WrongBoardError, match="product id 0x999"):
        flash(chip.path)


def test_a_protected_chip() -> None:
    with peer() as chip:
        chip.protected = True
        with pytest.raises(BootloaderError, match="refuses to erase"):
            flash(chip.path)


def test_ports_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(NoTargetError, match="there is no serial port /dev/ttyNONE"):
        flash("/dev/ttyNONE")
    with pytest.raises(FlashError, match="cannot open"):
        flash(str(tmp_path))
    ours, theirs = os.openpty()
    fcntl.flock(theirs, fcntl.LOCK_EX)
    with pytest.raises(BusyError, match="in use by another program"):
        flash(os.ttyname(theirs))
    os.close(theirs)
    os.close(ours)


def test_a_board_that_is_no_stm32() -> None:
    with pytest.raises(FlashError, match="mps2-an386 has no STM32 bootloader"):
        flash("/dev/ttyNONE", load_board("mps2-an386"))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CHIPS), st.data())
def test_sectors_of_a_range_are_those_that_hold_its_bytes(chip, data) -> None:  # type: ignore[no-untyped-def]
    total = sum(chip.sectors)
    start = data.draw(st.integers(0, total - 1))
    size = data.draw(st.integers(1, total - start))
    expected, begin = set(), 0
    for number, length in enumerate(chip.sectors):
        if max(begin, start) < min(begin + length, start + size):
            expected.add(number)
        begin += length
    assert chip.sectors_of([(FLASH_ORIGIN + start, size)]) == sorted(expected)
    with pytest.raises(VpError, match="not in the flash"):
        chip.sectors_of([(FLASH_ORIGIN + total - 1, 2)])


def test_every_stm32_board_has_its_chip_and_pages_of_their_own() -> None:
    """Identity and journal share no sector with the image or each other."""
    boards = [load_board(name) for name in board_names()]
    stm32 = [board for board in boards if "stm32-uart" in board.programmers]
    assert len(stm32) >= 5
    for board in stm32:
        chip = chip_of_target(board.pyocd_target or "")
        assert chip is not None, board.name
        assert board.journal_address is not None and board.journal_page_size is not None
        assert board.vectors_origin is not None and board.vectors_size is not None
        parts = [
            (board.vectors_origin, board.vectors_size),
            (board.provision_address, PROVISION_SIZE),
            (board.journal_address, board.journal_page_size),
            (board.journal_address + board.journal_page_size, board.journal_page_size),
            (board.flash_origin, board.flash_size),
        ]
        sectors = [chip.sectors_of([part]) for part in parts]
        together = [sector for part in sectors for sector in part]
        assert len(together) == len(set(together)), board.name
        assert [len(part) for part in sectors[:4]] == [1, 1, 1, 1], board.name
