"""What in a fleet file cannot be, or not together; errors name line and key."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from variant_parallelism.judging_table import judging_fault
from variant_parallelism.manifest import Manifest
from variant_parallelism.toml_lines import located_error
from variant_parallelism.usb_ports import UsbName, is_usb_name

if TYPE_CHECKING:
    from variant_parallelism.fleet import FleetTable, NetworkTable, NodeTable

_LONGEST_PREFIX = 30
"""Two hosts beside the subnet's own address and its broadcast address."""


def netmask(text: str) -> str:
    """A subnet's mask in its canonical form; ValueError if it leaves no subnet, or no hosts."""
    try:
        mask = IPv4Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 netmask") from None
    hosts = ~int(mask) & 0xFFFFFFFF
    # Ones from the left only: IPv4Network would take 0.0.0.255 for 255.255.255.0.
    if hosts & (hosts + 1) or not 1 <= 32 - hosts.bit_length() <= _LONGEST_PREFIX:
        raise ValueError(f"{text!r} is no netmask such as 255.255.255.0")
    return str(mask)


def station(text: str) -> str:
    """An IPv4 address that one machine can have; ValueError if it is another kind."""
    try:
        address = IPv4Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 address") from None
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        raise ValueError(f"{text!r} is not the address of a single machine")
    return str(address)


def check_nodes(path: Path, text: str, table: FleetTable, manifest: Manifest) -> None:
    """VpError if two nodes have an id, a port, a probe or a MAC in common, or no variant."""
    ids: set[int] = set()
    ports: dict[tuple[str, ...], NodeTable] = {}
    own: dict[tuple[str, str], NodeTable] = {}
    known = [variant.name for variant in manifest.variants]
    for index, node in enumerate(table.nodes):
        if node.id in ids:
            raise located_error(path, text, ("nodes", index, "id"), f"two nodes have id {node.id}")
        ids.add(node.id)
        place = node.port_key
        sharer = ports.get(place or ()) or _sharer(node, table.nodes[:index])
        if sharer is not None:
            key = "serial" if node.serial else "udp"
            alias = f" ({sharer.port})" if sharer.port != node.port else ""
            raise located_error(
                path,
                text,
                ("nodes", index, key),
                f"node {node.id} and node {sharer.id} are both on {node.port}{alias}",
            )
        if place is not None:
            ports[place] = node
        for key, value in (("mac", node.mac), ("probe", node.probe)):
            if value is None:
                continue
            other = own.setdefault((key, value.lower()), node)
            if other is not node:
                raise located_error(
                    path,
                    text,
                    ("nodes", index, key),
                    f"node {node.id} and node {other.id} both have {key} {value}"
                    + ("" if key == "mac" else ": leave it away and name it with --probe"),
                )
        if node.variant not in known:
            raise located_error(
                path,
                text,
                ("nodes", index, "variant"),
                f"{node.variant!r} is not in {table.manifest} (it has {', '.join(known)})",
            )


def _sharer(node: NodeTable, others: list[NodeTable]) -> NodeTable | None:
    """Whose USB port may be this node's."""
    if node.serial is None or not is_usb_name(node.serial):
        return None
    name = UsbName.parse(node.serial)
    for other in others:
        if is_usb_name(other.serial or "") and name.overlaps(UsbName.parse(other.serial or "")):
            return other
    return None


def check_network(path: Path, text: str, table: FleetTable) -> None:
    """VpError if what vp-flash would write into nodes on UDP cannot work on their subnet.

    Nodes on this machine, which are emulated, and those with a name for an address are left out:
    nothing is written into them.
    """
    network = table.network
    if network is None:
        return
    nodes: dict[IPv4Address, int] = {}
    for index, node in enumerate(table.nodes):
        address = _address(node)
        if address is None or address.is_loopback:
            continue
        fault = _fault(address, network)
        if fault is None and address in nodes:
            fault = f"is node {nodes[address]}'s address already"
        if fault is not None:
            raise located_error(
                path, text, ("nodes", index, "udp"), f"node {node.id}: {address} {fault}"
            )
        nodes[address] = node.id
        subnet = IPv4Network(f"{address}/{network.netmask}", strict=False)
        for key, hop in (("gateway", network.gateway), ("router", network.router)):
            if hop is not None and IPv4Address(hop) in (
                subnet.network_address,
                subnet.broadcast_address,
            ):
                raise located_error(
                    path,
                    text,
                    ("network", key),
                    f"{hop} is not the address of a single machine on node {node.id}'s subnet "
                    f"{subnet}",
                )


def check_judging(path: Path, text: str, table: FleetTable) -> None:
    """VpError if `[judging]` asks for what so many nodes cannot give, or for nothing."""
    fault = judging_fault(table.judging, len(table.nodes), table.deadline_ms)
    if fault is None and table.judging.combine is not None and table.aggregation is not None:
        fault = ("combine", f'takes the place of aggregation = "{table.aggregation}": drop one')
    if fault is not None:
        key, message = fault
        raise located_error(path, text, ("judging", key), message)


def _address(node: NodeTable) -> IPv4Address | None:
    """A node's own address, where its endpoint begins with one."""
    try:
        return IPv4Address((node.udp or "").rpartition(":")[0])
    except ValueError:
        return None


def _fault(address: IPv4Address, network: NetworkTable) -> str | None:
    """Why no node can have this address."""
    subnet = IPv4Network(f"{address}/{network.netmask}", strict=False)
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return "is not the address of a single machine"
    if address == subnet.network_address:
        return f"is the subnet {subnet} itself, no address on it"
    if address == subnet.broadcast_address:
        return f"is the broadcast address of its subnet {subnet}"
    if address == IPv4Address(network.gateway):
        return "is the gateway's address"
    if network.router is not None and address == IPv4Address(network.router):
        return "is the router's address"
    return None
