"""Everything that a soak needs: the fleet's file, boards, virtual nodes, broker, disk, gateway."""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from soaking.broker import Broker, Subscriber
from soaking.disk import Disk
from soaking.gateway import GatewayProcess
from variant_parallelism.cli.emulated import build_images, example_fleet
from variant_parallelism.emulators import Board, launch_fleet
from variant_parallelism.emulators.fleet_file import fleet_toml
from variant_parallelism.emulators.ports import PortPool
from variant_parallelism.fleet import (
    KEY_SIZE,
    Fleet,
    GatewayTable,
    NetworkTable,
    NodeTable,
    load_fleet,
)
from variant_parallelism.judging_table import JudgingTable
from variant_parallelism.sinks_table import JsonLinesTable, MqttTable, SinksTable, SqliteTable
from variant_parallelism.training.datasets import load_dataset
from variant_parallelism.virtual import AnswerTable, VirtualProcess, virtual_address
from variant_parallelism.virtual.sockets import free_udp_ports

FIRST_VIRTUAL = 101
DEADLINES_MS = (3000, 3500)
"""The longest wait for an answer, and what the fleet file changes to: long enough that a machine
which is busy with everything else here does not decide what is lost."""
_GROUP = "239.86.80.2"
_IMAGES = 64
_SQLITE_BYTES = 64_000_000
_VIRTUAL_ANSWER_MS = 3.0
_LIE_LINGERS_S = 15.0


@dataclass
class Stage:
    """What runs. `images` uint8 (N, H, W, C) and their `labels`; `table` what every node says of
    them; `boards` and `virtual` by node id."""

    out: Path
    fleet: Fleet
    path: Path
    images: NDArray[np.uint8]
    labels: list[int]
    table: AnswerTable
    broker: Broker
    subscriber: Subscriber
    disk: Disk
    boards: dict[int, Board]
    virtual: VirtualProcess
    gateway: GatewayProcess
    dead: set[int] = field(default_factory=set)
    _lying: dict[int, float] = field(default_factory=dict)

    def lies(self, node: int, on: bool) -> None:
        """Note that a node lies from now on, or not: its votes of before are under way."""
        self._lying[node] = float("inf") if on else time.monotonic() + _LIE_LINGERS_S

    def may_lie(self, node: int) -> bool:
        return self._lying.get(node, 0.0) > time.monotonic()

    def write_fleet(self, **changes: object) -> None:
        """Write the fleet file anew, with other values at its top."""
        table = self.fleet.table.model_copy(update=changes)
        self.path.write_text(fleet_toml(table), encoding="utf-8")


def _tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _whole_fleet(base: Fleet, boards: bool, virtual: int, disk: Path, broker: Broker) -> Fleet:
    """The boards of the digits fleet and `virtual` nodes of the same variants."""
    gateway_port, node_port = free_udp_ports(2)
    variants = [variant.name for variant in base.manifest.variants]
    nodes = [node for node in base.nodes if boards]
    nodes += [
        NodeTable(
            id=FIRST_VIRTUAL + index,
            variant=variants[index % len(variants)],
            board="virtual",
            udp=f"{virtual_address(index)}:{node_port}",
        )
        for index in range(virtual)
    ]
    sinks = SinksTable(
        jsonl=JsonLinesTable(path=str(disk / "events.jsonl")),
        sqlite=SqliteTable(path=str(disk / "events.db"), max_bytes=_SQLITE_BYTES),
        mqtt=MqttTable(host="127.0.0.1", port=broker.port),
    )
    table = base.table.model_copy(
        update={
            "name": "soak",
            "manifest": str(base.manifest_path.resolve()),
            "key_file": "fleet.key",
            "gateway": GatewayTable(
                listen=f"127.0.0.1:{gateway_port}", http=f"127.0.0.1:{_tcp_port()}"
            ),
            "network": NetworkTable(
                gateway="127.0.0.1", netmask="255.0.0.0", multicast=f"{_GROUP}:{node_port}"
            ),
            "sinks": sinks,
            "judging": JudgingTable(deadline="auto", quarantine=True),
            "deadline_ms": DEADLINES_MS[0],
            "nodes": nodes,
        }
    )
    return replace(base, table=table, key=secrets.token_bytes(KEY_SIZE))


def set_up(
    stack: ExitStack, out: Path, boards: bool, virtual: int, seed: int, console: Console
) -> Stage:
    """Start everything, in `out`; `stack` ends it. VpError if something is missing."""
    base = load_fleet(example_fleet("digits"))
    data = load_dataset("digits", image_size=base.manifest.input.height, channels=1)
    images, labels = data.test_images[:_IMAGES], data.test_labels[:_IMAGES]
    console.print("computing what every variant says of the images")
    table = AnswerTable.of_models(base, list(images), base.table.k)
    table.save(out / "answers.npz")
    disk = stack.enter_context(Disk(out.resolve() / "disk"))
    broker = stack.enter_context(Broker(out, _tcp_port()))
    fleet = _whole_fleet(base, boards, virtual, disk.folder, broker)
    running: dict[int, Board] = {}
    if boards:
        images_of = build_images(base, console)
        emulated = stack.enter_context(
            launch_fleet(fleet, images_of, out / "boards", ports=PortPool())
        )
        fleet, running = emulated.fleet, emulated.boards
    assert fleet.key is not None
    key_file = out / "fleet.key"
    key_file.touch(mode=0o600)
    key_file.write_text(fleet.key.hex() + "\n", encoding="utf-8")
    path = out / "fleet.toml"
    path.write_text(fleet_toml(fleet.table), encoding="utf-8")
    subscriber = stack.enter_context(Subscriber(broker.port, "vp/soak/answer"))
    broker.keep_sessions()
    nodes = stack.enter_context(
        VirtualProcess(
            path,
            nodes=[node.id for node in fleet.nodes if node.id >= FIRST_VIRTUAL],
            table=out / "answers.npz",
            answer_ms=_VIRTUAL_ANSWER_MS,
            seed=seed,
        )
    )
    gateway = stack.enter_context(GatewayProcess(path, disk.folder / "state", out / "gateway.log"))
    return Stage(
        out,
        fleet,
        path,
        images,
        [int(label) for label in labels],
        table,
        broker,
        subscriber,
        disk,
        running,
        nodes,
        gateway,
    )
