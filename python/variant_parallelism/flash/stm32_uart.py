"""STM32 boards without a probe: the system bootloader of the chip, over a UART."""

from __future__ import annotations

import errno
import re
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import serial

from variant_parallelism.firmware import BoardInfo
from variant_parallelism.flash.backend import (
    AccessError,
    BusyError,
    DisconnectedError,
    FlashError,
    NoTargetError,
    PagedConnection,
    Progress,
    Segment,
    Target,
    WrongBoardError,
)
from variant_parallelism.flash.stm32_bootloader import MAX_BLOCK, Bootloader
from variant_parallelism.flash.stm32_chips import Stm32Chip, chip_name, chip_of_target
from variant_parallelism.fleet import check_serial
from variant_parallelism.usb_ports import NoSuchPortError, device_of, serial_ports

BAUD = 115200
_BLANK = b"\xff"


class Stm32UartBackend:
    """Every USB serial port may lead to a bootloader; only the chosen one is opened."""

    name = "stm32-uart"

    def check(self) -> None:
        """pySerial is part of the base install."""

    def find(self) -> list[Target]:
        return [Target(self.name, port.name, port.description) for port in serial_ports()]

    @contextmanager
    def open(self, target: Target, board: BoardInfo) -> Iterator[Stm32UartConnection]:
        chip = chip_of_target(board.pyocd_target or "")
        if chip is None:
            raise FlashError(f"board {board.name} has no STM32 bootloader that is known here")
        with _translated(target.id), _opened(target.id) as port:
            bootloader = Bootloader(port, target.id)
            found = bootloader.connect()
            if found != chip.product:
                raise WrongBoardError(
                    f"{target.id} leads to {chip_name(found)}, but board {board.name} has "
                    f"{chip.name}: nothing was written"
                )
            yield Stm32UartConnection(bootloader, chip, board)


class Stm32UartConnection(PagedConnection):
    """A chip in its bootloader. Sectors are the pages that it erases."""

    def __init__(self, bootloader: Bootloader, chip: Stm32Chip, board: BoardInfo) -> None:
        self._bootloader = bootloader
        self._chip = chip
        self._board = board
        self._blank: set[int] = set()

    def read(self, address: int, size: int) -> bytes:
        return b"".join(
            self._bootloader.read(at, min(MAX_BLOCK, address + size - at))
            for at in range(address, address + size, MAX_BLOCK)
        )

    def erase(self, address: int, size: int) -> None:
        for sector in self._chip.sectors_of([(address, size)]):
            self._bootloader.erase([sector], self._chip.erase_s)
            self._blank.add(sector)

    def program(self, segments: Sequence[Segment], progress: Progress) -> None:
        sectors = self._chip.sectors_of(
            (segment.address, len(segment.data)) for segment in segments
        )
        for done, sector in enumerate(sectors):
            progress("erase", done, len(sectors))
            if sector not in self._blank:
                self._bootloader.erase([sector], self._chip.erase_s)
        progress("erase", len(sectors), len(sectors))
        self._blank.difference_update(sectors)
        total = sum(len(segment.data) for segment in segments)
        done = 0
        for segment in segments:
            for at, data in _blocks(segment):
                if data.strip(_BLANK):
                    self._bootloader.write(at, data)
                done = min(done + len(data), total)
                progress("program", done, total)

    def reset(self) -> None:
        """Jump to the firmware; a reset would lead back here for as long as BOOT0 is high."""
        origin = self._board.vectors_origin
        self._bootloader.go(self._board.flash_origin if origin is None else origin)


def _blocks(segment: Segment) -> Iterator[tuple[int, bytes]]:
    """Aligned blocks of up to 256 bytes, filled with what an erased flash holds."""
    start = segment.address & ~3
    data = _BLANK * (segment.address - start) + segment.data
    data += _BLANK * (-len(data) % 4)
    for at in range(0, len(data), MAX_BLOCK):
        yield start + at, data[at : at + MAX_BLOCK]


@contextmanager
def _opened(path: str) -> Iterator[serial.Serial]:
    """The line as AN2606 wants it: 8 data bits, even parity, 1 stop bit."""
    try:
        port = serial.serial_for_url(
            device_of(check_serial(path)), BAUD, parity=serial.PARITY_EVEN, exclusive=True
        )
    except NoSuchPortError as error:
        raise NoTargetError(f"{path}: {error}") from None
    except (OSError, termios.error) as error:
        raise _open_error(path, error) from None
    except (ValueError, LookupError, TypeError, re.error):  # pySerial's, of what a URL asks for.
        raise NoTargetError(
            f"{path!r} is no serial port or URL such as socket://host:port"
        ) from None
    with port:
        yield port


def _open_error(path: str, error: Exception) -> FlashError:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return NoTargetError(f"there is no serial port {path}: `vp-flash` alone lists them")
    if code == errno.EACCES:
        return AccessError(f"no permission for {path}: join group dialout and log in again")
    if code in (errno.EBUSY, errno.EAGAIN) or "lock port" in str(error):
        return BusyError(f"{path} is in use by another program (a gateway or a terminal?)")
    return FlashError(f"cannot open {path}: {error}")


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, termios.error) as error:
        why = getattr(error, "strerror", None) or error
        raise DisconnectedError(f"{path} went away: {why}; plug it in and flash again") from None
