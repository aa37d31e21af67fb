"""Votes of several gateways' nodes, combined as one gateway with all the nodes would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from variant_parallelism.aggregate import most_liars, winner
from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway.combining import Combiner, FleetCombiner
from variant_parallelism.workers.messages import ReportMessage, VoteMessage


@dataclass(frozen=True, slots=True)
class Combined:
    """What reports add up to: fields of an `AnswerMessage`, and how many votes were left out since
    a node of their id had voted at another gateway."""

    fields: dict[str, Any]
    claimed_twice: int


class Combination:
    """How a fleet's votes combine, whoever's nodes they are."""

    def __init__(self, fleet: Fleet) -> None:
        """`fleet` names the method; which nodes there are, `use` says."""
        self._fleet = fleet
        self._nodes: tuple[int, ...] = ()
        self._combiner: Combiner | None = None

    def use(self, nodes: Mapping[str, Mapping[int, str]]) -> None:
        """From now on the fleet's nodes are these: the manifest's variants by node, by gateway."""
        variants: dict[int, str] = {}
        for gateway in sorted(nodes):
            variants = dict(nodes[gateway]) | variants
        self._nodes = tuple(sorted(variants))
        tables = [
            NodeTable(id=node, variant=variants[node], board="any", emulated="udp")
            for node in self._nodes
        ]
        self._combiner = FleetCombiner(self._with(tables)) if tables else None

    def _with(self, tables: list[NodeTable]) -> Fleet:
        """The fleet with these nodes; while there are few of them, they withstand fewer liars."""
        judging = self._fleet.table.judging
        if judging.liars is not None:
            fewer = min(judging.liars, most_liars(len(tables)))
            judging = judging.model_copy(update={"liars": fewer})
        table = self._fleet.table.model_copy(update={"nodes": tables, "judging": judging})
        return replace(self._fleet, table=table)

    def answer(self, reports: Sequence[ReportMessage], latency_ms: float) -> Combined:
        """What at least one report, in their gateways' order, of known nodes adds up to."""
        votes: dict[int, VoteMessage] = {}
        errors: dict[int, str] = {}
        spared: set[int] = set()
        total = 0
        for report in reports:
            total += len(report.votes)
            votes = {vote.node: vote for vote in report.votes} | votes
            errors = dict(report.errors) | errors
            spared |= set(report.spared)
        ordered = _judged([votes[node] for node in sorted(votes)])
        label = next((report.label for report in reports if report.label is not None), None)
        fields = {
            **self._scores(ordered),
            "votes": ordered,
            "missing": tuple(node for node in self._nodes if node not in votes),
            "errors": tuple(sorted((node, errors[node]) for node in errors.keys() - votes.keys())),
            "spared": tuple(sorted(spared - votes.keys())),
            "latency_ms": latency_ms,
            "label": label,
            "triggered": reports[0].triggered,
        }
        return Combined(fields, total - len(votes))

    def _scores(self, votes: Sequence[VoteMessage]) -> dict[str, Any]:
        classes = self._fleet.manifest.classes
        votes = [vote for vote in votes if vote.counted]
        if not votes or self._combiner is None:
            nothing = (0.0,) * len(classes)
            return {"class": None, "name": None, "score": None, "scores": nothing}
        entries = np.array([vote.entries for vote in votes], dtype=np.int64)
        shares = self._combiner(
            np.array([vote.node for vote in votes], dtype=np.int64),
            entries[:, :, 0],
            entries[:, :, 1].astype(np.int8),
        )
        best = int(winner(shares))
        return {
            "class": best,
            "name": classes[best],
            "score": float(shares[best]),
            "scores": tuple(shares.tolist()),
        }


def _judged(votes: Sequence[VoteMessage]) -> tuple[VoteMessage, ...]:
    """Votes of quarantined nodes count where there are no others: better than no answer at all."""
    if any(vote.counted for vote in votes):
        return tuple(votes)
    return tuple(vote.model_copy(update={"counted": True}) for vote in votes)
