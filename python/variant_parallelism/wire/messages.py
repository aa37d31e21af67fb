"""What messages say: one dataclass a type, packed and unpacked by the C codec."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, ClassVar, TypeAlias

from variant_parallelism._native import ffi, lib
from variant_parallelism.wire.codec import (
    MAX_MESSAGE,
    Header,
    MessageType,
    WireError,
    checked,
    peek,
    seal,
    verify,
)


class ResetCause(IntEnum):
    UNKNOWN = lib.VP_RESET_UNKNOWN
    POWER = lib.VP_RESET_POWER
    EXTERNAL = lib.VP_RESET_EXTERNAL
    WATCHDOG = lib.VP_RESET_WATCHDOG
    FAULT = lib.VP_RESET_FAULT


class ErrorCode(IntEnum):
    TOO_LARGE = lib.VP_ERROR_TOO_LARGE
    SHAPE = lib.VP_ERROR_SHAPE
    K = lib.VP_ERROR_K
    SUPERSEDED = lib.VP_ERROR_SUPERSEDED
    MODEL = lib.VP_ERROR_MODEL
    SOURCE = lib.VP_ERROR_SOURCE
    CAPTURE = lib.VP_ERROR_CAPTURE

    @property
    def text(self) -> str:
        return {
            ErrorCode.TOO_LARGE: "the image is larger than the node's buffer",
            ErrorCode.SHAPE: "the node's model takes another number of channels",
            ErrorCode.K: "the node refuses this k",
            ErrorCode.SUPERSEDED: "replaced by a newer request",
            ErrorCode.MODEL: "the model's runtime failed on this image",
            ErrorCode.SOURCE: "the node has no input source",
            ErrorCode.CAPTURE: "the node's input source failed",
        }[self]


@dataclass(frozen=True, slots=True)
class Hello:
    """A node names itself. Sizes in pixels, capacity in bytes."""

    type: ClassVar[MessageType] = MessageType.HELLO
    model_hash: str
    classes: int
    height: int
    width: int
    channels: int
    capacity: int
    firmware: tuple[int, int, int]
    reset_cause: ResetCause
    uptime_ms: int
    damaged: int
    rejected: int
    board: str
    multicast: bool = False
    """Whether it listens to its multicast group."""
    sensor: bool = False
    """Whether it has an input source of its own."""


@dataclass(frozen=True, slots=True)
class Discover:
    """The gateway asks for a HELLO."""

    type: ClassVar[MessageType] = MessageType.DISCOVER


@dataclass(frozen=True, slots=True)
class Input:
    """One chunk of an image of height x width x channels bytes; no data: only asks for a report."""

    type: ClassVar[MessageType] = MessageType.INPUT
    request: int
    k: int
    report: bool
    height: int
    width: int
    channels: int
    chunk: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Trigger:
    """The gateway asks for an answer about an input that the node captures itself.

    `report`: how far it is, or why there is no answer, is to be told at once.
    """

    type: ClassVar[MessageType] = MessageType.TRIGGER
    request: int
    k: int
    report: bool


@dataclass(frozen=True, slots=True)
class Sack:
    """Which chunks a node has: their number, and the missing ones as (first, count), rising."""

    type: ClassVar[MessageType] = MessageType.SACK
    request: int
    received: int
    missing: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The top-k of an image: (class, int8 score), best first. `time_ms` is the node's own time."""

    type: ClassVar[MessageType] = MessageType.PREDICTION
    request: int
    time_ms: float
    entries: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class NodeError:
    """Why an image gets no prediction."""

    type: ClassVar[MessageType] = MessageType.ERROR
    request: int
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Fault:
    """What the processor held when it faulted, before the reset that ended it: registers as the
    Armv7-M Architecture Reference Manual names them.

    `status` is CFSR, `hard_status` HFSR, `address` the one that the fault was about (BFAR or
    MMFAR), 0 if none is known. Armv6-M has none of the three: 0.
    """

    type: ClassVar[MessageType] = MessageType.FAULT
    pc: int
    lr: int
    psr: int
    status: int
    hard_status: int
    address: int


Body: TypeAlias = Hello | Discover | Input | Trigger | Sack | Prediction | NodeError | Fault


def pack(body: Body, classes: int | None = None) -> bytes:
    """The payload; WireError if a field is out of its range.

    A Prediction needs the number of classes.
    """
    if isinstance(body, Discover):
        return b""
    try:
        struct, pack_function, extra = _to_c(body, classes)
    except (OverflowError, IndexError):
        raise WireError(lib.VP_WIRE_VALUE) from None
    out = ffi.new(f"uint8_t[{MAX_MESSAGE}]")
    size = checked(pack_function(struct, *extra, out, MAX_MESSAGE))
    return bytes(ffi.buffer(out, size))


def _to_c(body: Body, classes: int | None) -> Any:
    """The C struct, its pack function and that function's further arguments."""
    if isinstance(body, Hello):
        return _hello_to_c(body), lib.vp_hello_pack, ()
    if isinstance(body, Input):
        c = ffi.new("vp_input *")
        c.request, c.k = body.request, body.k
        c.flags = lib.VP_INPUT_REPORT if body.report else 0
        c.height, c.width, c.channels = body.height, body.width, body.channels
        c.chunk, c.data_size = body.chunk, len(body.data)
        c.data[0 : len(body.data)] = body.data
        return c, lib.vp_input_pack, ()
    if isinstance(body, Trigger):
        c = ffi.new("vp_trigger *")
        c.request, c.k = body.request, body.k
        c.flags = lib.VP_TRIGGER_REPORT if body.report else 0
        return c, lib.vp_trigger_pack, ()
    if isinstance(body, Sack):
        c = ffi.new("vp_sack *")
        c.request, c.received = body.request, body.received
        c.range_count = len(body.missing)
        for at, (first, count) in enumerate(body.missing):
            c.ranges[at].first, c.ranges[at].count = first, count
        return c, lib.vp_sack_pack, ()
    if isinstance(body, Prediction):
        c = ffi.new("vp_prediction *")
        c.request = body.request
        c.time_quarter_ms = min(65535, round(body.time_ms * 4))
        c.k = len(body.entries)
        for at, (index, score) in enumerate(body.entries):
            c.entries[at].index, c.entries[at].score = index, score
        return c, lib.vp_prediction_pack, (_needed(classes),)
    if isinstance(body, Fault):
        return ffi.new("vp_fault *", asdict(body)), lib.vp_fault_pack, ()
    assert isinstance(body, NodeError)
    c = ffi.new("vp_error *")
    c.request, c.code = body.request, body.code
    return c, lib.vp_error_pack, ()


def _hello_to_c(hello: Hello) -> Any:
    c = ffi.new("vp_hello *")
    c.model_hash = bytes.fromhex(hello.model_hash)
    c.classes = hello.classes
    c.height, c.width, c.channels = hello.height, hello.width, hello.channels
    c.capacity = hello.capacity
    c.firmware = list(hello.firmware)
    c.reset_cause = hello.reset_cause
    c.uptime_ms = hello.uptime_ms
    c.damaged, c.rejected = hello.damaged, hello.rejected
    c.board = hello.board.encode("ascii")
    c.flags = lib.VP_HELLO_MULTICAST * hello.multicast | lib.VP_HELLO_SENSOR * hello.sensor
    return c


def unpack(type: MessageType, payload: bytes, classes: int | None = None) -> Body:
    """The body of a verified payload; WireError if it is malformed.

    A Prediction needs the number of classes, which its node's HELLO gave.
    """
    size = len(payload)
    if type is MessageType.DISCOVER:
        if payload:
            raise WireError(lib.VP_WIRE_SHORT)
        return Discover()
    if type is MessageType.HELLO:
        return _hello_from(payload)
    if type is MessageType.INPUT:
        c = ffi.new("vp_input *")
        checked(lib.vp_input_unpack(payload, size, c))
        return Input(
            c.request,
            c.k,
            bool(c.flags & lib.VP_INPUT_REPORT),
            c.height,
            c.width,
            c.channels,
            c.chunk,
            bytes(ffi.buffer(c.data, c.data_size)),
        )
    if type is MessageType.SACK:
        c = ffi.new("vp_sack *")
        checked(lib.vp_sack_unpack(payload, size, c))
        ranges = tuple((c.ranges[i].first, c.ranges[i].count) for i in range(c.range_count))
        return Sack(c.request, c.received, ranges)
    if type is MessageType.PREDICTION:
        c = ffi.new("vp_prediction *")
        checked(lib.vp_prediction_unpack(payload, size, _needed(classes), c))
        entries = tuple((c.entries[i].index, c.entries[i].score) for i in range(c.k))
        return Prediction(c.request, c.time_quarter_ms / 4, entries)
    if type is MessageType.FAULT:
        c = ffi.new("vp_fault *")
        checked(lib.vp_fault_unpack(payload, size, c))
        return Fault(c.pc, c.lr, c.psr, c.status, c.hard_status, c.address)
    if type is MessageType.TRIGGER:
        c = ffi.new("vp_trigger *")
        checked(lib.vp_trigger_unpack(payload, size, c))
        return Trigger(c.request, c.k, bool(c.flags & lib.VP_TRIGGER_REPORT))
    c = ffi.new("vp_error *")
    checked(lib.vp_error_unpack(payload, size, c))
    return NodeError(c.request, ErrorCode(c.code))


def _hello_from(payload: bytes) -> Hello:
    c = ffi.new("vp_hello *")
    checked(lib.vp_hello_unpack(payload, len(payload), c))
    board = bytes(ffi.buffer(c.board)).split(b"\0", 1)[0].decode("ascii", "replace")
    return Hello(
        bytes(ffi.buffer(c.model_hash)).hex(),
        c.classes,
        c.height,
        c.width,
        c.channels,
        c.capacity,
        (c.firmware[0], c.firmware[1], c.firmware[2]),
        ResetCause(c.reset_cause),
        c.uptime_ms,
        c.damaged,
        c.rejected,
        board,
        bool(c.flags & lib.VP_HELLO_MULTICAST),
        bool(c.flags & lib.VP_HELLO_SENSOR),
    )


def encode(
    body: Body,
    *,
    fleet: int,
    node: int,
    counter: int,
    key: bytes | None,
    classes: int | None = None,
) -> bytes:
    """A whole message."""
    return seal(body.type, fleet, node, counter, pack(body, classes), key)


def decode(message: bytes, key: bytes | None, classes: int | None = None) -> tuple[Header, Body]:
    """Verify and read a whole message; WireError says what is wrong with it."""
    header = peek(message)
    return header, unpack(header.type, verify(message, key), classes)


def _needed(classes: int | None) -> int:
    if classes is None:
        raise ValueError("a Prediction needs the number of classes")
    return classes
