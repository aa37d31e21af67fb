"""Merges a PAD of rows and columns into the convolution that reads it.

Exact because a convolution treats pixels outside its image as the zero point, which is what PAD
writes. Converters emit the pair for a framework's explicit padding ahead of a strided convolution.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vp_converters.ir import Graph, Op, Padding

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fold_pad(graph: Graph) -> Graph:
    """``graph`` with every foldable PAD merged into the one convolution that reads it."""
    readers = graph.reader_counts()
    paddings = {
        op.outputs[0]: op
        for op in graph.ops
        if op.kind in ("PAD", "PADV2")
        and len(op.inputs) == (2 if op.kind == "PAD" else 3)
        and -1 not in op.inputs
        and op.outputs[0] != graph.output
        and readers[op.outputs[0]] == len(op.outputs) == 1
    }
    removed: set[int] = set()
    ops: list[Op] = []
    for op in graph.ops:
        pad = paddings.get(op.inputs[0]) if op.kind in _CONVOLUTIONS else None
        amount = _amount(graph, pad, op) if pad is not None else None
        window = op.attributes.window
        if pad is None or amount is None or window is None:
            ops.append(op)
            continue
        attributes = replace(op.attributes, window=replace(window, padding=amount))
        ops.append(replace(op, inputs=(pad.inputs[0], *op.inputs[1:]), attributes=attributes))
        removed.add(pad.index)
    return graph.with_ops([op for op in ops if op.index not in removed])


def _amount(graph: Graph, pad: Op, convolution: Op) -> Padding | None:
    window = convolution.attributes.window
    if window is None:
        return None
    source, padded = graph.tensors[pad.inputs[0]], graph.tensors[pad.outputs[0]]
    if source.quantization is None or source.quantization != padded.quantization:
        return None
    if padded.quantization is None or source.data is not None or len(source.shape) != 4:
        return None
    if not _pads_with_zero_point(graph, pad, padded.quantization.zero_points[0]):
        return None
    amounts = graph.constant(pad.inputs[1])
    if amounts is None or amounts.dtype != np.int32 or amounts.shape != (4, 2):
        return None
    if padded.shape != tuple(
        size + int(before) + int(after)
        for size, (before, after) in zip(source.shape, amounts.tolist(), strict=True)
    ):
        return None
    (before0, after0), (top, bottom), (left, right), (before3, after3) = amounts.tolist()
    if before0 or after0 or before3 or after3 or min(top, bottom, left, right) < 0:
        return None
    inner = window.padding
    return Padding(inner.top + top, inner.bottom + bottom, inner.left + left, inner.right + right)


def _pads_with_zero_point(graph: Graph, pad: Op, zero_point: int) -> bool:
    if pad.kind == "PAD":
        return True
    value, output = graph.tensors[pad.inputs[2]], graph.tensors[pad.outputs[0]]
    return (
        value.data is not None
        and value.size == 1
        and (value.dtype, value.quantization) == (output.dtype, output.quantization)
        and int(value.data.reshape(-1)[0]) == zero_point
    )
