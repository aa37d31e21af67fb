"""How the top-k answers of variants become one answer (Variant Parallelism paper, section III-C).

A node's softmax runs over all classes inside the model; it sends the k largest int8 outputs with
their class indices. Here each answer is scattered back to a vector of C probabilities with 0 for
the classes that were not sent, scaled by the variant's weight, and summed. No second softmax
follows: it would not change the winner of a sum, and applied to one scattered answer it is wrong.

`combine_logits` holds the two other orders found in descriptions of the method, for comparison.
Both fail if absent classes are taken as 0: a logit of 0 beats every negative logit that was sent.
There, absent means minus infinity.

Every function works on arrays whose last axis is the classes (or the k entries), float64 inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

DEFAULT_ALPHA = 1.15
"""The exponent of the relative width in the published code of the paper's authors."""

Order = Literal["survivors", "logits"]

Floats = NDArray[np.float64]


def top_k(scores: NDArray[Any], k: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The k highest scores of the last axis, highest first, ties to the lower class index.

    (..., C) -> class indices int64 (..., k) and the scores (..., k) in their own dtype. Raises
    ValueError unless 1 <= k <= C.
    """
    classes = scores.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"k = {k} is not in 1 .. {classes} classes")
    # int8 and uint8 cannot be negated in place; float64 holds every score type exactly.
    order = np.argsort(-scores.astype(np.float64), axis=-1, kind="stable")[..., :k]
    return order.astype(np.int64), np.take_along_axis(scores, order, axis=-1)


def probabilities(scores: NDArray[np.int8]) -> Floats:
    """int8 softmax outputs -> probabilities: TFLite fixes scale 1/256 and zero point -128."""
    return (scores.astype(np.float64) + 128) / 256


def scatter(indices: ArrayLike, values: ArrayLike, classes: int, absent: float = 0.0) -> Floats:
    """Entries (..., k) at class `indices` (..., k) -> (..., classes), `absent` elsewhere.

    Raises ValueError if the shapes differ or an index is not in 0 .. classes - 1.
    """
    where = np.asarray(indices, dtype=np.int64)
    what = np.asarray(values, dtype=np.float64)
    if where.shape != what.shape:
        raise ValueError(f"{where.shape} class indices but {what.shape} values")
    if where.size and (where.min() < 0 or where.max() >= classes):
        raise ValueError(f"a class index is not in 0 .. {classes - 1}")
    vector = np.full((*where.shape[:-1], classes), absent, dtype=np.float64)
    np.put_along_axis(vector, where, what, axis=-1)
    return vector


def variant_weights(
    resolutions: Sequence[int], widths: Sequence[float], alpha: float = DEFAULT_ALPHA
) -> Floats:
    """weight_i = (rho_i / max rho) * (d_i / min d) ** alpha, over all variants of a family.

    The references are the whole family's, not the survivors': scores must not jump when a node
    dies. `resolutions` in pixels, `widths` the width multipliers.
    """
    rho = np.asarray(resolutions, dtype=np.float64)
    d = np.asarray(widths, dtype=np.float64)
    if rho.shape != d.shape or rho.ndim != 1 or rho.size == 0:
        raise ValueError("resolutions and widths must be two lists of one length, not empty")
    if rho.min() <= 0 or d.min() <= 0:
        raise ValueError("resolutions and widths must be positive")
    return np.asarray(rho / rho.max() * (d / d.min()) ** alpha, dtype=np.float64)


def combine_vp(vectors: ArrayLike, weights: ArrayLike) -> Floats:
    """The scaled sum of V answers: (V, ..., C) probabilities and (V,) weights -> (..., C)."""
    stack, factors = _checked(vectors, weights)
    total = np.zeros(stack.shape[1:], dtype=np.float64)
    for vector, factor in zip(stack, factors, strict=True):
        total += factor * vector
    return total


def combine_mean(vectors: ArrayLike) -> Floats:
    """The mean of V answers (variants of one size, VIP): (V, ..., C) -> (..., C)."""
    stack, _ = _checked(vectors, None)
    return np.asarray(stack.mean(axis=0), dtype=np.float64)


def combine_logits(
    indices: ArrayLike, logits: ArrayLike, weights: ArrayLike, classes: int, order: Order
) -> Floats:
    """The two orders that work on raw logits; for comparison, never the default.

    `indices` and `logits` are (V, ..., k) top-k entries before any softmax; the result (..., C)
    sums to the total weight (`survivors`) or to 1 (`logits`).

    - `survivors`: scatter with minus infinity, softmax per variant, scaled sum. The softmax runs
      over the k survivors only, so at k = 1 every score is 1.0 and this is a weighted vote.
    - `logits`: scatter with minus infinity, scaled sum, softmax at the end. A class that some
      variant left out would be minus infinity however sure the others are; this is the limit of
      a large negative number instead: classes named by the largest total weight share the
      probability according to their summed logits, all others get 0.
    """
    where = np.asarray(indices, dtype=np.int64)
    entries, factors = _checked(logits, weights)
    if order == "survivors":
        return combine_vp(_softmax(scatter(where, entries, classes, -np.inf)), factors)
    if order != "logits":
        raise ValueError(f"order {order!r} is neither 'survivors' nor 'logits'")
    named = combine_vp(scatter(where, np.ones_like(entries), classes), factors)
    summed = combine_vp(scatter(where, entries, classes), factors)
    best = named.max(axis=-1, keepdims=True)
    return _softmax(np.where(named >= best * (1 - 1e-9), summed, -np.inf))


def winner(scores: NDArray[Any]) -> NDArray[np.int64]:
    """The class with the highest combined score, (..., C) -> (...); ties to the lower index."""
    return np.asarray(np.argmax(scores, axis=-1), dtype=np.int64)


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float64)


def _checked(vectors: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    stack = np.asarray(vectors, dtype=np.float64)
    if stack.ndim < 2 or stack.shape[0] == 0:
        raise ValueError(f"expected at least one answer, (V, ..., C), not shape {stack.shape}")
    factors = np.ones(len(stack)) if weights is None else np.asarray(weights, dtype=np.float64)
    if factors.shape != (len(stack),):
        raise ValueError(f"{len(stack)} answers but weights of shape {factors.shape}")
    return stack, factors
