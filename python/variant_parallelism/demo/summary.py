"""The figures of a demo run, as data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from variant_parallelism.demo.plan import Plan
from variant_parallelism.demo.scenario import Recording, Rejoin, Shot
from variant_parallelism.fleet import Fleet

_MISSING_SHARE = 0.01
"""Votes that a running node may miss: a busy host makes some late."""


@dataclass(frozen=True)
class Accuracy:
    """`correct` of `images`."""

    correct: int
    images: int

    @property
    def fraction(self) -> float:
        return self.correct / self.images if self.images else 0.0

    def equals(self, fraction: float) -> bool:
        """Whether `fraction` of the images is the same number of images."""
        return abs(self.correct - fraction * self.images) < 0.5

    def __str__(self) -> str:
        return f"{100 * self.fraction:.2f} %" if self.images else "-"


@dataclass(frozen=True)
class NodeSummary:
    """One node's own top-1 answers while all boards were up; bytes of one answer on its wire.

    `missing` of the `asked` images, those that were sent while it ran and no board died, have no
    vote of it.
    """

    node: int
    variant: str
    board: str
    transport: str
    accuracy: Accuracy
    manifest_int8_top1: float
    answer_bytes: float
    asked: int
    missing: int


@dataclass(frozen=True)
class SurvivorsSummary:
    """The ensemble's answers while just these nodes ran."""

    nodes: tuple[int, ...]
    accuracy: Accuracy
    lost: int


@dataclass(frozen=True)
class Summary:
    """Everything that the demo measured. `problems` is empty if the run is good.

    With `whole_split` all of the manifest's test images were streamed, so that accuracies must
    equal the manifest's. `manifest_int8_top1_k2` is None if the fleet is not the ensemble that the
    manifest measured: all variants once, k = 2.
    """

    fleet: str
    k: int
    images: int
    ensemble: Accuracy
    whole_split: bool
    manifest_int8_top1_k2: float | None
    nodes: tuple[NodeSummary, ...]
    survivors: tuple[SurvivorsSummary, ...]
    deaths: int
    rejoins: tuple[Rejoin, ...]
    lost: int
    votes_compared: int
    votes_differing: int
    latency_median_ms: float
    latency_p95_ms: float
    latency_death_ms: float
    duration_s: float
    problems: tuple[str, ...] = field(default=())

    @property
    def votes_asked(self) -> int:
        """Votes that nodes owed: one an image and running node, but for the images at deaths."""
        return sum(node.asked for node in self.nodes)

    @property
    def votes_missing(self) -> int:
        """Those of them that did not come before the deadline."""
        return sum(node.missing for node in self.nodes)

    @property
    def answer_bytes(self) -> float:
        """Mean over the nodes of the bytes that one answer takes on its wire."""
        return statistics.fmean(node.answer_bytes for node in self.nodes) if self.nodes else 0.0

    def as_json(self) -> dict[str, object]:
        """Plain data; accuracies as fractions, times in ms, sizes in bytes."""
        return {
            "fleet": self.fleet,
            "k": self.k,
            "images": self.images,
            "whole_split": self.whole_split,
            "ensemble": _accuracy_json(self.ensemble),
            "manifest_int8_top1_k2": self.manifest_int8_top1_k2,
            "nodes": [
                {
                    "node": node.node,
                    "variant": node.variant,
                    "board": node.board,
                    "transport": node.transport,
                    **_accuracy_json(node.accuracy),
                    "manifest_int8_top1": node.manifest_int8_top1,
                    "answer_bytes": node.answer_bytes,
                    "votes_asked": node.asked,
                    "votes_missing": node.missing,
                }
                for node in self.nodes
            ],
            "survivors": [
                {
                    "boards": len(group.nodes),
                    "nodes": list(group.nodes),
                    **_accuracy_json(group.accuracy),
                    "answers_lost": group.lost,
                }
                for group in self.survivors
            ],
            "deaths": self.deaths,
            "rejoins": [{"node": back.node, "after_ms": back.after_ms} for back in self.rejoins],
            "answers_lost": self.lost,
            "answer_bytes": self.answer_bytes,
            "votes_compared": self.votes_compared,
            "votes_differing": self.votes_differing,
            "latency_ms": {
                "median": self.latency_median_ms,
                "p95": self.latency_p95_ms,
                "longest_at_a_death": self.latency_death_ms,
            },
            "duration_s": self.duration_s,
            "problems": list(self.problems),
        }


def summarise(recording: Recording, fleet: Fleet, plan: Plan, *, compared: bool) -> Summary:
    """The figures of `recording`; `compared` says whether votes were checked against the host."""
    shots = recording.shots
    first = [shot for shot in shots if shot.phase == "all"]
    latencies = sorted(shot.answer.latency_ms for shot in first)
    deaths = [shot.answer.latency_ms for shot in shots if shot.phase == "death"]
    votes = sum(len(shot.answer.votes) for shot in shots)
    differing = sum(len(shot.differing) for shot in shots)
    lost = sum(shot.lost for shot in shots)
    nodes = tuple(_node_summaries(shots, fleet))
    whole_split = plan.whole_split and len(plan.first) == fleet.manifest.dataset.test
    ensemble, expected = _accuracy(first), _manifest_ensemble(fleet)
    problems = [*_problems(lost, differing, recording), *_missing_votes(nodes)]
    if whole_split:
        problems += _other_accuracies(nodes, ensemble, expected)
    return Summary(
        fleet=fleet.table.name,
        k=fleet.table.k,
        images=len(shots),
        ensemble=ensemble,
        whole_split=whole_split,
        manifest_int8_top1_k2=expected,
        nodes=nodes,
        survivors=tuple(_by_survivors(shots)),
        deaths=len(deaths),
        rejoins=tuple(recording.rejoins),
        lost=lost,
        votes_compared=votes if compared else 0,
        votes_differing=differing,
        latency_median_ms=_quantile(latencies, 0.5),
        latency_p95_ms=_quantile(latencies, 0.95),
        latency_death_ms=max(deaths, default=0.0),
        duration_s=recording.duration_s,
        problems=tuple(problems),
    )


def _problems(lost: int, differing: int, recording: Recording) -> Iterable[str]:
    if lost:
        yield f"{lost} answers were lost while a board was alive"
    if differing:
        yield f"{differing} votes differ from what the host computes with the same models"
    for node in recording.ended:
        yield f"the emulator of node {node} ended by itself"
    for back in recording.rejoins:
        if back.after_ms is None:
            yield f"node {back.node} did not come back"


def _missing_votes(nodes: Sequence[NodeSummary]) -> Iterable[str]:
    for node in nodes:
        if node.missing > max(1, _MISSING_SHARE * node.asked):
            yield f"node {node.node} ran but {node.missing} of its {node.asked} votes are missing"


def _other_accuracies(
    nodes: Sequence[NodeSummary], ensemble: Accuracy, expected: float | None
) -> Iterable[str]:
    """What differs from the manifest, of all that has every vote, on its whole test split."""
    complete = [node for node in nodes if node.accuracy.images == ensemble.images]
    for node in complete:
        if not node.accuracy.equals(node.manifest_int8_top1):
            yield (
                f"node {node.node} is right on {node.accuracy} of the test split, "
                f"but on {100 * node.manifest_int8_top1:.2f} % by the manifest"
            )
    if expected is not None and len(complete) == len(nodes) and not ensemble.equals(expected):
        yield (
            f"the ensemble is right on {ensemble} of the test split, "
            f"but on {100 * expected:.2f} % by the manifest"
        )


def _manifest_ensemble(fleet: Fleet) -> float | None:
    manifest = fleet.manifest
    same = (
        fleet.table.k == 2
        and fleet.combination == manifest.aggregation.method
        and sorted(node.variant for node in fleet.nodes)
        == sorted(variant.name for variant in manifest.variants)
    )
    return manifest.ensemble.int8_top1_k2 if same else None


def _accuracy(shots: Sequence[Shot]) -> Accuracy:
    return Accuracy(sum(shot.correct for shot in shots), len(shots))


def _node_summaries(shots: Sequence[Shot], fleet: Fleet) -> Iterable[NodeSummary]:
    first = [shot for shot in shots if shot.phase == "all"]
    for node in fleet.nodes:
        asked = [shot for shot in shots if shot.phase != "death" and node.id in shot.boards]
        votes = [
            (vote, shot.sample.label)
            for shot in first
            for vote in shot.answer.votes
            if vote.node == node.id
        ]
        correct = sum(vote.entries[0][0] == label for vote, label in votes)
        yield NodeSummary(
            node=node.id,
            variant=node.variant,
            board=node.board,
            transport="serial" if node.serial else "udp",
            accuracy=Accuracy(correct, len(votes)),
            manifest_int8_top1=fleet.variant_of(node).int8_top1,
            answer_bytes=statistics.fmean([v.wire_bytes for v, _ in votes]) if votes else 0.0,
            asked=len(asked),
            missing=sum(all(vote.node != node.id for vote in shot.answer.votes) for shot in asked),
        )


def _by_survivors(shots: Sequence[Shot]) -> Iterable[SurvivorsSummary]:
    """Phase `all`, then each number of survivors, on the images that all of them saw."""
    groups: dict[tuple[int, ...], list[Shot]] = {}
    for shot in shots:
        if shot.phase == "survivors":
            groups.setdefault(shot.boards, []).append(shot)
    seen = {shot.sample.index for group in groups.values() for shot in group}
    everyone = [shot for shot in shots if shot.phase == "all" and shot.sample.index in seen]
    if everyone:
        groups = {everyone[0].boards: everyone, **groups}
    for nodes, group in groups.items():
        yield SurvivorsSummary(nodes, _accuracy(group), sum(shot.lost for shot in group))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _accuracy_json(accuracy: Accuracy) -> dict[str, object]:
    return {
        "accuracy": accuracy.fraction,
        "correct": accuracy.correct,
        "images_answered": accuracy.images,
    }
