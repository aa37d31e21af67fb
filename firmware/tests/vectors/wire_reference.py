"""The wire protocol (docs/protocol.md) stated a second time, in plain Python.

hashlib, struct and simple loops: it shares no line with the C of firmware/wire that it checks.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

VERSION = 1
CHUNK = 512
HELLO, DISCOVER, INPUT, SACK, PREDICTION, ERROR, FAULT, TRIGGER = 1, 2, 3, 4, 5, 6, 7, 8


def crc32c(data: bytes) -> int:
    """CRC-32C, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def tag(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=8).digest()


def cobs(data: bytes) -> bytes:
    """COBS without the delimiter: split at zeros, cut every run into pieces of 254."""
    out = bytearray()
    runs = data.split(b"\0")
    for number, run in enumerate(runs):
        while len(run) >= 254:
            out += b"\xff" + run[:254]
            run = run[254:]
            if not run and number == len(runs) - 1:
                return bytes(out)
        out += bytes([len(run) + 1]) + run
    return bytes(out)


def flip(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit the other way."""
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def seal(
    kind: int, fleet: int, node: int, counter: int, payload: bytes, key: bytes | None
) -> bytes:
    first = kind | (16 if key else 0) | VERSION << 5
    body = struct.pack("<BBH", first, fleet, node) + counter.to_bytes(5, "little") + payload
    return body + (tag(key, body) if key else struct.pack("<I", crc32c(body)))


def pack(kind: int, fields: dict[str, Any], classes: int) -> bytes:
    """The payload of one message; bytes fields are given as hex."""
    f = fields
    if kind == HELLO:
        return (
            bytes.fromhex(f["model_hash"])
            + struct.pack(
                "<HHHBI", f["classes"], f["height"], f["width"], f["channels"], f["capacity"]
            )
            + bytes(f["firmware"])
            + struct.pack("<BIHH", f["reset_cause"], f["uptime_ms"], f["damaged"], f["rejected"])
            + str(f["board"]).encode().ljust(16, b"\0")
            + bytes([f["flags"]])
        )
    if kind == DISCOVER:
        return b""
    if kind == INPUT:
        shape = struct.pack("<HHB", f["height"], f["width"], f["channels"])
        head = struct.pack("<HBB", f["request"], f["k"], f["flags"])
        return head + shape + struct.pack("<H", f["chunk"]) + bytes.fromhex(f["data"])
    if kind == SACK:
        ranges = b"".join(struct.pack("<HH", first, count) for first, count in f["ranges"])
        return struct.pack("<HH", f["request"], f["received"]) + ranges
    if kind == PREDICTION:
        entry = "<Bb" if classes <= 256 else "<Hb"
        entries = b"".join(struct.pack(entry, index, score) for index, score in f["entries"])
        return struct.pack("<HH", f["request"], f["time_quarter_ms"]) + entries
    if kind == ERROR:
        return struct.pack("<HB", f["request"], f["code"])
    if kind == TRIGGER:
        return struct.pack("<HBB", f["request"], f["k"], f["flags"])
    names = ("pc", "lr", "psr", "status", "hard_status", "address")
    return struct.pack("<6I", *(f[name] for name in names))


def block(fields: dict[str, Any], *, layout: int = 1, magic: bytes = b"VPN1") -> bytes:
    f = fields

    def ip(text: str) -> bytes:
        return bytes(int(part) for part in text.split("."))

    body = (
        magic
        + struct.pack("<BBHI", layout, f["fleet"], f["node"], f["boot"])
        + bytes([f["authenticated"], 0, 0, 0])
        + bytes.fromhex(f["node_key"])
        + bytes.fromhex(f["group_key"])
        + bytes.fromhex(f["mac"])
        + struct.pack("<H", f["port"])
        + b"".join(ip(f[name]) for name in ("address", "netmask", "router", "gateway"))
        + struct.pack("<HH", f["gateway_port"], f["hello_ms"])
        + ip(f["group"])
        + struct.pack("<H", f["group_port"])
        + bytes(10)
    )
    return body + struct.pack("<I", crc32c(body))
