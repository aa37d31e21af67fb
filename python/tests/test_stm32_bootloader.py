"""The bootloader's host side against a peer that keeps the device's half of AN3155."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import serial

from stm32_peer import Silent, Stm32Peer
from variant_parallelism.flash.backend import DisconnectedError
from variant_parallelism.flash.stm32_bootloader import Bootloader, BootloaderError

SECTORS = [16 << 10, 16 << 10, 64 << 10]
ORIGIN = 0x08000000


@pytest.fixture(params=[True, False], ids=["extended-erase", "erase"])
def peer(request: pytest.FixtureRequest) -> Iterator[Stm32Peer]:
    with Stm32Peer(0x413, SECTORS, extended=request.param) as peer:
        yield peer


@pytest.fixture
def loader(peer: Stm32Peer) -> Iterator[Bootloader]:
    with serial.serial_for_url(peer.path) as port:
        yield Bootloader(port, "ttyX", timeout_s=1)


def test_what_is_written_after_an_erase_is_read_back(peer: Stm32Peer, loader: Bootloader) -> None:
    assert loader.connect() == 0x413
    loader.erase([0, 2], timeout_s=1)
    data = bytes(range(256))
    loader.write(ORIGIN, data)
    loader.write(ORIGIN + (32 << 10), data[:4])
    assert loader.read(ORIGIN, 256) == data
    assert loader.read(ORIGIN + (32 << 10), 6) == data[:4] + b"\xff\xff"
    # Sector 1 was left alone.
    assert loader.read(ORIGIN + (16 << 10), 1) == b"\0"
    loader.go(ORIGIN)
    assert loader.connect() == 0x413  # The peer stays in its bootloader and says so by a NACK.
    assert peer.started_at == ORIGIN


def test_silence_says_what_to_do() -> None:
    with Stm32Peer(0x413, SECTORS) as peer, serial.serial_for_url(peer.path) as port:
        loader = Bootloader(port, "ttyX", timeout_s=1)
        peer.at_command = lambda command: (_ for _ in ()).throw(Silent)
        with pytest.raises(DisconnectedError, match="ttyX: the bootloader answers nothing to"):
            loader.connect()
        with pytest.raises(BootloaderError, match="no STM32 bootloader answers on ttyX: set BOOT0"):
            loader.connect()


def test_refusals_name_the_step(peer: Stm32Peer, loader: Bootloader) -> None:
    loader.connect()
    with pytest.raises(BootloaderError, match="refuses to read at 0x20000000"):
        loader.read(0x20000000, 4)
    with pytest.raises(BootloaderError, match="refuses to erase sectors 7"):
        loader.erase([7], timeout_s=1)
    peer.protected = True
    with pytest.raises(BootloaderError, match="read-protected"):
        loader.read(ORIGIN, 4)


@pytest.mark.parametrize(("at", "size"), [(ORIGIN, 0), (ORIGIN, 257), (ORIGIN + 2, 4), (ORIGIN, 6)])
def test_blocks_that_the_protocol_cannot_carry(loader: Bootloader, at: int, size: int) -> None:
    with pytest.raises(ValueError):
        loader.write(at, bytes(size))
