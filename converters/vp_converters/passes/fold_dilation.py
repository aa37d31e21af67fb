"""Turns SPACE_TO_BATCH_ND, convolution, BATCH_TO_SPACE_ND into one dilated convolution.

Frameworks compute a dilated convolution on interleaved pieces of the image; converters leave the
three operators where they do not recognise the pattern. Exact because SPACE_TO_BATCH_ND pads with
the zero point, which is what a convolution sees outside its image. (That is TFLite's kernel; TFLM's
pads with a value that it never sets.)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from vp_converters.ir import Array, Graph, Op, Padding, Window

_MAX_SIDE = 65535
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fold_dilation(graph: Graph) -> Graph:
    """``graph`` with every such triple merged."""
    producers = {op.outputs[0]: op for op in graph.ops}
    readers = graph.reader_counts()
    merged: dict[int, Op] = {}
    removed: set[int] = set()
    for join in graph.ops:
        triple = _triple(graph, producers, readers, join)
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


def _triple(
    graph: Graph, producers: dict[int, Op], readers: Counter[int], join: Op
) -> tuple[Op, Op] | None:
    """(SPACE_TO_BATCH_ND, convolution) ahead of ``join``, read by nobody else."""
    if join.kind != "BATCH_TO_SPACE_ND" or len(join.inputs) != 3 or -1 in join.inputs:
        return None
    convolution = producers.get(join.inputs[0])
    if convolution is None or convolution.kind not in _CONVOLUTIONS:
        return None
    split = producers.get(convolution.inputs[0])
    if split is None or split.kind != "SPACE_TO_BATCH_ND" or len(split.inputs) != 3:
        return None
    if -1 in split.inputs or {len(op.outputs) for op in (split, convolution, join)} != {1}:
        return None
    for tensor in (split.outputs[0], convolution.outputs[0]):
        if tensor == graph.output or readers[tensor] != 1:
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
    if len(source.shape) != 4 or len(target.shape) != 4 or source.shape[0] != 1:
        return None
    blocks, paddings = _numbers(graph, split.inputs[1], (2,)), _numbers(graph, split.inputs[2])
    same_blocks, crops = _numbers(graph, join.inputs[1], (2,)), _numbers(graph, join.inputs[2])
    if blocks is None or paddings is None or same_blocks is None or crops is None:
        return None
    block = [int(size) for size in blocks.tolist()]
    if same_blocks.tolist() != block or not _tiles(source.shape, block, paddings, pieces.shape):
        return None
    if not _tiles(target.shape, block, crops, results.shape):
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


def _numbers(graph: Graph, tensor: int, shape: tuple[int, ...] = (2, 2)) -> Array | None:
    """A constant int32 tensor of that shape."""
    value = graph.constant(tensor)
    fits = value is not None and value.dtype == np.int32 and value.shape == shape
    return value if fits else None


def _tiles(
    image: tuple[int, ...], block: list[int], margins: Array, pieces: tuple[int, ...]
) -> bool:
    """Whether an image (1, H, W, C) with margins around it splits into the pieces."""
    if min(block) < 1 or int(margins.min()) < 0:
        return False
    sides = [
        size + int(before) + int(after)
        for size, (before, after) in zip(image[1:3], margins.tolist(), strict=True)
    ]
    if max(sides) > _MAX_SIDE:
        return False
    whole = (block[0] * block[1], sides[0] // block[0], sides[1] // block[1], image[3])
    return pieces == whole and all(s % b == 0 for s, b in zip(sides, block, strict=True))
