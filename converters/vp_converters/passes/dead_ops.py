"""Removes operators whose results nobody reads."""

from __future__ import annotations

from vp_converters.ir import Graph, Op


def remove_dead_ops(graph: Graph) -> Graph:
    """``graph`` without the operators that the output does not depend on."""
    needed = {graph.output}
    kept: list[Op] = []
    for op in reversed(graph.ops):
        if needed.intersection(op.outputs):
            kept.append(op)
            needed.update(op.inputs)
    return graph.with_ops(kept[::-1])
