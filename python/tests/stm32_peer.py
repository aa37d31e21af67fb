"""An STM32 in its system bootloader at the other end of a line (AN3155, device side).

The line is a TCP connection, as of a serial device server: a pseudo-terminal refuses parity.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import reduce
from operator import xor

ACK, NACK = b"\x79", b"\x1f"
BLANK = 0xFF


class Silent(Exception):
    """The chip stops answering."""


class Unplugged(Exception):
    """The adapter's cable is pulled."""


class Stm32Peer:
    """Flash that only a write after an erase fills, as the chip's; other memory is not there.

    `at_command`, if set, is called with each command byte and may raise Silent or Unplugged.
    `stuck` are addresses whose lowest bit stays 0 whatever is written.
    """

    def __init__(
        self, product: int, sectors: list[int], origin: int = 0x08000000, extended: bool = True
    ) -> None:
        self.product = product
        self.origin = origin
        self.sectors = sectors
        self.extended = extended
        self.flash = bytearray(sum(sectors))
        self.protected = False
        self.stuck: set[int] = set()
        self.started_at: int | None = None
        self.at_command: Callable[[int], None] | None = None
        self.commands: list[int] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._line: socket.socket | None = None
        self.path = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stm32Peer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._server, self._line):
            if end is not None and end.fileno() >= 0:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self._thread.join(5)

    def _run(self) -> None:
        try:
            self._line, _ = self._server.accept()
            while self._take(1) != b"\x7f":
                pass
            self._say(ACK)
            while True:
                self._serve()
        except Unplugged:
            assert self._line is not None
            self._line.close()
        except (OSError, Silent):
            return

    def _take(self, size: int) -> bytes:
        assert self._line is not None
        data = b""
        while len(data) < size:
            more = self._line.recv(size - len(data))
            if not more:
                raise Silent
            data += more
        return data

    def _say(self, data: bytes) -> None:
        assert self._line is not None
        self._line.sendall(data)

    def _checked(self, size: int, first: bytes = b"") -> bytes | None:
        """Bytes and their checksum; None, and a NACK, if that is wrong."""
        data = first + self._take(size)
        (check,) = self._take(1)
        if reduce(xor, data) == check:
            return data
        self._say(NACK)
        return None

    def _serve(self) -> None:
        (command,) = self._take(1)
        if command == 0x7F:
            self._say(NACK)
            return
        (complement,) = self._take(1)
        handlers = {
            0x00: self._get,
            0x02: self._id,
            0x11: self._read,
            0x21: self._go,
            0x31: self._write,
        }
        handlers[0x44 if self.extended else 0x43] = self._erase
        if self.at_command is not None:
            self.at_command(command)
        self.commands.append(command)
        if command ^ complement != 0xFF or command not in handlers:
            self._say(NACK)
            return
        if self.protected and command not in (0x00, 0x02):
            self._say(NACK)
            return
        self._say(ACK)
        handlers[command]()

    def _get(self) -> None:
        erase = 0x44 if self.extended else 0x43
        commands = bytes([0x31, 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, erase])
        self._say(bytes([len(commands) - 1]) + commands + ACK)

    def _id(self) -> None:
        self._say(b"\x01" + self.product.to_bytes(2, "big") + ACK)

    def _address(self) -> int | None:
        data = self._checked(4)
        if data is None:
            return None
        at = int.from_bytes(data, "big") - self.origin
        if not 0 <= at < len(self.flash):
            self._say(NACK)
            return None
        self._say(ACK)
        return at

    def _read(self) -> None:
        at = self._address()
        if at is None:
            return
        size, complement = self._take(2)
        if size ^ complement != 0xFF:
            self._say(NACK)
            return
        self._say(ACK + bytes(self.flash[at : at + size + 1]))

    def _write(self) -> None:
        at = self._address()
        if at is None:
            return
        count = self._take(1)
        data = self._checked(count[0] + 1, count)
        if data is None:
            return
        for offset, byte in enumerate(data[1:]):
            place = at + offset
            self.flash[place] &= byte & ~(place + self.origin in self.stuck)
        self._say(ACK)

    def _erase(self) -> None:
        width = 2 if self.extended else 1
        count = self._take(width)
        numbers = self._checked(width * (int.from_bytes(count, "big") + 1), count)
        if numbers is None:
            return
        for at in range(width, len(numbers), width):
            sector = int.from_bytes(numbers[at : at + width], "big")
            if sector >= len(self.sectors):
                self._say(NACK)
                return
            begin = sum(self.sectors[:sector])
            self.flash[begin : begin + self.sectors[sector]] = bytes([BLANK]) * self.sectors[sector]
        self._say(ACK)

    def _go(self) -> None:
        at = self._address()
        if at is not None:
            self.started_at = at + self.origin
