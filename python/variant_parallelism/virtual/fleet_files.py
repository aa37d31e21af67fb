"""Fleet files whose nodes are virtual."""

from __future__ import annotations

import hashlib
import secrets
from ipaddress import IPv4Address
from pathlib import Path

from variant_parallelism.emulators.fleet_file import fleet_toml
from variant_parallelism.fleet import FleetTable, GatewayTable, NetworkTable, NodeTable
from variant_parallelism.manifest import (
    AggregationInfo,
    DatasetInfo,
    EnsembleInfo,
    InputInfo,
    Manifest,
    VariantInfo,
    model_hash,
    save_manifest,
)
from variant_parallelism.text_files import write_whole

_FIRST = IPv4Address("127.1.0.1")
_GROUP = "239.86.80.1"
_VARIANTS = 5
_SIDE = 32


def virtual_address(index: int) -> IPv4Address:
    """A loopback address for each virtual node: 127.1.0.1 and on."""
    return _FIRST + index


def _manifest(classes: int, side: int) -> Manifest:
    variants = [
        VariantInfo(
            name=f"v{index}",
            file=f"v{index}.tflite",
            hash=model_hash(f"virtual {index}".encode()),
            resolution=side,
            width=0.35,
            margin=0,
            crop_top=0,
            crop_left=0,
            last_conv=256,
            parameters=1,
            macs=1,
            float_top1=0.5,
            float_top5=0.5,
            int8_top1=0.5,
            int8_top5=0.5,
            weight=(index + 1) / _VARIANTS,
            seed=0,
            epochs=1,
        )
        for index in range(_VARIANTS)
    ]
    return Manifest(
        name="virtual",
        family="vp",
        dataset=DatasetInfo(name="none", train=1, test=1),
        classes=[f"c{index}" for index in range(classes)],
        input=InputInfo(height=side, width=side, channels=1),
        aggregation=AggregationInfo(),
        recipe={},
        seed=0,
        variants=variants,
        ensemble=EnsembleInfo(float_top1_full=0.5, int8_top1_full=0.5, int8_top1_k2=0.5),
    )


def write_virtual_fleet(
    folder: Path,
    nodes: int,
    *,
    ports: tuple[int, int],
    http_port: int = 8470,
    classes: int = 10,
    side: int = _SIDE,
    deadline_ms: int = 1000,
    hello_ms: int = 1000,
) -> Path:
    """Write fleet.toml, its manifest and a new key for `nodes` virtual nodes; the file's path.

    `ports`: the gateway's UDP port, and that of the nodes and their multicast group. Images are
    `side` x `side` with one channel. The models exist in name only.
    """
    gateway_port, node_port = ports
    save_manifest(_manifest(classes, side), folder / "manifest.json")
    key = secrets.token_bytes(hashlib.blake2s().digest_size)
    write_whole(folder / "fleet.key", (key.hex() + "\n").encode(), 0o600)
    table = FleetTable(
        name=f"virtual-{nodes}",
        id=1,
        manifest="manifest.json",
        key_file="fleet.key",
        deadline_ms=deadline_ms,
        hello_ms=hello_ms,
        gateway=GatewayTable(listen=f"127.0.0.1:{gateway_port}", http=f"127.0.0.1:{http_port}"),
        network=NetworkTable(
            gateway="127.0.0.1", netmask="255.0.0.0", multicast=f"{_GROUP}:{node_port}"
        ),
        nodes=[
            NodeTable(
                id=index,
                variant=f"v{index % _VARIANTS}",
                board="virtual",
                udp=f"{virtual_address(index)}:{node_port}",
            )
            for index in range(nodes)
        ],
    )
    path = folder / "fleet.toml"
    path.write_text(fleet_toml(table), encoding="utf-8")
    return path
