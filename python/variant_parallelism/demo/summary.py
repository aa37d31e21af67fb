"""The figures of a demo run, as data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from variant_parallelism.demo.plan import Plan
from variant_parallelism.demo.scenario import Recording, Rejoin, Shot
from variant_parallelism.fleet import Fleet


@dataclass(frozen=True)
class Accuracy:
    """`correct` of `images`."""

    correct: int
    images: int

    @property
    def fraction(self) -> float:
        return self.correct / self.images if self.images else 0.0

    def __str__(self) -> str:
        return f"{100 * self.fraction:.2f} %" if self.images else "-"


@dataclass(frozen=True)
class NodeSummary:
    """One node's own top-1 answers while all boards were up; bytes of one answer on its wire."""

    node: int
    variant: str
    board: str
    transport: str
    accuracy: Accuracy
    manifest_int8_top1: float
    answer_bytes: float


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
    equal the manifest's.
    """

    fleet: str
    k: int
    images: int
    ensemble: Accuracy
    whole_split: bool
    manifest_int8_top1_k2: float
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
    return Summary(
        fleet=fleet.table.name,
        k=fleet.table.k,
        images=len(shots),
        ensemble=_accuracy(first),
        whole_split=plan.whole_split and len(plan.first) == fleet.manifest.dataset.test,
        manifest_int8_top1_k2=fleet.manifest.ensemble.int8_top1_k2,
        nodes=tuple(_node_summaries(first, fleet)),
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
        problems=tuple(_problems(lost, differing, recording)),
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


def _accuracy(shots: Sequence[Shot]) -> Accuracy:
    return Accuracy(sum(shot.correct for shot in shots), len(shots))


def _node_summaries(shots: Sequence[Shot], fleet: Fleet) -> Iterable[NodeSummary]:
    for node in fleet.nodes:
        votes = [
            (vote, shot.sample.label)
            for shot in shots
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
