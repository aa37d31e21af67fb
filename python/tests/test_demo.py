"""The demo without boards: what it streams and kills, what it counts, what it shows."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from variant_parallelism.demo import scenario as scenario_module
from variant_parallelism.demo.picture import draw, fit
from variant_parallelism.demo.plan import Plan, make_plan
from variant_parallelism.demo.report import render
from variant_parallelism.demo.run import check_fleet, load_images
from variant_parallelism.demo.scenario import Entries, Recording, Scenario, Shot
from variant_parallelism.demo.summary import Summary, summarise
from variant_parallelism.demo.view import LiveView, PlainView
from variant_parallelism.errors import VpError
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
            float_top5=1, int8_top1=0.5, int8_top5=1, weight=node / 3, seed=1, epochs=1,
        )
        for node in NODES
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
    """Answers with what is right, but for the nodes in `wrong`; node 1 alone answers dog."""

    def __init__(self, boards: dict[int, FakeBoard], lose: frozenset[int] = frozenset()) -> None:
        self.boards = boards
        self.lose = lose
        self.asked = 0

    def nodes(self) -> list[NodeStatus]:
        return [
            NodeStatus(
                id=node, variant=f"v{node}", board="b", transport="serial", address="",
                state="up" if board.running else "dead", reason="", hello=board.hello,
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
            if not lost
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
    *, lose: frozenset[int] = frozenset(), reference: Reference | None = None, stuck: int = 0
) -> tuple[Recording, Plan, Silent, dict[int, FakeBoard]]:
    boards = {node: FakeBoard(node) for node in NODES}
    if stuck:
        boards[stuck].comes_back = False
    plan = make_plan(*images_and_labels(), NODES, 100, seed=1)
    view = Silent()
    gateway = FakeGateway(boards, lose)
    scenario = Scenario(gateway, boards, plan, view, reference)  # type: ignore[arg-type]
    return asyncio.run(scenario.run()), plan, view, boards


def make_summary(recording: Recording, plan: Plan, *, compared: bool = False) -> Summary:
    return summarise(recording, make_fleet(serial="socket://x:1"), plan, compared=compared)


def test_plan_is_decided_by_its_seed_and_leaves_one_board() -> None:
    images, labels = images_and_labels(90)
    plans = [make_plan(images, labels, NODES, 30, seed) for seed in (1, 1, 2)]
    indices = [[sample.index for sample in plan.first] for plan in plans]
    assert indices[0] == indices[1] != indices[2]
    assert len(set(indices[0])) == 30 and len(plans[0].each) == 10
    assert all(len(set(plan.deaths)) == 2 for plan in plans)
    assert not plans[0].whole_split
    assert all(sample.label == labels[sample.index] for sample in plans[0].first)
    whole = make_plan(images, labels, NODES, 90, seed=1)
    assert whole.whole_split and [sample.index for sample in whole.first] == list(range(90))


def test_every_phase_is_streamed_and_boards_come_back() -> None:
    recording, plan, view, boards = run()
    assert view.phases == [
        "all 3 boards", "2 of 3 boards left", "1 of 3 boards left", "all 3 boards again",
    ]  # fmt: skip
    assert len(recording.shots) == plan.streamed == len(view.shots)
    assert [board.kills for board in boards.values()].count(1) == 2
    assert all(board.running for board in boards.values())
    assert [back.node for back in recording.rejoins] == list(plan.deaths)
    assert all(back.after_ms is not None for back in recording.rejoins)
    alive = [len(shot.boards) for shot in recording.shots if shot.phase == "survivors"]
    assert alive == [2] * len(plan.each) + [1] * len(plan.each)
    deaths = [shot for shot in recording.shots if shot.phase == "death"]
    assert [shot.boards[-1] for shot in deaths] == list(plan.deaths)


def test_summary_counts_accuracy_per_node_and_per_number_of_survivors() -> None:
    recording, plan, _, _ = run(reference=Reference())
    summary = make_summary(recording, plan, compared=True)
    first = [shot for shot in recording.shots if shot.phase == "all"]
    assert summary.ensemble.images == 8 and summary.ensemble.correct == 8
    assert [node.accuracy.correct for node in summary.nodes] == [3, 8, 8]
    assert [node.answer_bytes for node in summary.nodes] == [21, 22, 23]
    assert summary.answer_bytes == 22
    assert [len(group.nodes) for group in summary.survivors] == [3, 2, 1]
    assert {group.accuracy.images for group in summary.survivors} == {len(plan.each)}
    assert (summary.latency_median_ms, summary.latency_p95_ms) == (4.0, 8.0)
    assert summary.votes_differing == sum(shot.sample.index == 4 for shot in first)
    assert summary.votes_compared == sum(len(shot.answer.votes) for shot in recording.shots)
    assert summary.problems == ("1 votes differ from what the host computes with the same models",)
    assert json.loads(json.dumps(summary.as_json()))["answers_lost"] == 0


def test_lost_answers_and_missing_boards_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_module, "_REJOIN_TIMEOUT_S", 0.02)
    stuck = run()[1].deaths[0]
    recording, plan, view, _ = run(lose=frozenset({2, 3}), stuck=stuck)
    summary = make_summary(recording, plan)
    assert summary.lost == 2
    assert summary.problems == (
        "2 answers were lost while a board was alive",
        f"node {stuck} did not come back",
    )
    assert any("did not come back" in event for event in view.events)


def test_board_that_ends_by_itself_is_a_problem() -> None:
    boards = {node: FakeBoard(node) for node in NODES}
    plan = make_plan(*images_and_labels(), NODES, 100, seed=1)
    (last,) = set(NODES) - set(plan.deaths)
    view = Silent()
    gateway = FakeGateway(boards)

    async def classify(image: np.ndarray) -> Answer:
        if gateway.asked == 3:
            boards[plan.deaths[1]].running = False
        return await FakeGateway.classify(gateway, image)

    gateway.classify = classify  # type: ignore[method-assign]
    recording = asyncio.run(Scenario(gateway, boards, plan, view, None).run())  # type: ignore[arg-type]
    assert recording.ended == [plan.deaths[1]]
    assert make_summary(recording, plan).problems == (
        f"the emulator of node {plan.deaths[1]} ended by itself",
    )
    assert boards[last].kills == 0


def shown(summary: Summary) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render(summary))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_report_says_what_was_measured() -> None:
    recording, plan, _, _ = run(reference=Reference())
    text = shown(make_summary(recording, plan, compared=True))
    assert "answers lost       0 of 16, 2 boards killed with an image on its way" in text
    assert "Problem: 1 votes differ" in text
    assert "37.50 %" in text and "100.00 %" in text
    assert "21.0 to 23.0 (serial)" in text
    assert "boards back        2 of 2: HELLO after" in text


def test_live_view_draws_votes_states_and_events() -> None:
    recording, plan, _, boards = run()
    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True)
    boards[2].running = False
    nodes = FakeGateway(boards).nodes()
    shot = next(shot for shot in recording.shots if shot.sample.label == 2)
    with LiveView(console, make_fleet(serial="s"), plan.streamed) as view:
        view.phase("all 3 boards", 8)
        view.event("killed node 2 (v2) with an image on its way")
        view.shot(shot, nodes)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in ("label: eel", "dead", "up", "killed node 2", "1 of 16 images", "0 lost", "▀"):
        assert part in text
    assert "ensemble" in text and "eel" in text and "dog" in text


def test_plain_view_prints_lines() -> None:
    lines: list[str] = []
    recording, _, _, _ = run(lose=frozenset({1}))
    view = PlainView(lines.append, every_s=0.0)
    view.phase("all 3 boards", 8)
    for shot in recording.shots[:8]:
        view.shot(shot, [])
    view.event("killed node 2")
    assert lines[0] == "all 3 boards: 8 images"
    assert lines[-2].startswith("  8 of 8: 87.5 % right, 1 lost")
    assert lines[-1] == "killed node 2"
    death = next(shot for shot in recording.shots if shot.phase == "death")
    view.shot(death, [])
    assert lines[-1].startswith("  the image on its way was answered in")


def test_picture_fits_and_keeps_its_pixels() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    grown = fit(image, 24, 32)
    assert grown.shape == (24, 24, 3)
    assert (grown[::3, ::3, 0] == image[..., 0]).all()
    big = np.zeros((96, 64, 3), np.uint8)
    big[:, 32:] = 255
    small = fit(big, 24, 32)
    assert small.shape == (24, 16, 3) and set(np.unique(small)) == {0, 255}
    assert fit(np.zeros((5, 5, 3), np.uint8), 5, 5).shape == (6, 5, 3)
    text = draw(image, 24, 32, color=True)
    assert len(text.plain.split("\n")) == 12
    shades = draw(np.full((8, 8, 1), 255, np.uint8), 8, 8, color=False)
    assert shades.plain == "\n".join(["█" * 8] * 4)


def test_fleets_and_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"every node of .* must be emulated: node 1 is not"):
        check_fleet(make_fleet(serial="/dev/ttyX"))
    check_fleet(make_fleet())
    with pytest.raises(VpError, match="no data at"):
        load_images(make_fleet(), str(tmp_path / "nothing"))
    from PIL import Image

    for name in ("ape", "bee"):
        for number in range(4):
            path = tmp_path / "data" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8)).save(path)
    with pytest.raises(VpError, match=r"has the classes ape, bee, but .* has cat, dog, eel"):
        load_images(make_fleet(), str(tmp_path / "data"))
