"""The Python side of the wire codec: shared vectors, round trips, bytes that mean nothing."""

from __future__ import annotations

import hashlib
import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from variant_parallelism import wire
from variant_parallelism.wire.messages import pack

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "firmware/tests/vectors/wire.json").read_text()
)
KEY = bytes(range(32))

u8 = st.integers(0, 255)
u16 = st.integers(0, 65535)
u32 = st.integers(0, 2**32 - 1)
counters = st.integers(0, 2**40 - 1)
keys = st.none() | st.binary(min_size=32, max_size=32)


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


def key_of(case: dict[str, Any]) -> bytes | None:
    return None if case["key"] is None else bytes.fromhex(case["key"])


def body_of(kind: wire.MessageType, fields: dict[str, Any]) -> wire.Body:
    """A vector's fields as the dataclass that they describe."""
    if kind is wire.MessageType.HELLO:
        given = {name: value for name, value in fields.items() if name != "flags"}
        given |= {"sensor": bool(fields["flags"] & 2)}
        given |= {"reset_cause": wire.ResetCause(fields["reset_cause"])}
        given |= {"firmware": tuple(fields["firmware"]), "multicast": bool(fields["flags"] & 1)}
        return wire.Hello(**given)
    if kind is wire.MessageType.DISCOVER:
        return wire.Discover()
    if kind is wire.MessageType.INPUT:
        given = {name: value for name, value in fields.items() if name != "flags"}
        data = bytes.fromhex(fields["data"])
        return wire.Input(**given | {"report": bool(fields["flags"]), "data": data})
    if kind is wire.MessageType.TRIGGER:
        return wire.Trigger(fields["request"], fields["k"], bool(fields["flags"]))
    if kind is wire.MessageType.SACK:
        ranges = tuple((first, count) for first, count in fields["ranges"])
        return wire.Sack(fields["request"], fields["received"], ranges)
    if kind is wire.MessageType.PREDICTION:
        entries = tuple((index, score) for index, score in fields["entries"])
        return wire.Prediction(fields["request"], fields["time_quarter_ms"] / 4, entries)
    if kind is wire.MessageType.FAULT:
        return wire.Fault(**fields)
    return wire.NodeError(fields["request"], wire.ErrorCode(fields["code"]))


@pytest.mark.parametrize("case", named(VECTORS["messages"]))
def test_vector_message(case: dict[str, Any]) -> None:
    kind = wire.MessageType(case["type"])
    body = body_of(kind, case["fields"])
    message = bytes.fromhex(case["message"])
    encoded = wire.encode(
        body,
        fleet=case["fleet"],
        node=case["node"],
        counter=case["counter"],
        key=key_of(case),
        classes=case["classes"],
    )
    assert encoded == message
    header, decoded = wire.decode(message, key_of(case), case["classes"])
    assert decoded == body
    assert (header.type, header.fleet, header.node) == (kind, case["fleet"], case["node"])
    assert (header.counter, header.boot) == (case["counter"], case["counter"] >> 16)
    assert header.authenticated == (case["key"] is not None)
    assert wire.frame(message) == bytes.fromhex(case["frame"]).rstrip(b"\0") + b"\0"


@pytest.mark.parametrize("case", named(VECTORS["bad_messages"]))
def test_vector_bad_message(case: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError) as error:
        wire.verify(bytes.fromhex(case["message"]), key_of(case))
    assert error.value.reason == case["error"].lower().removesuffix("_bad")


@pytest.mark.parametrize("case", named(VECTORS["bad_payloads"]))
def test_vector_bad_payload(case: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError) as error:
        payload = bytes.fromhex(case["payload"])
        wire.unpack(wire.MessageType(case["type"]), payload, case["classes"])
    assert error.value.reason == case["error"].lower()


@pytest.mark.parametrize("case", named(VECTORS["streams"]))
def test_vector_stream(case: dict[str, Any]) -> None:
    deframer = wire.Deframer()
    found = deframer.push(bytes.fromhex(case["stream"]))
    assert len(found) + deframer.damaged == len(case["frames"]) + case["overlong"]
    frames = [bytes.fromhex(text) for text in case["frames"]]
    assert [item.wire_bytes for item in found] == [
        len(frame) + 1 for frame in frames if cobs_size(frame) in range(wire.MAX_MESSAGE + 1)
    ]


def cobs_size(frame: bytes) -> int:
    """Bytes that a frame stands for; -1 if it is not COBS."""
    at = size = 0
    while at < len(frame):
        code = frame[at]
        at += code
        size += code - 1 if at >= len(frame) or code == 255 else code
    return size if at == len(frame) else -1


def test_vector_replay() -> None:
    window = wire.ReplayWindow()
    accepted = [window.accept(step["counter"]) for step in VECTORS["replay"]]
    assert accepted == [step["accepted"] for step in VECTORS["replay"]]


@pytest.mark.parametrize("case", named(VECTORS["provision"]))
def test_vector_provision(case: dict[str, Any]) -> None:
    fields = dict(case["fields"])
    keyed = fields.pop("authenticated")
    for name in ("node_key", "group_key"):
        fields[name] = bytes.fromhex(fields[name]) if keyed else None
    fields["mac"] = bytes.fromhex(fields["mac"])
    for name in ("address", "netmask", "router", "gateway", "group"):
        fields[name] = IPv4Address(fields[name])
    provision = wire.Provision(**fields)
    block = bytes.fromhex(case["block"])
    assert provision.pack() == block
    assert wire.Provision.unpack(block) == provision


@pytest.mark.parametrize("case", named(VECTORS["bad_blocks"]))
def test_vector_bad_block(case: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError) as error:
        wire.Provision.unpack(bytes.fromhex(case["block"]))
    assert error.value.reason == case["error"].lower()


def ranges(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    edges = sorted(draw(st.sets(u16, max_size=16)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return tuple((first, last - first) for first, last in pairs)


@st.composite
def bodies(draw: st.DrawFn, classes: int) -> wire.Body:
    kind = draw(st.sampled_from(list(wire.MessageType)))
    if kind is wire.MessageType.HELLO:
        side = st.integers(1, 65535)
        return wire.Hello(
            draw(st.binary(min_size=8, max_size=8)).hex(),
            classes,
            draw(side),
            draw(side),
            draw(st.integers(1, 255)),
            draw(u32),
            (draw(u8), draw(u8), draw(u8)),
            draw(st.sampled_from(list(wire.ResetCause))),
            draw(u32),
            draw(u16),
            draw(u16),
            draw(st.text("abcxyz0189-_", max_size=16)),
            draw(st.booleans()),
            draw(st.booleans()),
        )
    if kind is wire.MessageType.DISCOVER:
        return wire.Discover()
    if kind is wire.MessageType.INPUT:
        data = draw(st.binary(max_size=wire.CHUNK_SIZE))
        shape = (draw(u16), draw(u16), draw(u8))
        return wire.Input(draw(u16), draw(u8), draw(st.booleans()), *shape, draw(u16), data)
    if kind is wire.MessageType.SACK:
        return wire.Sack(draw(u16), draw(u16), ranges(draw))
    if kind is wire.MessageType.PREDICTION:
        index = st.integers(0, classes - 1)
        scores = st.dictionaries(
            index, st.integers(-128, 127), min_size=1, max_size=min(classes, wire.MAX_K)
        )
        entries = sorted(draw(scores).items(), key=lambda item: (-item[1], item[0]))
        return wire.Prediction(draw(u16), draw(u16) / 4, tuple(entries))
    if kind is wire.MessageType.TRIGGER:
        return wire.Trigger(draw(u16), draw(u8), draw(st.booleans()))
    if kind is wire.MessageType.FAULT:
        return wire.Fault(*(draw(u32) for _ in range(6)))
    return wire.NodeError(draw(u16), draw(st.sampled_from(list(wire.ErrorCode))))


@settings(deadline=None)
@given(st.data(), st.sampled_from([2, 10, 256, 257, 4000]), u8, u16, counters, keys)
def test_round_trip(
    data: st.DataObject, classes: int, fleet: int, node: int, counter: int, key: bytes | None
) -> None:
    body = data.draw(bodies(classes))
    message = wire.encode(body, fleet=fleet, node=node, counter=counter, key=key, classes=classes)
    header, decoded = wire.decode(message, key, classes)
    assert decoded == body
    assert header == wire.Header(body.type, fleet, node, counter, key is not None)
    if key is not None:
        assert message[-8:] == hashlib.blake2s(message[:-8], key=key, digest_size=8).digest()


@settings(deadline=None)
@given(st.data(), keys)
def test_one_flipped_bit_is_noticed(data: st.DataObject, key: bytes | None) -> None:
    body = data.draw(bodies(10))
    message = bytearray(wire.encode(body, fleet=1, node=2, counter=3, key=key, classes=10))
    bit = data.draw(st.integers(0, 8 * len(message) - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(wire.WireError):
        wire.decode(bytes(message), key, 10)


@settings(deadline=None)
@given(st.binary(max_size=600), keys, st.integers(1, 65535))
def test_garbage_is_a_wire_error_and_nothing_else(
    data: bytes, key: bytes | None, classes: int
) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(data, key, classes)


@settings(deadline=None)
@given(st.sampled_from(list(wire.MessageType)), st.binary(max_size=600), st.integers(1, 65535))
def test_any_payload_is_read_or_refused(
    kind: wire.MessageType, payload: bytes, classes: int
) -> None:
    try:
        body = wire.unpack(kind, payload, classes)
    except wire.WireError:
        return
    again = wire.unpack(kind, pack(body, classes), classes)
    assert again == body


@settings(deadline=None)
@given(st.lists(st.binary(max_size=wire.MAX_MESSAGE), max_size=8), st.data())
def test_frames_survive_any_split_of_the_stream(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(wire.frame(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    deframer = wire.Deframer()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += deframer.push(stream[start:end])
    assert [item.message for item in found] == messages
    assert sum(item.wire_bytes for item in found) == len(stream)
    assert deframer.damaged == 0
    assert all(item.wire_bytes <= wire.MAX_FRAME for item in found)


@settings(deadline=None)
@given(st.binary(max_size=2000), st.binary(min_size=1, max_size=wire.MAX_MESSAGE))
@example(b"\xff" * 2000, b"\0\0")
def test_a_stream_resyncs_after_garbage(garbage: bytes, message: bytes) -> None:
    deframer = wire.Deframer()
    deframer.push(garbage + b"\0")
    assert [item.message for item in deframer.push(wire.frame(message))] == [message]


@settings(deadline=None)
@given(st.lists(counters.map(lambda value: value % 300), max_size=200), st.booleans())
def test_replay_window_accepts_each_counter_once(steps: list[int], restored: bool) -> None:
    window = wire.ReplayWindow(100 if restored else None)
    highest = 100 if restored else 0
    accepted: set[int] = set(range(101)) if restored else set()
    for counter in steps:
        fresh = counter not in accepted and counter > highest - 64
        assert window.accept(counter) == fresh
        if fresh:
            accepted.add(counter)
            highest = max(highest, counter)
    assert window.highest == highest


def test_an_answer_of_two_entries_has_at_most_27_bytes_on_a_serial_line() -> None:
    for counter in (0, 2**40 - 1):
        body = wire.Prediction(65535, 16383.75, ((255, 127), (254, -128)))
        message = wire.encode(body, fleet=255, node=65534, counter=counter, key=KEY, classes=256)
        assert len(message) == 25
        assert len(wire.frame(message)) == 27


@pytest.mark.parametrize(
    "body",
    [
        wire.Sack(70000, 0, ()),
        wire.Sack(0, 0, tuple((2 * index, 1) for index in range(9))),
        wire.Prediction(0, 0.0, ((10, 0),)),
        wire.Prediction(0, 0.0, ()),
        wire.Prediction(0, 0.0, tuple((index, 0) for index in range(17))),
        wire.Input(0, 300, False, 1, 1, 1, 0, b""),
        wire.Input(0, 1, False, 1, 1, 1, 0, bytes(513)),
        wire.Fault(2**32, 0, 0, 0, 0, 0),
        wire.Trigger(65536, 1, False),
    ],
    ids=lambda body: type(body).__name__,
)
def test_impossible_fields_are_refused(body: wire.Body) -> None:
    with pytest.raises(wire.WireError) as error:
        pack(body, 10)
    assert error.value.reason == "value"


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        wire.encode(wire.Discover(), fleet=1, node=1, counter=1, key=bytes(31))
