"""The provisioning block: what makes one firmware image this node (docs/protocol.md)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from variant_parallelism.keys import group_key, node_key

NO_ADDRESS = IPv4Address(0)


@dataclass(frozen=True)
class Provision:
    """One node's identity. Without `fleet_key` its messages carry a CRC instead of a tag.

    `address` 0.0.0.0 means that the node has no network; `router` 0.0.0.0 that there is none.
    Units: `hello_ms` 100 .. 60000 ms; `boot` 0 .. 2**24 - 1, higher at every start.
    """

    fleet: int
    node: int
    boot: int
    hello_ms: int
    fleet_key: bytes | None = None
    mac: bytes = bytes(6)
    address: IPv4Address = NO_ADDRESS
    netmask: IPv4Address = NO_ADDRESS
    router: IPv4Address = NO_ADDRESS
    gateway: IPv4Address = NO_ADDRESS
    port: int = 0
    gateway_port: int = 0


def pack_provision(provision: Provision) -> bytes:
    """The 128 bytes of the block; ValueError if a field is out of its range."""
    from variant_parallelism._native import ffi, lib

    raw = ffi.new("vp_provision *")
    try:
        for name in ("fleet", "node", "boot", "hello_ms", "port", "gateway_port"):
            setattr(raw, name, getattr(provision, name))
        for name in ("address", "netmask", "router", "gateway"):
            setattr(raw, name, getattr(provision, name).packed)
        raw.mac = provision.mac
        if provision.fleet_key is not None:
            raw.authenticated = 1
            raw.node_key = node_key(provision.fleet_key, provision.fleet, provision.node)
            raw.group_key = group_key(provision.fleet_key, provision.fleet)
    except OverflowError as error:
        raise ValueError(f"provisioning block of node {provision.node}: {error}") from None
    block = ffi.new("uint8_t[]", lib.VP_PROVISION_SIZE)
    if lib.vp_provision_pack(raw, block) != lib.VP_WIRE_OK:
        raise ValueError(f"provisioning block of node {provision.node}: a field is out of range")
    return bytes(ffi.buffer(block))
