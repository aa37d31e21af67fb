"""The keys that a fleet key stands for (docs/protocol.md, Keys)."""

from __future__ import annotations

import hashlib


def node_key(fleet_key: bytes, fleet: int, node: int) -> bytes:
    """32-byte key that tags what node `node` sends and what is addressed to it alone."""
    message = b"vp-node" + fleet.to_bytes(1, "little") + node.to_bytes(2, "little")
    return hashlib.blake2s(message, key=fleet_key).digest()


def group_key(fleet_key: bytes, fleet: int) -> bytes:
    """32-byte key that tags what the gateway addresses to every node of the fleet."""
    return hashlib.blake2s(b"vp-group" + fleet.to_bytes(1, "little"), key=fleet_key).digest()
