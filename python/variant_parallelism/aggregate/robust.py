"""Combination of votes when some of the nodes lie: trimmed mean, median, agreement.

A vote is one node's top-k as its PREDICTION carries it: k different classes, best first, ties to
the lower class; the wire's decoder refuses anything else, from a liar as well. Scores are int8
softmax outputs, probability (score + 128) / 256. A liar is a node whose vote is any vote at all,
chosen in the knowledge of all others.

**The claim.** Among V >= 2 f + 1 votes let up to f come from liars, and let all others, the honest
ones, have the same first class. Then `trimmed-mean`, `median` and `agreement` with `liars` = f
answer that class: for every k, whatever the scores and the capacity weights, however unsure the
honest ones are and sure the liars. It is a claim about the votes that are there: where honest nodes
are silent, f falls with them (with V votes, at most (V - 1) // 2 liars are withstood). Nothing is
claimed where honest nodes differ, and nothing about `vp` and `vip`, which one liar can turn.

Why not the plain median of the scattered scores: take honest votes {c: 0.35, d: 0.30} and
{c: 0.50, d: 0.45}, and a liar's {d: 1}. The median of c is 0.35, that of d 0.45, though both honest
nodes say c. Scores of different nodes are not comparable: one may doubt everything, another
nothing. So `trimmed-mean` and `median` work on **margins**: how far a class is ahead of the best
other one in the same vote. Half a step of the int8 score is added, so that a tie, which the node
broke itself, stays broken. A vote's margin is then above 0 for its first class and below 0 for all
others; what lies between two honest votes' margins has their sign.

- `trimmed-mean`: for each class the f lowest and the f highest margins go; the rest are averaged
  with their capacity weights. At most f margins lie outside those of the honest votes on either
  side, so what is left is within them. With V = 2 f + 1 one margin is left, the median.
- `median`: for each class the weighted median of the margins. Capacity weights are drawn towards
  each other (`capped_weights`) until any V - f votes outweigh any f: so the honest votes hold more
  than half of the weight and the median lies within their margins.
- `agreement`: if votes with the same first class hold more than half of the weight, capped in the
  same way, those votes alone are summed (with the weights as they are, and half a step more for
  their first class), and each of them has that class on top. If there is no such majority, each
  vote weighs its capacity, times the share of the weight that has the same first class, times how
  far its node is trusted.

Absent classes count as 0. Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variant_parallelism.aggregate.combine import Floats, probabilities

Method: TypeAlias = Literal["vp", "vip", "trimmed-mean", "median", "agreement"]

ROBUST: tuple[Method, ...] = ("trimmed-mean", "median", "agreement")
"""The methods that withstand liars."""

_HALF_STEP = 1 / 512
_SLACK = 2.0**-20
"""By how much more than half of the weight honest votes hold, at least: far above rounding."""

Indices = NDArray[np.integer]


def most_liars(votes: int) -> int:
    """The most liars that any method can withstand among so many votes."""
    return max(0, (votes - 1) // 2)


def capped_weights(weights: ArrayLike, liars: int) -> Floats:
    """Weights (V,) drawn towards their mean until any V - f of them outweigh any f others.

    The result has mean 1 and stays as near to `weights` as that permits; they are only scaled if
    they fulfil it already, as they do for f = 0. f is `liars`, or (V - 1) // 2 if that is less.
    ValueError unless all weights are positive and there is one.
    """
    factors = np.asarray(weights, dtype=np.float64)
    if factors.ndim != 1 or factors.size == 0 or not factors.min() > 0:
        raise ValueError("weights must be a list of positive numbers, not empty")
    count = len(factors)
    liars = min(liars, most_liars(count))
    scaled = factors / factors.mean()
    ranked = np.sort(scaled)
    ahead = ranked[: count - liars].sum() - ranked[count - liars :].sum()
    wanted = _SLACK * count
    if ahead >= wanted:
        return np.asarray(scaled, dtype=np.float64)
    even = count - 2 * liars
    share = (even - wanted) / (even - ahead)
    return np.asarray(1 + share * (scaled - 1), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Combiner:
    """One fleet's way of making one answer of votes; a pure function of its arguments.

    `weights` (N,) are the capacity weights of all nodes of the fleet (ones for `vip`), `classes` is
    C, `liars` is f. Make it with `make_combiner`.
    """

    method: Method
    weights: Floats
    classes: int
    liars: int

    @property
    def linear(self) -> bool:
        """Whether the result is sum_i w_i scatter(p_i) / sum_i w_i, with `weights`."""
        return self.method in ("vp", "vip")

    def __call__(
        self,
        nodes: Indices,
        classes: Indices,
        scores: NDArray[np.int8],
        trust: Floats | None = None,
    ) -> Floats:
        """Scores float64 (C,) of the classes; the answer is the highest, ties to the lower class.

        Of V >= 1 votes: `nodes` int (V,), rows of `weights`; `classes` int (V, k) and `scores`
        int8 (V, k), best first. `trust` (V,) in 0 .. 1, for `agreement` alone, says how far each
        node is believed where there is no majority (default: wholly).

        All results lie in 0 .. 1. `vp`, `vip` and `agreement` give shares of the votes' weight;
        `trimmed-mean` and `median` give (1 + margin) / 2, which do not add up to 1 and are above
        1/2 for a class that all honest votes put first. ValueError if the shapes differ or there is
        no vote.
        """
        if scores.ndim != 2 or not scores.size or classes.shape != scores.shape:
            raise ValueError(f"votes of shapes {classes.shape} and {scores.shape}")
        if nodes.shape != scores.shape[:1]:
            raise ValueError(f"{len(scores)} votes but nodes of shape {nodes.shape}")
        weights = self.weights[nodes]
        values = probabilities(scores)
        if self.linear:
            return _shares(self._summed(classes, values, weights), weights)
        liars = min(self.liars, most_liars(len(scores)))
        if self.method == "agreement":
            return self._agreed(classes, values, weights, liars, trust)
        named, margins = _margins(classes, values)
        if self.method == "median":
            middle = _median(margins, capped_weights(weights, liars))
        else:
            middle = _trimmed_mean(margins, weights, liars)
        result = np.full(self.classes, middle[-1])
        result[named] = middle[:-1]
        return np.asarray((1 + result) / 2, dtype=np.float64)

    def _summed(self, classes: Indices, values: Floats, weights: Floats) -> Floats:
        scaled = (values * weights[:, None]).reshape(-1)
        total = np.bincount(classes.reshape(-1), weights=scaled, minlength=self.classes)
        return np.asarray(total, dtype=np.float64)

    def _agreed(
        self, classes: Indices, values: Floats, weights: Floats, liars: int, trust: Floats | None
    ) -> Floats:
        capped = capped_weights(weights, liars)
        first = classes[:, 0]
        support = np.bincount(first, weights=capped) / capped.sum()
        best = int(np.argmax(support))
        if support[best] > 0.5:
            agreed = first == best
            ahead = values[agreed]
            ahead[:, 0] += _HALF_STEP
            return _shares(self._summed(classes[agreed], ahead, weights[agreed]), weights)
        doubted = weights * support[first]
        if trust is not None and (trust > 0).any():
            doubted = doubted * trust
        return _shares(self._summed(classes, values, doubted), doubted)


def make_combiner(
    method: Method, weights: ArrayLike, classes: int, liars: int | None = None
) -> Combiner:
    """The combination of a fleet with capacity `weights` (N,), one for each node.

    `liars` is how many lying nodes a robust method is to withstand (default: the most that N nodes
    permit). ValueError if N nodes cannot withstand so many.
    """
    factors = np.asarray(weights, dtype=np.float64)
    most = most_liars(len(factors))
    if liars is None:
        liars = most
    if method in ROBUST and not 0 <= liars <= most:
        raise ValueError(f"{len(factors)} nodes withstand at most {most} liars, not {liars}")
    if method == "vip":
        factors = np.ones_like(factors)
    return Combiner(method, factors, classes, liars)


def _shares(total: Floats, weights: Floats) -> Floats:
    return np.asarray(total / weights.sum(), dtype=np.float64)


def _margins(classes: Indices, values: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The U classes that anyone named, ascending, and margins (U + 1, V).

    The last row is that of every class which nobody named: what is computed does not grow with the
    number of classes.
    """
    named, places = np.unique(classes, return_inverse=True)
    votes = np.arange(len(values))
    places = places.reshape(classes.shape)
    scattered = np.zeros((len(named) + 1, len(values)))
    scattered[places, votes[:, None]] = values
    first = values[:, 0]
    second = values[:, 1] if values.shape[1] > 1 else 0.0
    margins = scattered - (first + _HALF_STEP)
    margins[places[:, 0], votes] = first - second + _HALF_STEP
    return named.astype(np.intp), margins


def _median(values: Floats, weights: Floats) -> Floats:
    """The weighted median of each row of (U, V): the mean of the lower and the upper one."""
    order = np.argsort(values, axis=1)
    reached = np.cumsum(weights[order], axis=1)
    half = reached[:, -1:] / 2
    # Equal weights add up without an error, so that their median is the ordinary one.
    rows = np.arange(len(values))
    lower = order[rows, np.argmax(reached >= half, axis=1)]
    upper = order[rows, np.argmax(reached > half, axis=1)]
    return np.asarray((values[rows, lower] + values[rows, upper]) / 2, dtype=np.float64)


def _trimmed_mean(values: Floats, weights: Floats, trim: int) -> Floats:
    """The weighted mean of each row of (U, V) without its `trim` lowest and highest values."""
    order = np.argsort(values, axis=1)[:, trim : values.shape[1] - trim]
    kept = weights[order]
    total = (np.take_along_axis(values, order, axis=1) * kept).sum(axis=1)
    return np.asarray(total / kept.sum(axis=1), dtype=np.float64)
