"""Decompression, scaling and combination of the variants' answers: pure functions on arrays."""

from variant_parallelism.aggregate.combine import (
    Order,
    combine_logits,
    combine_mean,
    combine_vp,
    probabilities,
    scatter,
    top_k,
    variant_weights,
    winner,
)
from variant_parallelism.aggregate.robust import (
    ROBUST,
    Combiner,
    Method,
    capped_weights,
    make_combiner,
    most_liars,
)

__all__ = [
    "ROBUST",
    "Combiner",
    "Method",
    "Order",
    "capped_weights",
    "combine_logits",
    "combine_mean",
    "combine_vp",
    "make_combiner",
    "most_liars",
    "probabilities",
    "scatter",
    "top_k",
    "variant_weights",
    "winner",
]
