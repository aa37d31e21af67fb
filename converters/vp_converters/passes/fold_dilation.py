"""Turns SPACE_TO_BATCH_ND, convolution, BATCH_TO_SPACE_ND into one dilated convolution.

Frameworks compute a dilated convolution on interleaved pieces of the image; converters leave the
three operators where they do not recognise the pattern. Exact because SPACE_TO_BATCH_ND pads with
the zero point, which is what a convolution sees outside its image. (That is TFLite's kernel; TFLM's
pads with a value that it never sets.)
"""

from __future__ import annotations

from dataclasses import replace

from vp_converters.ir import Graph, Op, Padding, Window

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fold_dilation(graph: Graph) -> Graph:
    """``graph`` with every such triple merged."""
    producers = {op.outputs[0]: op for op in graph.ops}
    merged: dict[int, Op] = {}
    removed: set[int] = set()
    for join in graph.ops:
        triple = _triple(graph, producers, join)
        if triple is None:
            continue
        split, convolution = triple
        window = _window(graph, split, convolution, join)
        if window is not None:
            merged[join.index] = replace(
                convolution,
                inputs=(split.inputs[0], *convolution.inputs[1:]),
                outputs=join.outputs,
                attributes=replace(convolution.attributes, window=window),
            )
            removed.update((split.index, convolution.index))
    ops = [merged.get(op.index, op) for op in graph.ops if op.index not in removed]
    return graph.with_ops(ops)


def _triple(graph: Graph, producers: dict[int, Op], join: Op) -> tuple[Op, Op] | None:
    """(SPACE_TO_BATCH_ND, convolution) ahead of ``join``, read by nobody else."""
    if join.kind != "BATCH_TO_SPACE_ND" or len(join.inputs) != 3:
        return None
    convolution = producers.get(join.inputs[0])
    if convolution is None or convolution.kind not in _CONVOLUTIONS:
        return None
    split = producers.get(convolution.inputs[0])
    if split is None or split.kind != "SPACE_TO_BATCH_ND" or len(split.inputs) != 3:
        return None
    for tensor in (split.outputs[0], convolution.outputs[0]):
        if tensor == graph.output or len(graph.consumers(tensor)) != 1:
            return None
    return split, convolution


def _window(graph: Graph, split: Op, convolution: Op, join: Op) -> Window | None:
    inner = convolution.attributes.window
    source, target = graph.tensors[split.inputs[0]], graph.tensors[join.outputs[0]]
    pieces, results = graph.tensors[split.outputs[0]], graph.tensors[convolution.outputs[0]]
    if inner is None or inner != replace(inner, stride=(1, 1), dilation=(1, 1), padding=Padding()):
        return None
    if source.quantization != pieces.quantization or target.quantization != results.quantization:
        return None
    if len(source.shape) != 4 or len(target.shape) != 4:
        return None
    blocks, paddings = graph.constant(split.inputs[1]), graph.constant(split.inputs[2])
    same_blocks, crops = graph.constant(join.inputs[1]), graph.constant(join.inputs[2])
    if blocks is None or paddings is None or same_blocks is None or crops is None:
        return None
    if blocks.shape != (2,) or paddings.shape != (2, 2) or crops.shape != (2, 2):
        return None
    block = blocks.tolist()
    if min(block) < 1 or same_blocks.tolist() != block:
        return None
    before = [int(paddings[axis][0]) - int(crops[axis][0]) for axis in (0, 1)]
    after = [
        target.shape[1 + axis]
        + (inner.kernel[axis] - 1) * block[axis]
        - source.shape[1 + axis]
        - before[axis]
        for axis in (0, 1)
    ]
    if min(before) < 0:
        return None
    padding = Padding(before[0], max(0, after[0]), before[1], max(0, after[1]))
    return replace(inner, dilation=(block[0], block[1]), padding=padding)
