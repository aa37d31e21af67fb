"""Merges a PAD of rows and columns into the convolution that reads it.

Exact because a convolution treats pixels outside its image as the zero point, which is what PAD
writes. Converters emit the pair for a framework's explicit padding ahead of a strided convolution.
"""

from __future__ import annotations

from dataclasses import replace

from vp_converters.ir import Graph, Op, Padding

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fold_pad(graph: Graph) -> Graph:
    """``graph`` with every foldable PAD merged into the one convolution that reads it."""
    paddings = {op.outputs[0]: op for op in graph.ops if op.kind in ("PAD", "PADV2")}
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
    output = pad.outputs[0]
    if window is None or output == graph.output or len(graph.consumers(output)) != 1:
        return None
    source, padded = graph.tensors[pad.inputs[0]], graph.tensors[output]
    if source.quantization is None or source.quantization != padded.quantization:
        return None
    if padded.quantization is None or source.data is not None or len(source.shape) != 4:
        return None
    if not _pads_with_zero_point(graph, pad, padded.quantization.zero_points[0]):
        return None
    amounts = graph.constant(pad.inputs[1]) if len(pad.inputs) > 1 else None
    if amounts is None or amounts.shape != (4, 2):
        return None
    (before0, after0), (top, bottom), (left, right), (before3, after3) = amounts.tolist()
    if before0 or after0 or before3 or after3 or min(top, bottom, left, right) < 0:
        return None
    inner = window.padding
    return Padding(inner.top + top, inner.bottom + bottom, inner.left + left, inner.right + right)


def _pads_with_zero_point(graph: Graph, pad: Op, zero_point: int) -> bool:
    if pad.kind == "PAD":
        return True
    value = graph.constant(pad.inputs[2]) if len(pad.inputs) == 3 else None
    return value is not None and value.size == 1 and int(value.reshape(-1)[0]) == zero_point
