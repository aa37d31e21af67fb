"""What the votes of a request add up to."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.aggregate import combine_mean, combine_vp, probabilities, scatter, winner
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

        Returns shares (C,) of the total weight.
        """


class PaperCombiner:
    """The fleet's aggregation: `vp`, the scaled sum with the manifest's weights; `vip`, the mean.

    With every class sent and every node alive the shares sum to 1.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._classes = len(fleet.manifest.classes)
        self._mean = fleet.aggregation == "vip"
        self._weights = {table.id: fleet.variant_of(table).weight for table in fleet.nodes}

    def __call__(
        self,
        nodes: NDArray[np.int64],
        classes: NDArray[np.int64],
        scores: NDArray[np.int8],
    ) -> NDArray[np.float64]:
        vectors = scatter(classes, probabilities(scores), self._classes)
        if self._mean:
            return combine_mean(vectors)
        weights = [self._weights[node] for node in nodes.tolist()]
        return combine_vp(vectors, weights) / sum(weights)


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
    )
