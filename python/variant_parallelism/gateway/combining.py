"""What the votes of a request add up to."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.aggregate import make_combiner, winner
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.requests import Request
from variant_parallelism.gateway.types import Answer


class Combiner(Protocol):
    """Makes one vector of scores of V votes of k entries each."""

    def __call__(
        self,
        nodes: NDArray[np.int64],
        classes: NDArray[np.int64],
        scores: NDArray[np.int8],
    ) -> NDArray[np.float64]:
        """Node ids (V,), rising; classes (V, k) and their scores (V, k), best first; V >= 1.

        Returns scores (C,), 0 to 1.
        """


class FleetCombiner:
    """The fleet's method of combination; a pure function of the fleet and the votes.

    By the papers' methods, with every class sent and every node alive the shares sum to 1.
    """

    def __init__(self, fleet: Fleet) -> None:
        nodes = sorted(fleet.nodes, key=lambda node: node.id)
        self._ids = np.array([node.id for node in nodes])
        self._combine = make_combiner(
            fleet.combination,
            [fleet.variant_of(node).weight for node in nodes],
            len(fleet.manifest.classes),
            fleet.table.judging.liars,
        )

    @property
    def linear(self) -> bool:
        """See `aggregate.Combiner`."""
        return self._combine.linear

    @property
    def weights(self) -> NDArray[np.float64]:
        """Of the nodes by rising id."""
        return self._combine.weights

    @property
    def heeds_trust(self) -> bool:
        """Whether `trust` makes a difference."""
        return self._combine.method == "agreement"

    def __call__(
        self,
        nodes: NDArray[np.int64],
        classes: NDArray[np.int64],
        scores: NDArray[np.int8],
        trust: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """See `Combiner`; `trust` (V,) is how far each node is believed, 0 to 1."""
        return self._combine(np.searchsorted(self._ids, nodes), classes, scores, trust)


def conclude(fleet: Fleet, combiner: Combiner, request: Request, now: float) -> Answer:
    """The answer that the votes of a request add up to; ties go to the lower class."""
    votes = tuple(request.votes[node] for node in sorted(request.votes))
    missing = tuple(
        node for node in sorted(table.id for table in fleet.nodes) if node not in request.votes
    )
    latency_ms = (now - request.started) * 1000
    if not votes:
        nothing = np.zeros(len(fleet.manifest.classes))
        return Answer(
            request.id,
            None,
            None,
            None,
            nothing,
            votes,
            missing,
            request.errors,
            latency_ms,
            label=request.label,
            triggered=request.triggered,
        )
    entries = np.array([vote.entries for vote in votes])
    shares = combiner(
        np.array([vote.node for vote in votes]), entries[:, :, 0], entries[:, :, 1].astype(np.int8)
    )
    best = int(winner(shares))
    return Answer(
        request.id,
        best,
        fleet.manifest.classes[best],
        float(shares[best]),
        shares,
        votes,
        missing,
        request.errors,
        latency_ms,
        label=request.label,
        triggered=request.triggered,
    )
