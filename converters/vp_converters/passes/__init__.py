"""Graph-to-graph passes. Each leaves what the model computes unchanged, bit for bit."""

from __future__ import annotations

from vp_converters.ir import Graph
from vp_converters.passes.dead_ops import remove_dead_ops
from vp_converters.passes.fold_dilation import fold_dilation
from vp_converters.passes.fold_pad import fold_pad
from vp_converters.passes.fold_shapes import fold_shapes

PIPELINE = (fold_shapes, remove_dead_ops, fold_dilation, fold_pad)


def run_passes(graph: Graph) -> Graph:
    """The graph after every pass of PIPELINE, in order."""
    for run in PIPELINE:
        graph = run(graph)
    return graph
