"""Frames on a serial line, and the window that refuses replays."""

from __future__ import annotations

from typing import NamedTuple

from variant_parallelism._native import ffi, lib
from variant_parallelism.wire.codec import MAX_FRAME, MAX_MESSAGE, checked


def frame(message: bytes) -> bytes:
    """COBS and the delimiter: what goes on a serial line."""
    out = ffi.new(f"uint8_t[{MAX_FRAME}]")
    size = checked(lib.vp_cobs_encode(message, len(message), out, MAX_FRAME - 1))
    return bytes(ffi.buffer(out, size)) + b"\0"


class Frame(NamedTuple):
    """A message taken from a stream, and the bytes that it took there."""

    message: bytes
    wire_bytes: int


class Deframer:
    """Finds messages in a byte stream; what is no frame is counted and skipped."""

    def __init__(self) -> None:
        self.damaged = 0
        self._state = ffi.new("vp_deframer *")
        self._message = ffi.new(f"uint8_t[{MAX_MESSAGE}]")

    def push(self, data: bytes) -> list[Frame]:
        """The messages that end in `data`."""
        frames = []
        for byte in data:
            size = lib.vp_deframer_push(self._state, byte)
            if size == 0:
                continue
            decoded = -1
            if size > 0:
                decoded = lib.vp_cobs_decode(self._state.frame, size, self._message, MAX_MESSAGE)
            if decoded < 0:
                self.damaged += 1
            else:
                frames.append(Frame(bytes(ffi.buffer(self._message, decoded)), size + 1))
        return frames


class ReplayWindow:
    """Accepts each counter of one sender once (RFC 4303, section 3.4.3)."""

    def __init__(self, highest: int | None = None) -> None:
        """With `highest`, nothing up to it is accepted any more."""
        self._state = ffi.new("vp_replay *")
        if highest is not None:
            self._state.highest = highest
            self._state.seen = 2**64 - 1

    @property
    def highest(self) -> int:
        return int(self._state.highest)

    def accept(self, counter: int) -> bool:
        return bool(lib.vp_replay_accept(self._state, counter) == lib.VP_WIRE_OK)
