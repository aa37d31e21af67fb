"""Messages as bytes: header, payload and trailer, through `vp_message_*`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from variant_parallelism._native import ffi, lib

ALL_NODES: int = lib.VP_WIRE_ALL_NODES
CHUNK_SIZE: int = lib.VP_WIRE_CHUNK_SIZE
HEADER_SIZE: int = lib.VP_WIRE_HEADER_SIZE
KEY_SIZE: int = lib.VP_WIRE_KEY_SIZE
MAX_FRAME: int = lib.VP_WIRE_MAX_FRAME
MAX_K: int = lib.VP_WIRE_MAX_K
MAX_MESSAGE: int = lib.VP_WIRE_MAX_MESSAGE
MAX_RANGES: int = lib.VP_WIRE_MAX_RANGES
SEQUENCE_BITS: int = lib.VP_WIRE_SEQUENCE_BITS

_REASONS = {
    lib.VP_WIRE_SHORT: "short",
    lib.VP_WIRE_VERSION_BAD: "version",
    lib.VP_WIRE_TYPE_BAD: "type",
    lib.VP_WIRE_DAMAGED: "damaged",
    lib.VP_WIRE_FORGED: "forged",
    lib.VP_WIRE_REPLAYED: "replayed",
    lib.VP_WIRE_SPACE: "space",
    lib.VP_WIRE_VALUE: "value",
}


class MessageType(IntEnum):
    HELLO = lib.VP_HELLO
    DISCOVER = lib.VP_DISCOVER
    INPUT = lib.VP_INPUT
    SACK = lib.VP_SACK
    PREDICTION = lib.VP_PREDICTION
    ERROR = lib.VP_ERROR
    FAULT = lib.VP_FAULT
    TRIGGER = lib.VP_TRIGGER


class WireError(ValueError):
    """What the codec refused. `reason` is the name of the `vp_wire_error`, in lower case."""

    def __init__(self, code: int) -> None:
        self.reason = _REASONS.get(code, "unknown")
        super().__init__(f"wire codec: {self.reason}")


def checked(result: int) -> int:
    """The codec's return value, if it is not an error."""
    if result < 0:
        raise WireError(result)
    return result


@dataclass(frozen=True, slots=True)
class Header:
    """`node` is the sender, or the node that the gateway addresses (ALL_NODES: every one).

    `counter` has 40 bits: the sender's boot counter, then its 16-bit sequence.
    """

    type: MessageType
    fleet: int
    node: int
    counter: int
    authenticated: bool

    @property
    def boot(self) -> int:
        return self.counter >> SEQUENCE_BITS


def seal(
    type: MessageType, fleet: int, node: int, counter: int, payload: bytes, key: bytes | None
) -> bytes:
    """Header, payload and trailer: a tag under the 32-byte `key`, or a CRC-32C without one."""
    header = ffi.new("vp_wire_header *")
    header.type = type
    header.fleet = fleet
    header.node = node
    header.counter = counter
    out = ffi.new(f"uint8_t[{MAX_MESSAGE}]")
    size = lib.vp_message_seal(header, payload, len(payload), _key(key), out, MAX_MESSAGE)
    return bytes(ffi.buffer(out, checked(size)))


def peek(message: bytes) -> Header:
    """The header, nothing verified. WireError if it is not a message of this version."""
    header = ffi.new("vp_wire_header *")
    checked(lib.vp_message_peek(message, len(message), header))
    return Header(
        MessageType(header.type),
        header.fleet,
        header.node,
        header.counter,
        bool(header.authenticated),
    )


def verify(message: bytes, key: bytes | None) -> bytes:
    """The payload of a message whose trailer is right; WireError otherwise."""
    size = checked(lib.vp_message_verify(message, len(message), _key(key)))
    return message[HEADER_SIZE : HEADER_SIZE + size]


def payload(message: bytes, header: Header) -> bytes:
    """The payload of a message that was verified before, and has this header."""
    trailer = lib.VP_WIRE_TAG_SIZE if header.authenticated else lib.VP_WIRE_CRC_SIZE
    return message[HEADER_SIZE : len(message) - trailer]


def _key(key: bytes | None) -> object:
    if key is None:
        return ffi.NULL
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
    return key
