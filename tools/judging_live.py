#!/usr/bin/env python3
"""Runs the real gateway over models/digits, and writes a table of docs/judging.md anew.

Usage: .venv/bin/python tools/judging_live.py

Five virtual nodes on this machine's loopback interface answer, over authenticated UDP, what the
models say (recorded before with the nodes' own code), each `_ANSWER_MS` after it has the image. The
test split of scikit-learn's digits is asked image by image. Where nodes lie, they do so from the
start: they say the next digit for the one they see, and are sure of it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import REPOSITORY, with_block
from judging import DOCUMENT, markdown, percent

from variant_parallelism.fleet import Fleet, FleetTable, GatewayTable, NodeTable
from variant_parallelism.gateway import Answer, Event, Gateway, NodeChanged
from variant_parallelism.gateway.types import Counters
from variant_parallelism.judging_table import JudgingTable
from variant_parallelism.manifest import Manifest, load_manifest
from variant_parallelism.training.datasets import Dataset, load_dataset
from variant_parallelism.virtual import AnswerTable, NodeFaults, VirtualNodes, virtual_address

_FOLDER = REPOSITORY / "models" / "digits"
_ANSWER_MS = 5.0
_LIARS = (4, 5)

_CASES: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("(nothing)", {}, False),
    ("`first = 2`", {"first": 2}, False),
    ("`first = 2`, `confidence = 0.8`", {"first": 2, "confidence": 0.8}, False),
    ("(nothing)", {}, True),
    ("`quarantine = true`", {"quarantine": True}, True),
    ('`combine = "median"`', {"combine": "median"}, True),
    (
        '`combine = "median"`, `quarantine = true`',
        {"combine": "median", "quarantine": True},
        True,
    ),
)


@dataclass(frozen=True)
class Run:
    """What came of the whole test split. `left_out`: all liars, after so many requests."""

    answers: list[Answer]
    counters: Counters
    left_out: int | None


def main() -> int:
    manifest = load_manifest(_FOLDER / "manifest.json")
    dataset = load_dataset("digits", channels=1)
    rows = []
    table = None
    for name, judging, lies in _CASES:
        fleet = fleet_of(manifest, judging)
        if table is None:
            table = AnswerTable.of_models(fleet, list(dataset.test_images), fleet.table.k)
        result = asyncio.run(run(fleet, table, dataset, lies))
        rows.append([name, *row_of(result, len(fleet.nodes), lies)])
        print(rows[-1], flush=True)
    heads = [
        "`[judging]`",
        "two lie",
        "right",
        "early",
        "questions spared",
        "median ms",
        "left out",
    ]
    text = with_block(DOCUMENT.read_text(encoding="utf-8"), "live", markdown(heads, rows))
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def fleet_of(manifest: Manifest, judging: dict[str, Any]) -> Fleet:
    """Five virtual nodes, one for each variant."""
    gateway, nodes = free_udp_port(), free_udp_port()
    table = FleetTable(
        name="digits",
        id=1,
        manifest="manifest.json",
        gateway=GatewayTable(listen=f"127.0.0.1:{gateway}"),
        judging=JudgingTable(**judging),
        nodes=[
            NodeTable(
                id=index + 1,
                variant=variant.name,
                board="virtual",
                udp=f"{virtual_address(index)}:{nodes}",
            )
            for index, variant in enumerate(manifest.variants)
        ],
    )
    path = _FOLDER / "fleet.toml"
    return Fleet(path, table, manifest, _FOLDER / "manifest.json", secrets.token_bytes(32))


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run(fleet: Fleet, table: AnswerTable, dataset: Dataset, lies: bool) -> Run:
    """Ask about every test image. SystemExit if the nodes do not come up."""
    left_out: dict[int, int] = {}
    answers: list[Answer] = []

    def listen(event: Event) -> None:
        if isinstance(event, NodeChanged) and event.state == "quarantined":
            left_out.setdefault(event.node, len(answers))

    with (
        tempfile.TemporaryDirectory() as state,
        VirtualNodes(fleet, table=table, answer_ms=_ANSWER_MS) as nodes,
    ):
        for liar in _LIARS if lies else ():
            nodes.fault(liar, NodeFaults(lie=True))
        async with Gateway(fleet, state_dir=Path(state)) as gateway:
            if await gateway.wait_for_nodes(len(fleet.nodes), 30) < len(fleet.nodes):
                raise SystemExit("error: not all virtual nodes are up")
            gateway.on_event(listen)
            for image, label in zip(dataset.test_images, dataset.test_labels, strict=True):
                answers.append(await gateway.classify(image, label=int(label)))
            counters = gateway.counters
    all_out = max(left_out.values()) if set(_LIARS) <= left_out.keys() else None
    return Run(answers, counters, all_out)


def row_of(result: Run, nodes: int, lies: bool) -> list[str]:
    answers, requests = result.answers, len(result.answers)
    right = sum(answer.class_index == answer.label for answer in answers)
    return [
        "yes" if lies else "",
        percent(right / requests),
        percent(result.counters.early / requests),
        percent(result.counters.spared / (requests * nodes)),
        f"{median(answer.latency_ms for answer in answers):.1f}",
        "" if result.left_out is None else f"after {result.left_out}",
    ]


if __name__ == "__main__":
    sys.exit(main())
