"""What the votes of a request add up to."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._native import ffi, lib
from variant_parallelism.aggregate import make_combiner
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.gate import Gate
from variant_parallelism.gateway.requests import Request
from variant_parallelism.gateway.types import Answer
from variant_parallelism.gateway.votes import Votes


class Combiner(Protocol):
    """Makes one vector of scores of V votes of k entries each."""

    def __call__(
        self,
        nodes: NDArray[np.int64],
        classes: NDArray[np.integer],
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

        self._last = (self._ids, np.arange(len(nodes)))

    def _rows(self, nodes: NDArray[np.int64]) -> NDArray[np.intp]:
        """The places of these nodes by rising id; of an array that nobody writes to, kept."""
        last, rows = self._last
        if nodes is not last:
            rows = np.searchsorted(self._ids, nodes)
            if not (self._ids.take(rows, mode="clip") == nodes).all():
                raise ValueError(f"not all of the nodes {nodes.tolist()} are of the fleet")
            if not nodes.flags.writeable:
                self._last = nodes, rows
        return rows

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
        classes: NDArray[np.integer],
        scores: NDArray[np.int8],
        trust: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """See `Combiner`; `trust` (V,) is how far each node is believed, 0 to 1. ValueError if the
        fleet lacks one of the nodes."""
        rows = self._rows(nodes)
        if self.linear:
            return combine_linear(classes, scores, self.weights[rows], self._combine.classes)
        return self._combine(rows, classes, scores, trust)


def conclude(fleet: Fleet, combiner: Combiner, gate: Gate, request: Request, now: float) -> Answer:
    """The answer that the votes of a request add up to; ties go to the lower class.

    Votes of quarantined nodes count if there are no others.
    """
    ballot = request.ballot
    here = gate.voters(ballot)
    votes = _votes(gate, request, here)
    spared, missing, errors = _without_vote(gate, request, votes, here)
    best = name = score = None
    if len(here):
        counted = votes.counted
        if not gate.crowd.any_quarantined or counted.all():
            shares = combiner(votes.nodes, votes.classes, votes.scores)
        else:
            shares = combiner(votes.nodes[counted], votes.classes[counted], votes.scores[counted])
        best = int(shares.argmax())
        name, score = fleet.manifest.classes[best], float(shares[best])
    else:
        shares = np.zeros(len(fleet.manifest.classes))
    return Answer(
        request.id,
        best,
        name,
        score,
        shares,
        votes,
        missing,
        errors,
        (now - request.started) * 1000,
        spared,
        label=request.label,
        triggered=request.triggered,
    )


def lost(fleet: Fleet, gate: Gate, request: Request, now: float) -> Answer:
    """What a request ends with that no vote counts for."""
    here = np.empty(0, np.intp)
    votes = _votes(gate, request, here)
    _, missing, errors = _without_vote(gate, request, votes, here)
    return Answer(
        request.id,
        None,
        None,
        None,
        np.zeros(len(fleet.manifest.classes)),
        votes,
        missing,
        errors,
        (now - request.started) * 1000,
        label=request.label,
        triggered=request.triggered,
    )


def _votes(gate: Gate, request: Request, slots: NDArray[np.intp]) -> Votes:
    crowd = gate.crowd
    if slots is crowd.slots and not crowd.any_quarantined:
        rows = request.ballot.rows
        return Votes(crowd.ids, gate.names, rows, request.k, request.started, crowd.trues)
    rows = request.ballot.rows[slots]
    counted = gate.quarantined[slots] == 0
    if not counted.any():
        counted = ~counted
    return Votes(
        gate.ids[slots].astype(np.int64),
        gate.names[slots],
        rows,
        request.k,
        request.started,
        counted,
    )


def _without_vote(
    gate: Gate, request: Request, votes: Votes, here: NDArray[np.intp]
) -> tuple[tuple[int, ...], tuple[int, ...], dict[int, str]]:
    """Who was spared, who is missing, and why some of them are; `here` are the votes' slots."""
    if len(here) == gate.size:
        return (), (), {}
    silent = gate.present.copy()
    silent[here] = False
    spared = here[:0] if request.plan.spared is None else request.plan.spared
    silent[spared] = False
    # A board that a reload replaced has voted under an id that another has now.
    voted = set(votes.nodes.tolist())
    missing = tuple(sorted(set(gate.ids[silent].tolist()) - voted))
    errors = {node: text for node, text in request.errors.items() if node in missing}
    return tuple(sorted(set(gate.ids[spared].tolist()) - voted)), missing, errors


def combine_linear(
    classes: NDArray[np.integer],
    scores: NDArray[np.int8],
    weights: NDArray[np.float64],
    count: int,
) -> NDArray[np.float64]:
    """Shares (`count`,) of the total weight: the scaled sum of votes (V, k), with weights (V,).

    The same to the last bit as `aggregate.combine_vp` of the scattered votes, over the sum of the
    weights.
    """
    indices = np.ascontiguousarray(classes, np.uint16)
    values = np.ascontiguousarray(scores)
    factors = np.ascontiguousarray(weights)
    shares = np.empty(count)
    lib.vp_combine(
        ffi.from_buffer("uint16_t[]", indices),
        ffi.from_buffer("int8_t[]", values),
        ffi.from_buffer("double[]", factors),
        *values.shape,
        count,
        ffi.from_buffer("double[]", shares),
    )
    return shares
