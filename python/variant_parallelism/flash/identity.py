"""What a node's provisioning block says: from fleet.toml, the fleet's key and a boot counter."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import ANYWHERE, Fleet, NodeTable, parse_endpoint
from variant_parallelism.keys import group_key, node_key
from variant_parallelism.wire import Provision

_MAC_PREFIX = b"\x02VP"
"""Bit 1 of the first byte: an address that nobody was given (IEEE 802, locally administered)."""


def identity(fleet: Fleet, node: NodeTable, boot: int) -> Provision:
    """The block of a real node; VpError names what fleet.toml lacks for it."""
    provision = Provision(
        fleet=fleet.table.id, node=node.id, boot=boot, hello_ms=fleet.table.hello_ms
    )
    if fleet.key is not None:
        provision = replace(
            provision,
            node_key=node_key(fleet.key, fleet.table.id, node.id),
            group_key=group_key(fleet.key, fleet.table.id),
        )
    if node.udp is None:
        return provision
    return _with_addresses(provision, fleet, node, node.udp)


def mac_of(fleet: Fleet, node: NodeTable) -> bytes:
    """The node's MAC address: from fleet.toml, or made of the fleet's id and the node's."""
    if node.mac is not None:
        return bytes.fromhex(node.mac.replace(":", ""))
    return _MAC_PREFIX + bytes([fleet.table.id, *node.id.to_bytes(2, "big")])


def _with_addresses(provision: Provision, fleet: Fleet, node: NodeTable, udp: str) -> Provision:
    network = fleet.table.network
    if network is None:
        raise VpError(
            f"node {node.id} is reached by UDP, but {fleet.path} does not say where its gateway "
            'is: add [network] with gateway = "192.168.1.10" (this machine, as the nodes see it)'
        )
    host, port = (udp, 0) if udp == ANYWHERE else parse_endpoint(udp)
    try:
        address = IPv4Address(host)
    except ValueError:
        raise VpError(
            f"node {node.id}: udp = {udp!r} must begin with an IPv4 address for vp-flash, "
            "which writes it into the node"
        ) from None
    subnet = IPv4Interface(f"{address}/{network.netmask}").network
    gateway = IPv4Address(network.gateway)
    if gateway not in subnet and network.router is None:
        raise VpError(
            f"node {node.id}: {address} and the gateway {gateway} are not on one subnet "
            f"({subnet}): correct the address, or add router to [network]"
        )
    if network.router is not None and IPv4Address(network.router) not in subnet:
        raise VpError(f"node {node.id}: router {network.router} is not on its subnet {subnet}")
    provision = replace(
        provision,
        mac=mac_of(fleet, node),
        address=address,
        netmask=IPv4Address(network.netmask),
        router=IPv4Address(network.router or 0),
        gateway=gateway,
        port=port,
        gateway_port=parse_endpoint(fleet.table.gateway.listen)[1],
    )
    if network.multicast is None:
        return provision
    group, group_port = parse_endpoint(network.multicast)
    return replace(provision, group=IPv4Address(group), group_port=group_port)
