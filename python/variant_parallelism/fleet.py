"""`fleet.toml`: the one file that describes a deployment. Every command reads it."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from variant_parallelism.aggregate import Method
from variant_parallelism.errors import VpError
from variant_parallelism.fleet_checks import (
    check_judging,
    check_network,
    check_nodes,
    netmask,
    station,
)
from variant_parallelism.judging_table import JudgingTable
from variant_parallelism.manifest import Manifest, PlainName, VariantInfo, load_manifest
from variant_parallelism.secret_file import read_secret
from variant_parallelism.sinks_table import SinksTable
from variant_parallelism.toml_lines import load_toml, located_error
from variant_parallelism.toml_table import PathText, Table, is_host_name
from variant_parallelism.usb_ports import UsbName, is_usb_name
from variant_parallelism.workers_table import WorkersTable

MAX_K = 16
KEY_SIZE = 32
_SHORTEST_TOKEN = 16

ANYWHERE = "any"
"""Where a UDP node is that is found by its HELLO."""

_ENDPOINT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.\-]+)):([0-9]{1,5})")
_NETWORK_SCHEMES = ("socket", "rfc2217")


def parse_endpoint(text: str) -> tuple[str, int]:
    """Split `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets.

    ValueError if it is not one; port 0 is left to the caller.
    """
    match = _ENDPOINT.fullmatch(text)
    if match is None or int(match.group(3)) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    address, name, port = match.groups()
    try:
        if address is not None:
            ipaddress.IPv6Address(address)
        elif name.replace(".", "").isdecimal():
            ipaddress.IPv4Address(name)
    except ValueError as error:
        raise ValueError(f"{text!r} is not host:port: {error}") from None
    if name is not None and not is_host_name(name):
        raise ValueError(f"{text!r} is not host:port")
    return address or name, int(port)


def _endpoint(text: str) -> str:
    if parse_endpoint(text)[1] == 0:
        raise ValueError(f"{text!r} has port 0: give one of 1 to 65535")
    return text


def _node_endpoint(text: str) -> str:
    return text if text == ANYWHERE else _endpoint(text)


def _group(text: str) -> str:
    host, _ = parse_endpoint(_endpoint(text))
    try:
        is_group = ipaddress.IPv4Address(host).is_multicast
    except ValueError:
        raise ValueError(f"{host!r} is no IPv4 address") from None
    if not is_group:
        raise ValueError(
            f"{host} is no multicast address: take one of 239.0.0.0 to 239.255.255.255"
        )
    return text


def _mac(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text):
        raise ValueError(f"{text!r} is no MAC address such as 02:00:00:00:00:07")
    if int(text[:2], 16) & 1 or not int(text.replace(":", ""), 16):
        raise ValueError(f"{text!r} is not the address of a single station")
    return text.lower()


def check_serial(text: str) -> str:
    """A device, usb:SERIAL or a pyserial URL, as far as that can be told unopened; else
    ValueError."""
    if not text or not text.isprintable():
        raise ValueError(f"{text!r} is neither a device nor a URL such as socket://host:port")
    if is_usb_name(text):
        UsbName.parse(text)
    scheme = text.partition(":")[0].lower()
    if scheme in _NETWORK_SCHEMES:
        try:
            _endpoint(urlsplit(text).netloc)
        except ValueError as error:
            raise ValueError(f"{text!r} is not {scheme}://host:port: {error}") from None
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]
NodeEndpoint = Annotated[str, AfterValidator(_node_endpoint)]
Netmask = Annotated[str, AfterValidator(netmask)]
Station = Annotated[str, AfterValidator(station)]
Group = Annotated[str, AfterValidator(_group)]
Mac = Annotated[str, AfterValidator(_mac)]
SerialPort = Annotated[str, AfterValidator(check_serial)]


class GatewayTable(Table):
    """`[gateway]`: where the aggregator listens.

    `listen` is the UDP endpoint that nodes send to; `http` is the API that `vp classify` uses when
    a gateway already runs. `token_file` holds what its callers must know, readable by its owner
    alone; without one it serves this machine only. Over `max_in_flight` requests at a time, more
    are refused (a board answers some tens a second, so they would only wait past their deadlines);
    so are images of more than `max_body` bytes.
    """

    listen: Endpoint = "0.0.0.0:47800"
    http: Endpoint = "127.0.0.1:8470"
    token_file: PathText | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_body: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 16 * 1024 * 1024


class NetworkTable(Table):
    """`[network]`: what vp-flash writes into nodes that are reached by UDP.

    `gateway` is this gateway's IPv4 address as the nodes see it; `router` is their next hop to it
    where it is not on their subnet. `multicast` is the group (address:port) that they listen to, so
    that one datagram brings an input to all of them.
    """

    gateway: Station
    netmask: Netmask = "255.255.255.0"
    router: Station | None = None
    multicast: Group | None = None


class NodeTable(Table):
    """`[[nodes]]`: one board, its variant and the way to reach it.

    Exactly one of `serial` (a device, `usb:SERIAL` or a pyserial URL), `udp` (host:port, or "any"
    for a node that is found by its HELLO) and `emulated` ("serial" or "udp": `vp demo` and
    `vp emulate` choose the ports). `probe` is the unique id, or its beginning, of the debug probe
    that vp-flash reaches the board by; `mac` replaces the address that vp-flash makes up.
    """

    id: Annotated[int, Field(ge=0, le=65534)]
    variant: str
    board: str
    serial: SerialPort | None = None
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115200
    udp: NodeEndpoint | None = None
    emulated: Literal["serial", "udp"] | None = None
    probe: Annotated[str, Field(min_length=1)] | None = None
    mac: Mac | None = None

    @model_validator(mode="after")
    def _one_transport(self) -> NodeTable:
        given = [name for name in ("serial", "udp", "emulated") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"node {self.id} needs exactly one of serial, udp, emulated"
                + (f", not {' and '.join(given)}" if given else "")
            )
        return self

    @property
    def port(self) -> str | None:
        """The way to the node, as written; None for an emulated one."""
        return self.serial or self.udp

    @property
    def port_key(self) -> tuple[str, ...] | None:
        """What no second node may use: equal for two spellings of one port. What `usb:` names
        have in common, `UsbName.overlaps` tells."""
        if self.udp == ANYWHERE:
            return None
        if self.udp is not None:
            return ("udp", *_place(self.udp))
        if self.serial is None:
            return None
        url = urlsplit(self.serial)
        if url.scheme in _NETWORK_SCHEMES:
            return ("tcp", *_place(url.netloc))
        is_url = "://" in self.serial or is_usb_name(self.serial)
        return ("device", self.serial if is_url else os.path.realpath(self.serial))


def _place(endpoint: str) -> tuple[str, str]:
    host, port = parse_endpoint(endpoint)
    host = "127.0.0.1" if host.lower() == "localhost" else host.lower()
    return (str(ipaddress.IPv6Address(host)) if ":" in host else host), str(port)


class FleetTable(Table):
    """The whole file, as written."""

    name: PlainName
    id: Annotated[int, Field(ge=0, le=255)]
    manifest: PathText
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 2
    deadline_ms: Annotated[int, Field(ge=1, le=600_000)] = 1000
    hello_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    aggregation: Literal["vp", "vip"] | None = None
    key_file: PathText | None = None
    gateway: GatewayTable = GatewayTable()
    network: NetworkTable | None = None
    sinks: SinksTable = SinksTable()
    judging: JudgingTable = JudgingTable()
    workers: WorkersTable | None = None
    nodes: Annotated[list[NodeTable], Field(min_length=1)]


@dataclass(frozen=True)
class Fleet:
    """A checked deployment: the file, the manifest it names and the key, if any."""

    path: Path
    table: FleetTable
    manifest: Manifest
    manifest_path: Path
    key: bytes | None

    @property
    def nodes(self) -> list[NodeTable]:
        return self.table.nodes

    @property
    def aggregation(self) -> Literal["vp", "vip"]:
        """The paper's method: the fleet's, or else the manifest's."""
        return self.table.aggregation or self.manifest.aggregation.method

    @property
    def combination(self) -> Method:
        """The method in force: `[judging] combine`, or else `aggregation`."""
        return self.table.judging.combine or self.aggregation

    @property
    def gateway_name(self) -> str:
        """The fleet's name, with this gateway's where it is one of several."""
        workers = self.table.workers
        return self.table.name if workers is None else f"{self.table.name}-{workers.gateway}"

    def variant_of(self, node: NodeTable) -> VariantInfo:
        return self.manifest.variant(node.variant)

    def with_nodes(self, nodes: list[NodeTable], gateway: GatewayTable) -> Fleet:
        """The same fleet at other endpoints (an emulated one once its ports are known)."""
        return replace(
            self, table=self.table.model_copy(update={"nodes": nodes, "gateway": gateway})
        )


def load_fleet(path: Path) -> Fleet:
    """Read `fleet.toml`; VpError names the file, the line and the key that is wrong."""
    table, text = load_toml(path, FleetTable)
    manifest_path = path.parent / table.manifest
    manifest = load_manifest(manifest_path)
    classes = len(manifest.classes)
    if table.k > classes:
        raise located_error(path, text, ("k",), f"{table.k} exceeds the {classes} classes")
    check_nodes(path, text, table, manifest)
    check_network(path, text, table)
    check_judging(path, text, table)
    key = None
    if table.key_file is not None:
        key = read_key(path.parent / table.key_file)
    return Fleet(path, table, manifest, manifest_path, key)


def read_key(path: Path) -> bytes:
    """Read a fleet key: 64 hexadecimal digits in a file that only its owner can read."""
    text = read_secret(path, "key file")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise VpError(
            f"key file {path} is not 64 hexadecimal digits: make one with `openssl rand -hex 32`"
        )
    return bytes.fromhex(text)


def read_token(fleet: Fleet) -> str | None:
    """What `[gateway] token_file` holds, None without one; VpError if it is unfit for a token."""
    if fleet.table.gateway.token_file is None:
        return None
    path = fleet.path.parent / fleet.table.gateway.token_file
    text = read_secret(path, "token file")
    if len(text) < _SHORTEST_TOKEN or not text.isprintable() or " " in text:
        raise VpError(
            f"token file {path} does not hold one word of at least {_SHORTEST_TOKEN} characters: "
            "make one with `openssl rand -hex 32`"
        )
    return text
