"""The host's side of the STM32 system bootloader over a UART (ST application note AN3155)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import xor
from typing import Protocol

from variant_parallelism.flash.backend import DisconnectedError, FlashError

MAX_BLOCK = 256
"""Bytes that one read or write command moves at most."""

_SYNC = 0x7F
_ACK = 0x79
_NACK = 0x1F
_GET = 0x00
_GET_ID = 0x02
_READ = 0x11
_GO = 0x21
_WRITE = 0x31
_ERASE = 0x43
_EXTENDED_ERASE = 0x44

_SYNC_ATTEMPTS = 3
_WRITE_ALIGNMENT = 4


class BootloaderError(FlashError):
    """No bootloader is there, or it refuses a command."""


class Port(Protocol):
    """What is used of serial.Serial: a read gives up after `timeout` seconds."""

    timeout: float | None

    def read(self, size: int = 1) -> bytes: ...

    def write(self, data: bytes) -> int | None: ...

    def reset_input_buffer(self) -> None: ...


class Bootloader:
    """A chip that was reset with BOOT0 high and waits on a serial line with even parity.

    Raises BootloaderError, and DisconnectedError when it falls silent; their texts call it `name`.
    """

    def __init__(self, port: Port, name: str, timeout_s: float = 1.0) -> None:
        self._port = port
        self._name = name
        self._timeout_s = timeout_s
        self._commands: frozenset[int] = frozenset()

    def connect(self) -> int:
        """Find the bootloader and its commands. Returns the product id (`0x413`: STM32F405/407)."""
        self._synchronize()
        self._commands = frozenset(self._list(_GET, "tell its commands")[1:])
        return int.from_bytes(self._list(_GET_ID, "tell the chip"), "big")

    def read(self, address: int, size: int) -> bytes:
        """Read 1 to 256 bytes of memory."""
        self._check_size(size)
        self._command(_READ, "read memory (is the chip read-protected?)")
        self._send(_with_xor(address.to_bytes(4, "big")), f"read at {address:#010x}")
        self._send(bytes([size - 1, (size - 1) ^ 0xFF]), f"read {size} bytes")
        return self._receive(size)

    def write(self, address: int, data: bytes) -> None:
        """Write 4 to 256 bytes of erased flash: a multiple of 4, and so the address."""
        self._check_size(len(data))
        if address % _WRITE_ALIGNMENT or len(data) % _WRITE_ALIGNMENT:
            raise ValueError(f"{len(data)} bytes at {address:#x}: not a multiple of four")
        self._command(_WRITE, "write memory (is the chip write-protected?)")
        self._send(_with_xor(address.to_bytes(4, "big")), f"write at {address:#010x}")
        self._send(_with_xor(bytes([len(data) - 1]) + data), f"write at {address:#010x}")

    def erase(self, sectors: Sequence[int], timeout_s: float) -> None:
        """Erase sectors by their numbers, which takes up to `timeout_s`."""
        if _EXTENDED_ERASE in self._commands:
            command = _EXTENDED_ERASE
            fields = [len(sectors) - 1, *sectors]
            request = b"".join(field.to_bytes(2, "big") for field in fields)
        else:
            command = _ERASE
            request = bytes([len(sectors) - 1, *sectors])
        self._command(command, "erase (is the chip write-protected?)")
        self._send(_with_xor(request), f"erase sectors {', '.join(map(str, sectors))}", timeout_s)

    def go(self, address: int) -> None:
        """Start the program whose vector table is at `address`."""
        self._command(_GO, "start a program")
        self._send(_with_xor(address.to_bytes(4, "big")), f"start at {address:#010x}")

    def _synchronize(self) -> None:
        """The first byte tells the baud rate; a NACK comes from a bootloader that knows it."""
        for _ in range(_SYNC_ATTEMPTS):
            self._port.reset_input_buffer()
            self._port.write(bytes([_SYNC]))
            if self._answer(self._timeout_s) in (_ACK, _NACK):
                return
        raise BootloaderError(
            f"no STM32 bootloader answers on {self._name}: set BOOT0 high, press reset, and "
            "connect the pins that the board's page in docs/boards names"
        )

    def _list(self, command: int, what: str) -> bytes:
        """Run a command whose answer is a length, so many bytes plus one, and an ACK."""
        self._command(command, what)
        (length,) = self._receive(1)
        data = self._receive(length + 1)
        self._expect_ack(what, self._timeout_s)
        return data

    def _command(self, command: int, what: str) -> None:
        self._send(bytes([command, command ^ 0xFF]), what)

    def _send(self, data: bytes, what: str, timeout_s: float | None = None) -> None:
        self._port.write(data)
        self._expect_ack(what, timeout_s or self._timeout_s)

    def _expect_ack(self, what: str, timeout_s: float) -> None:
        answer = self._answer(timeout_s)
        if answer == _NACK:
            raise BootloaderError(f"{self._name}: the bootloader refuses to {what}")
        if answer != _ACK:
            said = "nothing" if answer is None else f"{answer:#04x}"
            raise DisconnectedError(
                f"{self._name}: the bootloader answers {said} to: {what}; is the cable loose?"
            )

    def _answer(self, timeout_s: float) -> int | None:
        self._port.timeout = timeout_s
        answer = self._port.read(1)
        return answer[0] if answer else None

    def _receive(self, size: int) -> bytes:
        self._port.timeout = self._timeout_s
        data = self._port.read(size)
        if len(data) != size:
            raise DisconnectedError(
                f"{self._name}: {len(data)} of {size} bytes came; is the cable loose?"
            )
        return data

    def _check_size(self, size: int) -> None:
        if not 1 <= size <= MAX_BLOCK:
            raise ValueError(f"{size} bytes: a block has 1 to {MAX_BLOCK}")


def _with_xor(data: bytes) -> bytes:
    """The data and its checksum."""
    return data + bytes([reduce(xor, data)])
