"""Fleets and manifests for tests, without files or models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.fleet import Fleet, FleetTable, GatewayTable, NodeTable
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

KEY = bytes(range(32))
FLEET_ID = 7


def make_manifest(variants: int = 3, classes: int = 10, side: int = 64) -> Manifest:
    """A family of `variants` whose models exist in name only; one-channel images of `side`^2."""
    return Manifest(
        name="simulated",
        family="vp",
        dataset=DatasetInfo(name="none", train=1, test=1),
        classes=[f"c{index}" for index in range(classes)],
        input=InputInfo(height=side, width=side, channels=1),
        aggregation=AggregationInfo(),
        recipe={},
        seed=0,
        variants=[
            VariantInfo(
                name=f"v{index}",
                file=f"v{index}.tflite",
                hash=model_hash(f"v{index}".encode()),
                resolution=32 + 8 * index,
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
                weight=(32 + 8 * index) / (32 + 8 * (variants - 1)),
                seed=0,
                epochs=1,
            )
            for index in range(variants)
        ],
        ensemble=EnsembleInfo(float_top1_full=0.5, int8_top1_full=0.5, int8_top1_k2=0.5),
    )


def make_fleet(
    nodes: list[NodeTable] | None = None,
    *,
    manifest: Manifest | None = None,
    key: bytes | None = KEY,
    gateway: GatewayTable | None = None,
    serial: int = 1,
    udp: int = 2,
    **table: object,
) -> Fleet:
    """A fleet of `serial` + `udp` nodes (or of `nodes`), one variant each."""
    if nodes is None:
        nodes = [
            NodeTable(id=index, variant=f"v{index}", board="mps2-an386", serial=f"/dev/none{index}")
            for index in range(serial)
        ] + [
            NodeTable(id=index, variant=f"v{index}", board="mps2-an386", udp=f"10.0.0.{index}:5000")
            for index in range(serial, serial + udp)
        ]
    whole = FleetTable.model_validate(
        {"name": "simulated", "id": FLEET_ID, "manifest": "manifest.json", "nodes": nodes}
        | ({"gateway": gateway} if gateway else {})
        | table
    )
    manifest = manifest or make_manifest(max(3, len(nodes)))
    return Fleet(Path("fleet.toml"), whole, manifest, Path("manifest.json"), key)


def make_image(fleet: Fleet, seed: int = 0) -> NDArray[np.uint8]:
    source = fleet.manifest.input
    return np.random.default_rng(seed).integers(
        0, 256, (source.height, source.width, source.channels), dtype=np.uint8
    )


def write_fleet_file(
    folder: Path, nodes: list[dict[str, object]], *, manifest: Manifest | None = None, **top: object
) -> Path:
    """A fleet file and its manifest in `folder`; values as JSON, which is TOML for these."""
    save_manifest(manifest or make_manifest(), folder / "manifest.json")
    gateway = top.pop("gateway", None)
    lines = [
        f"{name} = {json.dumps(value)}"
        for name, value in {
            "name": "simulated",
            "id": FLEET_ID,
            "manifest": "manifest.json",
            **top,
        }.items()
    ]
    tables = ([("[gateway]", gateway)] if isinstance(gateway, dict) else []) + [
        ("[[nodes]]", node) for node in nodes
    ]
    for header, table in tables:
        lines += ["", header, *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    path = folder / "fleet.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
