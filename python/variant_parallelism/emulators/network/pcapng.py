"""Recordings of Ethernet frames as pcapng, which Wireshark, tshark and tcpdump open.

pcapng (draft-ietf-opsawg-pcapng) rather than pcap: it names the interface of each frame and has
room for a remark, which Wireshark shows and filters by (`frame.comment contains "drop"`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_SECTION = 0x0A0D0D0A
_INTERFACE = 1
_PACKET = 6
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1
_OPTION_COMMENT = 1
_OPTION_NAME = 2
_OPTION_FLAGS = 2
_OPTION_RESOLUTION = 9
_NANOSECONDS = b"\x09"
_INBOUND = 1
_OUTBOUND = 2


@dataclass(frozen=True)
class Captured:
    """One recorded frame. `inbound`: it came in through the interface; else it went out."""

    interface: str
    inbound: bool
    time_ns: int
    remark: str
    frame: bytes


class Recorder:
    """Writes frames to a file until it is closed."""

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self._clock_ns = clock_ns
        self._file = path.open("wb")
        self._interfaces: dict[str, int] = {}
        self._block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def flush(self) -> None:
        """Bring everything into the file, for whoever reads it meanwhile."""
        self._file.flush()

    def record(self, interface: str, inbound: bool, frame: bytes, remark: str = "") -> None:
        """Add a frame that passes `interface` now."""
        if interface not in self._interfaces:
            self._interfaces[interface] = len(self._interfaces)
            options = _option(_OPTION_NAME, interface.encode())
            options += _option(_OPTION_RESOLUTION, _NANOSECONDS)
            self._block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, 0) + _ended(options))
        now = self._clock_ns()
        fields = (self._interfaces[interface], now >> 32, now & 0xFFFFFFFF, len(frame), len(frame))
        options = _option(_OPTION_COMMENT, remark.encode()) if remark else b""
        flags = _INBOUND if inbound else _OUTBOUND
        options += _option(_OPTION_FLAGS, struct.pack("<I", flags))
        self._block(_PACKET, struct.pack("<IIIII", *fields) + _padded(frame) + _ended(options))

    def _block(self, kind: int, body: bytes) -> None:
        size = struct.pack("<I", 12 + len(body))
        self._file.write(struct.pack("<I", kind) + size + body + size)


class Reader:
    """Reads what a `Recorder` writes, also while it does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._interfaces: list[str] = []
        self._at = 0

    def read(self) -> list[Captured]:
        """The frames since the last call; ValueError if the file ends within a block."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        frames = []
        at = 0
        while at < len(data):
            kind, size = struct.unpack("<II", data[at : at + 8].ljust(8, b"\0"))
            if size < 12 or data[at + size - 4 : at + size] != data[at + 4 : at + 8]:
                raise ValueError(f"{self._path}: damaged or cut short at byte {self._at + at}")
            body = data[at + 8 : at + size - 4]
            if kind == _INTERFACE:
                self._interfaces.append(_options(body[8:])[_OPTION_NAME].decode())
            elif kind == _PACKET:
                frames.append(self._packet(body))
            at += size
        self._at += at
        return frames

    def _packet(self, body: bytes) -> Captured:
        number, high, low, length, _ = struct.unpack_from("<IIIII", body)
        options = _options(body[20 + length + -length % 4 :])
        (flags,) = struct.unpack("<I", options[_OPTION_FLAGS])
        remark = options.get(_OPTION_COMMENT, b"").decode()
        frame = body[20 : 20 + length]
        time_ns = high << 32 | low
        return Captured(self._interfaces[number], flags == _INBOUND, time_ns, remark, frame)


def read_recording(path: Path) -> list[Captured]:
    """All frames of a file that a `Recorder` wrote; ValueError if it is damaged."""
    return Reader(path).read()


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _ended(options: bytes) -> bytes:
    return options + struct.pack("<HH", 0, 0)


def _options(data: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at < len(data):
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return found
