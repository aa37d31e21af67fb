"""Provisioning blocks for wire.json: good ones with their fields, bad ones with their error."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from wire_reference import block, flip


def identity(**changes: Any) -> dict[str, Any]:
    fleet_key = bytes(range(200, 232))
    node = struct.pack("<BH", 5, 7)
    fields = {
        "fleet": 5,
        "node": 7,
        "boot": 0x123456,
        "authenticated": 1,
        "node_key": hashlib.blake2s(b"vp-node" + node, key=fleet_key).hexdigest(),
        "group_key": hashlib.blake2s(b"vp-group" + node[:1], key=fleet_key).hexdigest(),
        "mac": "525400000007",
        "port": 5000,
        "address": "10.0.2.15",
        "netmask": "255.255.255.0",
        "router": "10.0.2.2",
        "gateway": "192.168.7.1",
        "gateway_port": 47000,
        "hello_ms": 1000,
        "group": "0.0.0.0",
        "group_port": 0,
    }
    return {**fields, **changes}


def provision() -> list[dict[str, Any]]:
    serial_only = identity(
        authenticated=0, node_key="00" * 32, group_key="00" * 32, mac="00" * 6, port=0,
        address="0.0.0.0", netmask="0.0.0.0", router="0.0.0.0", gateway="0.0.0.0", gateway_port=0,
        node=65534, boot=(1 << 24) - 1, hello_ms=60000,
    )  # fmt: skip
    cases = [
        ("network and keys", identity()),
        ("serial only", serial_only),
        ("group", identity(group="239.77.80.1", group_port=47801)),
        ("first group", identity(group="224.0.0.0", group_port=1)),
        ("last group", identity(group="239.255.255.255", group_port=65535)),
    ]
    return [{"name": n, "fields": fields, "block": block(fields).hex()} for n, fields in cases]


def bad_blocks() -> list[dict[str, Any]]:
    good = block(identity())
    cases = [
        ("erased flash", b"\xff" * 128, "DAMAGED"),
        ("zeroed flash", bytes(128), "DAMAGED"),
        ("interrupted: second half erased", good[:64] + b"\xff" * 64, "DAMAGED"),
        ("one bit", flip(good, 8 * 20), "DAMAGED"),
        ("magic", block(identity(), magic=b"VPN2"), "DAMAGED"),
        ("layout", block(identity(), layout=2), "VALUE"),
        ("node 65535", block(identity(node=65535)), "VALUE"),
        ("boot of 25 bits", block(identity(boot=1 << 24)), "VALUE"),
        ("authenticated 2", block(identity(authenticated=2)), "VALUE"),
        ("hello_ms 99", block(identity(hello_ms=99)), "VALUE"),
        ("hello_ms 60001", block(identity(hello_ms=60001)), "VALUE"),
        ("address without port", block(identity(port=0)), "VALUE"),
        ("address without gateway port", block(identity(gateway_port=0)), "VALUE"),
        ("address with MAC 0", block(identity(mac="00" * 6)), "VALUE"),
        ("group below class D", block(identity(group="223.255.255.255", group_port=1)), "VALUE"),
        ("group above class D", block(identity(group="240.0.0.0", group_port=1)), "VALUE"),
        ("group of a zero byte", block(identity(group="0.0.0.1", group_port=1)), "VALUE"),
        ("group without port", block(identity(group="239.77.80.1")), "VALUE"),
        ("multicast MAC", block(identity(mac="010000000007")), "VALUE"),
    ]
    return [{"name": n, "block": data.hex(), "error": error} for n, data, error in cases]
