"""Writes wire.json: test vectors of the wire protocol, from the Python statement of it.

Run it after a change of the protocol: `python firmware/tests/vectors/make_wire.py`. The C tests
read the vectors as tables that wire_header.py renders from the same file.
"""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

from wire_blocks import bad_blocks, provision
from wire_reference import (
    CHUNK,
    DISCOVER,
    ERROR,
    FAULT,
    HELLO,
    INPUT,
    PREDICTION,
    SACK,
    TRIGGER,
    cobs,
    crc32c,
    flip,
    pack,
    seal,
    tag,
)

random.seed(20210838)

KEY = bytes(range(1, 33))
OTHER_KEY = bytes(range(101, 133))


def message(
    name: str,
    kind: int,
    fields: dict[str, Any],
    *,
    node: int = 7,
    counter: int = (3 << 16) + 42,
    classes: int = 10,
) -> list[dict[str, Any]]:
    """The message without and with a key."""
    out = []
    payload = pack(kind, fields, classes)
    for key in (None, KEY):
        sealed = seal(kind, 5, node, counter, payload, key)
        out.append(
            {
                "name": f"{name} {'tagged' if key else 'plain'}",
                "type": kind,
                "fleet": 5,
                "node": node,
                "counter": counter,
                "key": key.hex() if key else None,
                "classes": classes,
                "fields": fields,
                "payload": payload.hex(),
                "message": sealed.hex(),
                "frame": (cobs(sealed) + b"\0").hex(),
            }
        )
    return out


def hello(**changes: Any) -> dict[str, Any]:
    fields = {
        "model_hash": "00112233445566ff",
        "classes": 10,
        "height": 96,
        "width": 128,
        "channels": 3,
        "capacity": 150528,
        "firmware": [1, 2, 3],
        "reset_cause": 3,
        "uptime_ms": 4000000001,
        "damaged": 258,
        "rejected": 65535,
        "board": "mps2-an386",
        "flags": 0,
    }
    return {**fields, **changes}


def fault(**changes: int) -> dict[str, Any]:
    fields = {
        "pc": 0x08012345,
        "lr": 0xFFFFFFF9,
        "psr": 0x81000003,
        "status": 0x00008200,
        "hard_status": 0x40000000,
        "address": 0xE0001004,
    }
    return {**fields, **changes}


def trigger(**changes: int) -> dict[str, Any]:
    return {"request": 40001, "k": 2, "flags": 0, **changes}


def chunk(number: int, data: bytes, **changes: Any) -> dict[str, Any]:
    fields = {
        "request": 40000,
        "k": 2,
        "flags": 1,
        "height": 32,
        "width": 48,
        "channels": 3,
        "chunk": number,
        "data": data.hex(),
    }
    return {**fields, **changes}


def messages() -> list[dict[str, Any]]:
    noise = random.randbytes(CHUNK)
    four_and_a_half = [[4, -3], [9, -3], [0, -77], [2, -128]]
    widest = [[i * 257, 127 - i] for i in range(16)]
    return [
        *message("hello", HELLO, hello()),
        *message("hello, long board name", HELLO, hello(board="sixteen-letters!", classes=1000)),
        *message("hello of a node in a group", HELLO, hello(flags=1)),
        *message("discover all", DISCOVER, {}, node=65535),
        *message("discover first counter", DISCOVER, {}, counter=0),
        *message("discover last counter", DISCOVER, {}, counter=(1 << 40) - 1),
        *message("input full chunk", INPUT, chunk(3, noise), node=65535),
        *message("input of zeros", INPUT, chunk(0, bytes(CHUNK), flags=0), node=65535),
        *message("input of ones", INPUT, chunk(0, b"\xff" * CHUNK), node=65535),
        *message("input last chunk", INPUT, chunk(8, b"\x00\x01\x00\xfe")),
        *message("input report only", INPUT, chunk(65535, b"")),
        *message("input with values that the node refuses", INPUT, chunk(0, b"x", k=0, height=0)),
        *message("sack complete", SACK, {"request": 40000, "received": 9, "ranges": []}),
        *message("sack one", SACK, {"request": 1, "received": 0, "ranges": [[0, 65535]]}),
        *message(
            "sack eight",
            SACK,
            {"request": 65535, "received": 292, "ranges": [[i * 5, 4] for i in range(8)]},
        ),
        *message(
            "prediction k=1",
            PREDICTION,
            {"request": 0, "time_quarter_ms": 0, "entries": [[9, 127]]},
        ),
        *message(
            "prediction k=2, the answer of 25 bytes",
            PREDICTION,
            {"request": 40000, "time_quarter_ms": 65535, "entries": [[3, 100], [1, 28]]},
        ),
        *message(
            "prediction with ties",
            PREDICTION,
            {"request": 2, "time_quarter_ms": 12, "entries": four_and_a_half},
        ),
        *message(
            "prediction of 256 classes",
            PREDICTION,
            {"request": 2, "time_quarter_ms": 12, "entries": [[255, 0], [254, -1]]},
            classes=256,
        ),
        *message(
            "prediction of 4000 classes, k=16",
            PREDICTION,
            {"request": 2, "time_quarter_ms": 12, "entries": widest},
            classes=4000,
        ),
        *message("error", ERROR, {"request": 513, "code": 4}),
        *message("fault", FAULT, fault()),
        *message("fault of Armv6-M", FAULT, fault(status=0, hard_status=0, address=0)),
        *message("hello of a node with a source", HELLO, hello(flags=2)),
        *message("hello of a node with a source, in a group", HELLO, hello(flags=3)),
        *message("trigger", TRIGGER, trigger(), node=65535),
        *message("trigger asked again", TRIGGER, trigger(flags=1)),
        *message("trigger with a k that the node refuses", TRIGGER, trigger(k=255)),
        *message("error without a source", ERROR, {"request": 513, "code": 6}),
        *message("error of a source", ERROR, {"request": 513, "code": 7}),
    ]


def retype(kind: int, version: int, data: bytes) -> bytes:
    body = bytes([kind | version << 5]) + data[1:-4]
    return body + struct.pack("<I", crc32c(body))


def bad_messages() -> list[dict[str, Any]]:
    payload = pack(ERROR, {"request": 1, "code": 1}, 10)
    plain = seal(ERROR, 5, 7, 99, payload, None)
    tagged = seal(ERROR, 5, 7, 99, payload, KEY)
    longest = seal(INPUT, 5, 7, 99, bytes(540 - 9 - 4), None)
    assert len(longest) == 540
    cases = [
        ("empty", b"", None, "SHORT"),
        ("one byte", plain[:1], None, "SHORT"),
        ("header alone", plain[:9], None, "SHORT"),
        ("no room for a CRC", plain[:12], None, "SHORT"),
        ("no room for a tag", tagged[:16], KEY, "SHORT"),
        ("one byte too long", longest + b"\0", None, "SHORT"),
        ("version 0", retype(ERROR, 0, plain), None, "VERSION_BAD"),
        ("version 2", retype(ERROR, 2, plain), None, "VERSION_BAD"),
        ("version 7", retype(ERROR, 7, plain), None, "VERSION_BAD"),
        ("type 0", retype(0, 1, plain), None, "TYPE_BAD"),
        ("type 9", retype(9, 1, plain), None, "TYPE_BAD"),
        ("type 15", retype(15, 1, plain), None, "TYPE_BAD"),
        ("last byte missing", plain[:-1], None, "DAMAGED"),
        ("bit 8 of a plain one flipped", flip(plain, 8), None, "DAMAGED"),
        ("last bit of a plain one flipped", flip(plain, 8 * len(plain) - 1), None, "DAMAGED"),
        ("plain where a key is set", plain, KEY, "FORGED"),
        ("tagged where no key is set", tagged, None, "FORGED"),
        ("tagged under another key", tagged, OTHER_KEY, "FORGED"),
        ("last byte of a tagged one missing", tagged[:-1], KEY, "FORGED"),
        ("node of a tagged one flipped", flip(tagged, 16), KEY, "FORGED"),
        ("counter of a tagged one flipped", flip(tagged, 71), KEY, "FORGED"),
        ("payload of a tagged one flipped", flip(tagged, 72), KEY, "FORGED"),
        ("first bit of the tag flipped", flip(tagged, 8 * (len(tagged) - 8)), KEY, "FORGED"),
        ("last bit of the tag flipped", flip(tagged, 8 * len(tagged) - 1), KEY, "FORGED"),
    ]
    return [
        {"name": name, "message": data.hex(), "key": key.hex() if key else None, "error": error}
        for name, data, key, error in cases
    ]


def bad_payloads() -> list[dict[str, Any]]:
    good_hello = pack(HELLO, hello(), 10)
    good_input = pack(INPUT, chunk(0, b""), 10)

    def entries(*pairs: tuple[int, int], classes: int = 10) -> bytes:
        fields = {"request": 1, "time_quarter_ms": 1, "entries": pairs}
        return pack(PREDICTION, fields, classes)

    def ranges(*pairs: tuple[int, int]) -> bytes:
        return pack(SACK, {"request": 1, "received": 1, "ranges": pairs}, 10)

    cases = [
        ("hello short", HELLO, good_hello[:-1], 10, "SHORT"),
        ("hello long", HELLO, good_hello + b"\0", 10, "SHORT"),
        ("hello without classes", HELLO, pack(HELLO, hello(classes=0), 10), 10, "VALUE"),
        ("hello without rows", HELLO, pack(HELLO, hello(height=0), 10), 10, "VALUE"),
        ("hello without columns", HELLO, pack(HELLO, hello(width=0), 10), 10, "VALUE"),
        ("hello without channels", HELLO, pack(HELLO, hello(channels=0), 10), 10, "VALUE"),
        ("hello reset cause", HELLO, pack(HELLO, hello(reset_cause=5), 10), 10, "VALUE"),
        ("hello flags", HELLO, pack(HELLO, hello(flags=4), 10), 10, "VALUE"),
        ("input short", INPUT, good_input[:-1], 10, "SHORT"),
        ("input long", INPUT, good_input + bytes(513), 10, "SHORT"),
        ("input flags", INPUT, pack(INPUT, chunk(0, b"", flags=2), 10), 10, "VALUE"),
        ("sack short", SACK, ranges()[:-1], 10, "SHORT"),
        ("sack half a range", SACK, ranges((1, 1))[:-2], 10, "SHORT"),
        ("sack nine ranges", SACK, ranges(*((2 * i, 1) for i in range(9))), 10, "SHORT"),
        ("sack empty range", SACK, ranges((1, 0)), 10, "VALUE"),
        ("sack falling", SACK, ranges((8, 1), (2, 1)), 10, "VALUE"),
        ("sack overlapping", SACK, ranges((2, 4), (5, 1)), 10, "VALUE"),
        ("sack beyond the last chunk", SACK, ranges((65535, 2)), 10, "VALUE"),
        ("prediction short", PREDICTION, entries()[:-1], 10, "SHORT"),
        ("prediction half an entry", PREDICTION, entries((1, 1))[:-1], 10, "SHORT"),
        ("prediction of narrow entries", PREDICTION, entries((1, 1)), 257, "SHORT"),
        (
            "prediction of 17 entries",
            PREDICTION,
            entries(*((i, 0) for i in range(17))),
            20,
            "SHORT",
        ),
        ("prediction empty", PREDICTION, entries(), 10, "VALUE"),
        ("prediction class", PREDICTION, entries((10, 1)), 10, "VALUE"),
        ("prediction wide class", PREDICTION, entries((257, 1), classes=999), 257, "VALUE"),
        ("prediction rising", PREDICTION, entries((1, 1), (2, 2)), 10, "VALUE"),
        ("prediction tie, falling class", PREDICTION, entries((2, 1), (1, 1)), 10, "VALUE"),
        ("prediction twice one class", PREDICTION, entries((1, 1), (1, 0)), 10, "VALUE"),
        ("prediction k over classes", PREDICTION, entries((0, 1), (1, 0)), 1, "VALUE"),
        ("error short", ERROR, b"\1\1", 10, "SHORT"),
        ("error long", ERROR, b"\1\1\1\1", 10, "SHORT"),
        ("error code 0", ERROR, b"\1\1\0", 10, "VALUE"),
        ("error code 8", ERROR, b"\1\1\10", 10, "VALUE"),
        ("fault short", FAULT, bytes(23), 10, "SHORT"),
        ("fault long", FAULT, bytes(25), 10, "SHORT"),
        ("trigger short", TRIGGER, bytes(3), 10, "SHORT"),
        ("trigger long", TRIGGER, bytes(5), 10, "SHORT"),
        ("trigger flags", TRIGGER, pack(TRIGGER, trigger(flags=2), 10), 10, "VALUE"),
    ]
    return [
        {"name": name, "type": kind, "payload": data.hex(), "classes": classes, "error": error}
        for name, kind, data, classes, error in cases
    ]


def streams(sealed: list[bytes]) -> list[dict[str, Any]]:
    """Byte streams and the frames (without delimiter) that a deframer finds in them."""
    a, b, c = (cobs(data) for data in sealed[:3])
    longest = bytes([1]) * 543
    zero = b"\0"
    cases: list[tuple[str, bytes, list[bytes], int]] = [
        ("two frames", a + zero + b + zero, [a, b], 0),
        ("empty frames between", zero + zero + a + zero + zero + b + zero + zero, [a, b], 0),
        ("garbage before", b"\x99\x98\x97" + zero + a + zero, [b"\x99\x98\x97", a], 0),
        ("cut frame runs into the next", a[:5] + b + zero + c + zero, [a[:5] + b, c], 0),
        ("unfinished", a + zero + b, [a], 0),
        ("longest frame", longest + zero + a + zero, [longest, a], 0),
        ("one byte too long", longest + b"\1" + zero + a + zero, [a], 1),
        ("far too long, twice", (b"\x55" * 3000 + zero) * 2 + a + zero, [a], 2),
    ]
    return [
        {"name": name, "stream": data.hex(), "frames": [f.hex() for f in frames], "overlong": over}
        for name, data, frames, over in cases
    ]


def replay() -> list[dict[str, Any]]:
    """Counters in the order of arrival, and whether each is accepted; checked with a set."""
    counters = [0, 0, 1, 3, 2, 2, 66, 3, 4, 2, 67, 66, 130, 129, 67, 66, 68]
    counters += [1 << 16, 130, (1 << 16) - 63, (1 << 16) - 64, (1 << 40) - 1, 1 << 16]
    counters += [(1 << 40) - 1 - random.randrange(70) for _ in range(200)]
    seen: set[int] = set()
    highest = 0
    out = []
    for counter in counters:
        accepted = counter not in seen and counter > highest - 64
        if accepted:
            seen.add(counter)
            highest = max(highest, counter)
        out.append({"counter": counter, "accepted": accepted})
    return out


def vectors() -> dict[str, Any]:
    texts = [b"", b"123456789", bytes(32), b"\xff" * 32, bytes(range(256)), random.randbytes(532)]
    lengths = [0, 1, 9, 63, 64, 65, 127, 128, 129, 532]
    runs = [b"", b"\0", b"\0\0", b"\1", b"\1\0", b"\0\1", b"\xff" * 253, b"\xff" * 254]
    runs += [b"\xff" * 255, b"\xff" * 254 + b"\0", b"\0" + b"\xff" * 254, b"\xff" * 508]
    runs += [b"\xff" * 540, bytes(540), random.randbytes(540)]
    bad_frames = [b"", b"\0", b"\2", b"\3\1", b"\2\0", b"\5\1\2\0\3", b"\1\0", b"\xff\1\2"]
    sealed = messages()
    plain = [bytes.fromhex(m["message"]) for m in sealed]
    return {
        "about": "Written by make_wire.py. Bytes are hex; errors are the VP_WIRE_ names.",
        "crc32c": [{"data": t.hex(), "crc": crc32c(t)} for t in texts],
        "blake2s": [
            {"key": key.hex(), "data": t.hex(), "tag": tag(key, t).hex()}
            for n in lengths
            for key in (KEY,)
            for t in (random.randbytes(n),)
        ],
        "cobs": [{"data": t.hex(), "frame": cobs(t).hex()} for t in runs],
        "bad_frames": [t.hex() for t in bad_frames],
        "messages": sealed,
        "bad_messages": bad_messages(),
        "bad_payloads": bad_payloads(),
        "streams": streams([plain[0], plain[4], plain[-1]]),
        "replay": replay(),
        "provision": provision(),
        "bad_blocks": bad_blocks(),
    }


if __name__ == "__main__":
    out = Path(__file__).with_name("wire.json")
    out.write_text(json.dumps(vectors(), indent=1) + "\n")
