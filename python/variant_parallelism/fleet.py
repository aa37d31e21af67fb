"""`fleet.toml`: the one file that describes a deployment. Every command reads it."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from variant_parallelism.errors import VpError
from variant_parallelism.manifest import Manifest, VariantInfo, load_manifest
from variant_parallelism.toml_lines import load_toml, located_error

MAX_K = 16
KEY_SIZE = 32

_ENDPOINT = re.compile(r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.\-]+):([0-9]{1,5})$")


def parse_endpoint(text: str) -> tuple[str, int]:
    """Split `host:port`; ValueError if it is not one."""
    match = _ENDPOINT.match(text)
    if match is None or int(match.group(2)) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    return match.group(1).strip("[]"), int(match.group(2))


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewayTable(_Table):
    """`[gateway]`: where the aggregator listens.

    `listen` is the UDP endpoint that nodes send to; `http` is the local API that `vp classify`
    uses when a gateway already runs.
    """

    listen: str = "0.0.0.0:47800"
    http: str = "127.0.0.1:8470"

    @model_validator(mode="after")
    def _endpoints(self) -> GatewayTable:
        parse_endpoint(self.listen)
        parse_endpoint(self.http)
        return self


class NodeTable(_Table):
    """`[[nodes]]`: one board, its variant and the way to reach it.

    Exactly one of `serial` (a device or a pyserial URL), `udp` (host:port) and `emulated`
    ("serial" or "udp": `vp demo` and `vp emulate` choose the ports).
    """

    id: Annotated[int, Field(ge=0, le=65534)]
    variant: str
    board: str
    serial: str | None = None
    baud: Annotated[int, Field(ge=1200, le=4_000_000)] = 115200
    udp: str | None = None
    emulated: Literal["serial", "udp"] | None = None

    @model_validator(mode="after")
    def _one_transport(self) -> NodeTable:
        given = [name for name in ("serial", "udp", "emulated") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"node {self.id} needs exactly one of serial, udp, emulated"
                + (f", not {' and '.join(given)}" if given else "")
            )
        if self.udp is not None:
            parse_endpoint(self.udp)
        return self

    @property
    def port(self) -> str | None:
        """What no second node may use."""
        return self.serial or self.udp


class FleetTable(_Table):
    """The whole file, as written."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=63)]
    id: Annotated[int, Field(ge=0, le=255)]
    manifest: str
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 2
    deadline_ms: Annotated[int, Field(ge=1, le=600_000)] = 1000
    hello_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    aggregation: Literal["vp", "vip"] | None = None
    key_file: str | None = None
    gateway: GatewayTable = GatewayTable()
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
        """The method in force: the fleet's, or else the manifest's."""
        return self.table.aggregation or self.manifest.aggregation.method

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
    _check_nodes(path, text, table, manifest)
    key = None
    if table.key_file is not None:
        key = read_key(path.parent / table.key_file)
    return Fleet(path, table, manifest, manifest_path, key)


def _check_nodes(path: Path, text: str, table: FleetTable, manifest: Manifest) -> None:
    ids: dict[int, int] = {}
    ports: dict[str, int] = {}
    known = [variant.name for variant in manifest.variants]
    for index, node in enumerate(table.nodes):
        if node.id in ids:
            raise located_error(path, text, ("nodes", index, "id"), f"two nodes have id {node.id}")
        ids[node.id] = index
        if node.port is not None and node.port in ports:
            key = "serial" if node.serial else "udp"
            raise located_error(
                path,
                text,
                ("nodes", index, key),
                f"node {node.id} and node {ports[node.port]} are both on {node.port}",
            )
        if node.port is not None:
            ports[node.port] = node.id
        if node.variant not in known:
            raise located_error(
                path,
                text,
                ("nodes", index, "variant"),
                f"{node.variant!r} is not in {table.manifest} (it has {', '.join(known)})",
            )


def read_key(path: Path) -> bytes:
    """Read a fleet key: 64 hexadecimal digits in a file that only its owner can read."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise VpError(f"cannot read key file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise VpError(f"key file {path} can be read by others: run chmod 600 {path}")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise VpError(
            f"key file {path} is not 64 hexadecimal digits: make one with `openssl rand -hex 32`"
        )
    return bytes.fromhex(text)
