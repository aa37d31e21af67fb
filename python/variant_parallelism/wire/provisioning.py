"""The provisioning block: what makes one firmware image this node (vp/provision.h)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from variant_parallelism._native import ffi, lib
from variant_parallelism.wire.codec import checked

PROVISION_SIZE: int = lib.VP_PROVISION_SIZE
_NO_KEY = bytes(lib.VP_WIRE_KEY_SIZE)
_NOWHERE = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Provision:
    """Identity, keys and addresses of one node; keys are both None or both 32 bytes.

    `group` and `group_port` are the multicast group that it listens to (0.0.0.0: none).
    """

    fleet: int
    node: int
    boot: int
    node_key: bytes | None = None
    group_key: bytes | None = None
    mac: bytes = bytes(6)
    address: IPv4Address = _NOWHERE
    netmask: IPv4Address = _NOWHERE
    router: IPv4Address = _NOWHERE
    gateway: IPv4Address = _NOWHERE
    port: int = 0
    gateway_port: int = 0
    hello_ms: int = 1000
    group: IPv4Address = _NOWHERE
    group_port: int = 0

    def pack(self) -> bytes:
        """The 128 bytes; WireError if a field is out of its range."""
        if (self.node_key is None) != (self.group_key is None):
            raise ValueError("node_key and group_key go together")
        c = ffi.new("vp_provision *")
        c.fleet, c.node, c.boot = self.fleet, self.node, self.boot
        c.authenticated = self.node_key is not None
        c.node_key = self.node_key or _NO_KEY
        c.group_key = self.group_key or _NO_KEY
        c.mac = self.mac
        for name in ("address", "netmask", "router", "gateway", "group"):
            setattr(c, name, getattr(self, name).packed)
        c.port, c.gateway_port, c.hello_ms = self.port, self.gateway_port, self.hello_ms
        c.group_port = self.group_port
        block = ffi.new(f"uint8_t[{PROVISION_SIZE}]")
        checked(lib.vp_provision_pack(c, block))
        return bytes(ffi.buffer(block))

    @classmethod
    def unpack(cls, block: bytes) -> Provision:
        """Read a block; WireError if it is damaged or out of range."""
        if len(block) != PROVISION_SIZE:
            raise ValueError(f"a provisioning block has {PROVISION_SIZE} bytes, not {len(block)}")
        c = ffi.new("vp_provision *")
        checked(lib.vp_provision_unpack(block, c))
        keyed = bool(c.authenticated)
        return cls(
            fleet=c.fleet,
            node=c.node,
            boot=c.boot,
            node_key=_bytes(c.node_key) if keyed else None,
            group_key=_bytes(c.group_key) if keyed else None,
            mac=_bytes(c.mac),
            address=IPv4Address(_bytes(c.address)),
            netmask=IPv4Address(_bytes(c.netmask)),
            router=IPv4Address(_bytes(c.router)),
            gateway=IPv4Address(_bytes(c.gateway)),
            port=c.port,
            gateway_port=c.gateway_port,
            hello_ms=c.hello_ms,
            group=IPv4Address(_bytes(c.group)),
            group_port=c.group_port,
        )


def _bytes(field: object) -> bytes:
    return bytes(ffi.buffer(field))
