"""Boards and a gateway that are simulated, for tests of the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from variant_parallelism.demo.plan import Plan, make_plan
from variant_parallelism.demo.scenario import Entries, Recording, Scenario, Shot
from variant_parallelism.demo.summary import Summary, summarise
from variant_parallelism.fleet import Fleet, FleetTable
from variant_parallelism.gateway import Answer, Counters, NodeStatus, Vote
from variant_parallelism.manifest import Manifest
from variant_parallelism.wire import Hello, ResetCause

CLASSES = ["cat", "dog", "eel"]
NODES = (1, 2, 3)


def make_fleet(**of_nodes: object) -> Fleet:
    variants = [
        dict(
            name=f"v{node}", file=f"v{node}.tflite", hash="00" * 8, resolution=8 * node, width=1.0,
            margin=0, crop_top=0, crop_left=0, last_conv=64, parameters=1, macs=1, float_top1=0.5,
            float_top5=1, int8_top1=top1, int8_top5=1, weight=node / 3, seed=1, epochs=1,
        )
        for node, top1 in zip(NODES, (0.375, 1.0, 1.0), strict=True)
    ]  # fmt: skip
    manifest = Manifest.model_validate(
        dict(
            schema=1, name="toy", family="vp", dataset=dict(name="toy", train=1, test=8),
            classes=CLASSES, input=dict(height=8, width=8, channels=1), aggregation={},
            recipe={}, seed=1, variants=variants,
            ensemble=dict(float_top1_full=1, int8_top1_full=1, int8_top1_k2=1),
        )
    )  # fmt: skip
    endpoint = of_nodes or dict(emulated="serial")
    nodes = [dict(id=node, variant=f"v{node}", board="b", **endpoint) for node in NODES]
    table = FleetTable.model_validate(dict(name="toy", id=1, manifest="manifest.json", nodes=nodes))
    return Fleet(Path("toy/fleet.toml"), table, manifest, Path("toy/manifest.json"), None)


def images_and_labels(count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = np.zeros((count, 8, 8, 1), np.uint8)
    images[:, 0, 0, 0] = labels
    return images, labels


HELLO = Hello("00" * 8, 3, 8, 8, 1, 64, (0, 1, 0), ResetCause.POWER, 5, 0, 0, "b")


class FakeBoard:
    """A board that is on or off, and the node's word for it."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.running = True
        self.hello = HELLO
        self.comes_back = True
        self.kills = 0

    def kill(self) -> None:
        self.running = False
        self.kills += 1

    def start(self) -> None:
        self.running = True
        if self.comes_back:
            self.hello = replace(HELLO, uptime_ms=self.hello.uptime_ms + 1)


class FakeGateway:
    """Answers with what is right; node 1 always says dog.

    No node answers the requests in `lose`, and node N not those in `mute[N]`.
    """

    def __init__(
        self,
        boards: dict[int, FakeBoard],
        lose: frozenset[int] = frozenset(),
        mute: Mapping[int, Collection[int]] | None = None,
    ) -> None:
        self.boards = boards
        self.lose = lose
        self.mute = mute or {}
        self.asked = 0

    def nodes(self) -> list[NodeStatus]:
        return [
            NodeStatus(
                id=node, variant=f"v{node}", board="b", transport="serial", address="",
                state="up" if board.running else "dead", reason="", hello=board.hello, boot=None,
                counters=Counters(),
            )
            for node, board in self.boards.items()
        ]  # fmt: skip

    async def classify(self, image: np.ndarray) -> Answer:
        self.asked += 1
        alive = [node for node, board in self.boards.items() if board.running]
        await asyncio.sleep(0)
        label = int(image[0, 0, 0])
        lost = self.asked in self.lose
        votes = tuple(
            Vote(node, f"v{node}", vote_for(node, label), 2.0 * node, 1.0, 20 + node)
            for node in alive
            if not lost and self.asked not in self.mute.get(node, ())
        )
        chosen = votes[-1].entries[0][0] if votes else None
        return Answer(
            request=self.asked, class_index=chosen,
            class_name=None if chosen is None else CLASSES[chosen],
            score=None if chosen is None else 0.75, scores=np.zeros(3), votes=votes,
            missing=(), errors={}, latency_ms=float(self.asked),
        )  # fmt: skip


def vote_for(node: int, label: int) -> Entries:
    return ((1, 100), (0, -100)) if node == 1 else ((label, 90), (2, -90))


class Reference:
    """What the host would compute; node 3 disagrees with it on image 4."""

    def entries(self, variant: str, index: int) -> Entries:
        node = int(variant[1:])
        entries = vote_for(node, index % len(CLASSES))
        return ((0, 1),) if (node, index) == (3, 4) else entries


class Silent:
    def __init__(self) -> None:
        self.phases: list[str] = []
        self.events: list[str] = []
        self.shots: list[Shot] = []

    def phase(self, title: str, images: int) -> None:
        self.phases.append(title)

    def shot(self, shot: Shot, nodes: Sequence[NodeStatus]) -> None:
        self.shots.append(shot)

    def event(self, text: str) -> None:
        self.events.append(text)


def run(
    *,
    lose: frozenset[int] = frozenset(),
    reference: Reference | None = None,
    stuck: int = 0,
    mute: Mapping[int, Collection[int]] | None = None,
) -> tuple[Recording, Plan, Silent, dict[int, FakeBoard]]:
    boards = {node: FakeBoard(node) for node in NODES}
    if stuck:
        boards[stuck].comes_back = False
    plan = make_plan(*images_and_labels(), NODES, 100, seed=1)
    view = Silent()
    gateway = FakeGateway(boards, lose, mute)
    scenario = Scenario(gateway, boards, plan, view, reference)  # type: ignore[arg-type]
    return asyncio.run(scenario.run()), plan, view, boards


def make_summary(recording: Recording, plan: Plan, *, compared: bool = False) -> Summary:
    return summarise(recording, make_fleet(serial="socket://x:1"), plan, compared=compared)
