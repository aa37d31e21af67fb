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

__all__ = [
    "Order",
    "combine_logits",
    "combine_mean",
    "combine_vp",
    "probabilities",
    "scatter",
    "top_k",
    "variant_weights",
    "winner",
]
