"""Writes into the memory of a running guest over the GDB remote serial protocol."""

from __future__ import annotations

import re
import socket

_WRITE_AT_ONCE = 256
_PACKET = re.compile(rb"\$([^#]*)#[0-9a-f]{2}")


class GdbError(Exception):
    """The stub refused a packet, or is gone."""


def write_memory(endpoint: tuple[str, int], address: int, data: bytes, timeout_s: float) -> None:
    """Stop the guest at the stub `endpoint`, write, let it go on.

    Raises GdbError if a packet is refused, OSError if there is no stub.
    """
    with socket.create_connection(endpoint, timeout=timeout_s) as connection:
        stub = _Stub(connection)
        try:
            for start in range(0, len(data), _WRITE_AT_ONCE):
                part = data[start : start + _WRITE_AT_ONCE]
                reply = stub.ask(f"M{address + start:x},{len(part):x}:{part.hex()}")
                if reply != "OK":
                    raise GdbError(f"{len(part)} bytes at {address + start:#x}: {reply}")
        finally:
            stub.ask("D")


class _Stub:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def ask(self, text: str) -> str:
        """Send a packet and return the reply; words about the stopped guest are skipped."""
        checksum = sum(text.encode()) & 255
        self._connection.sendall(f"${text}#{checksum:02x}".encode())
        while (reply := self._packet())[:1] in ("S", "T"):
            pass
        return reply

    def _packet(self) -> str:
        while (match := _PACKET.search(self._received)) is None:
            part = self._connection.recv(4096)
            if not part:
                raise GdbError("connection closed")
            self._received += part
        self._received = self._received[match.end() :]
        self._connection.sendall(b"+")
        return match.group(1).decode("ascii", "replace")
