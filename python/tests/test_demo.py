"""The demo without boards: what it streams and kills, what it counts, what it shows."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from simulated_demo import (
    NODES,
    FakeBoard,
    FakeGateway,
    Reference,
    Silent,
    images_and_labels,
    make_fleet,
    make_summary,
    run,
)
from variant_parallelism.demo import scenario as scenario_module
from variant_parallelism.demo.picture import draw, fit
from variant_parallelism.demo.plan import make_plan
from variant_parallelism.demo.report import render
from variant_parallelism.demo.run import HostReference, check_fleet, load_images
from variant_parallelism.demo.scenario import Scenario
from variant_parallelism.demo.summary import Summary, summarise
from variant_parallelism.demo.view import LiveView, PlainView
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import load_fleet
from variant_parallelism.gateway import Answer


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
    monkeypatch.setattr(scenario_module, "_REJOIN_TIMEOUT_S", 0.0)
    stuck = run()[1].deaths[0]
    recording, plan, view, _ = run(lose=frozenset({2, 3}), stuck=stuck)
    summary = make_summary(recording, plan)
    assert summary.lost == 2
    assert summary.problems == (
        "2 answers were lost while a board was alive",
        f"node {stuck} did not come back",
        *(
            f"node {node.node} ran but 2 of its {node.asked} votes are missing"
            for node in summary.nodes
        ),
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


def test_votes_that_running_boards_owe_are_counted_and_one_may_be_late() -> None:
    recording, plan, _, _ = run()
    (last,) = set(NODES) - set(plan.deaths)
    good = make_summary(recording, plan)
    steps = (len(plan.deaths) + 1) * len(plan.each)
    assert next(node.asked for node in good.nodes if node.node == last) == 8 + steps
    assert good.votes_asked == sum(node.asked for node in good.nodes)
    assert good.votes_missing == 0 and good.problems == ()
    assert f"votes missing      0 of {good.votes_asked} from running boards" in shown(good)
    recording, plan, _, _ = run(mute={2: [3]})
    late = make_summary(recording, plan)
    assert late.votes_missing == 1 and late.problems == ()
    assert "votes missing      1 of" in shown(late)
    assert json.loads(json.dumps(late.as_json()))["nodes"][1]["votes_missing"] == 1


@pytest.mark.parametrize("phase", ["all", "survivors", "return"])
def test_board_that_runs_but_does_not_vote_is_a_problem(phase: str) -> None:
    recording, plan, _, _ = run()
    (last,) = set(NODES) - set(plan.deaths)
    requests = [i for i, shot in enumerate(recording.shots, start=1) if shot.phase == phase]
    recording, plan, _, _ = run(mute={last: requests})
    asked = 8 + (len(plan.deaths) + 1) * len(plan.each)
    problems = make_summary(recording, plan).problems
    assert f"node {last} ran but {len(requests)} of its {asked} votes are missing" in problems


def test_accuracy_that_is_not_the_manifests_is_a_problem_on_the_whole_split() -> None:
    recording, plan, _, _ = run()
    assert plan.whole_split
    fleet = make_fleet(serial="socket://x:1")
    assert summarise(recording, fleet, plan, compared=False).problems == ()
    first = fleet.manifest.variants[0].model_copy(update={"int8_top1": 0.5})
    ensemble = fleet.manifest.ensemble.model_copy(update={"int8_top1_k2": 0.875})
    update = {"variants": [first, *fleet.manifest.variants[1:]], "ensemble": ensemble}
    other = replace(fleet, manifest=fleet.manifest.model_copy(update=update))
    found = summarise(recording, other, plan, compared=False)
    assert found.problems == (
        "node 1 is right on 37.50 % of the test split, but on 50.00 % by the manifest",
        "the ensemble is right on 100.00 % of the test split, but on 87.50 % by the manifest",
    )
    part = replace(plan, whole_split=False)
    assert summarise(recording, other, part, compared=False).problems == ()
    deeper = replace(other, table=other.table.model_copy(update={"k": 3}))
    found = summarise(recording, deeper, plan, compared=False)
    assert found.manifest_int8_top1_k2 is None and len(found.problems) == 1
    recording, plan, _, _ = run(mute={1: [1]})
    assert summarise(recording, other, plan, compared=False).problems == ()


def test_demo_without_a_host_compiler_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fleet = load_fleet(Path(__file__).parents[2] / "models" / "digits" / "fleet.toml")
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reference = HostReference(fleet, np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(VpError, match="C compiler 'no-such-compiler' not found: apt install gcc"):
        reference.entries("d8", 0)


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
