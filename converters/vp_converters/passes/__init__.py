"""Graph-to-graph passes. Each leaves what the model computes unchanged, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

from vp_converters.ir import Graph, Op
from vp_converters.passes.dead_ops import remove_dead_ops
from vp_converters.passes.fold_dilation import fold_dilation
from vp_converters.passes.fold_pad import fold_pad
from vp_converters.passes.fold_shapes import fold_shapes

PIPELINE = (fold_shapes, remove_dead_ops, fold_dilation, fold_pad)


@dataclass(frozen=True)
class Change:
    """An operator that a pass removed.

    Attributes:
        name: of the pass.
        op: the operator as it was.
        into: index of the operator that does its work now, None if there is none to do.
    """

    name: str
    op: Op
    into: int | None = None


def run_passes(graph: Graph) -> Graph:
    """The graph after every pass of PIPELINE, in order."""
    return run_and_report(graph)[0]


def run_and_report(graph: Graph) -> tuple[Graph, tuple[Change, ...]]:
    """The graph after every pass of PIPELINE, in order, and what they changed."""
    changes: list[Change] = []
    for run in PIPELINE:
        after = run(graph)
        changes += _removed(run.__name__, graph, after)
        graph = after
    return graph, tuple(changes)


def _removed(name: str, before: Graph, after: Graph) -> list[Change]:
    kept = {op.index: op for op in after.ops}
    rewritten = [op for op in before.ops if kept.get(op.index, op) != op]
    changes = []
    for op in before.ops:
        if op.index not in kept:
            neighbours = (
                other.index
                for other in rewritten
                if set(op.outputs) & set(other.inputs) or set(other.outputs) & set(op.inputs)
            )
            changes.append(Change(name, op, next(neighbours, None)))
    return changes
