"""Operators that only move data: RESHAPE and its kin, PAD (TFLM: kernels/pad_common.cc)."""

from __future__ import annotations

import numpy as np

from vp_converters.ir import Graph, Op, Tensor
from vp_converters.lowering.step import Alias, Step
from vp_converters.lowering.tensors import activation, tensors_of
from vp_converters.reader import check_activation

_PAD_DIMS = 4


def lower_reshape(graph: Graph, op: Op) -> Alias:
    """RESHAPE, EXPAND_DIMS and SQUEEZE keep the data where it is."""
    (source,), target = tensors_of(graph, op, 1, optional=0 if op.kind == "SQUEEZE" else 1)
    activation(source)
    activation(target)
    if source.size != target.size:
        raise ValueError(f"{source.size} elements cannot become {target.size}")
    if op.kind != "RESHAPE" and _wide(source) != _wide(target):
        raise ValueError("input and output differ in more than dimensions of 1")
    if op.kind == "RESHAPE" and len(op.inputs) > 1:
        _check_target(graph, op.inputs[1], target)
    return Alias(source.index, target.index)


def _wide(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size > 1]


def _check_target(graph: Graph, index: int, target: Tensor) -> None:
    shape = graph.constant(index)
    if shape is None or shape.dtype != np.int32:
        raise ValueError("the target shape is not constant int32")
    if shape.size not in (0, len(target.shape)):
        raise ValueError(f"the target shape has {shape.size} dimensions, the output's another")
    wanted = shape.reshape(-1).tolist()
    if any(asked not in (-1, size) for asked, size in zip(wanted, target.shape, strict=False)):
        raise ValueError(f"target shape {wanted} is not the output's {list(target.shape)}")


def lower_pad(graph: Graph, op: Op) -> Step:
    """A pad step over the last four dimensions."""
    (source, amounts), target = tensors_of(graph, op, 2, optional=1 if op.kind == "PADV2" else 0)
    activation(source)
    _, value = activation(target)
    if amounts.data is None or amounts.dtype != "int32":
        raise ValueError("the amounts of padding are not constant int32")
    rank = len(source.shape)
    if amounts.data.shape != (rank, 2):
        raise ValueError(f"needs {rank} pairs of amounts, not shape {list(amounts.data.shape)}")
    pairs = [(int(before), int(after)) for before, after in amounts.data.tolist()]
    if any(min(pair) < 0 for pair in pairs):
        raise ValueError("negative padding is not supported")
    padded = tuple(size + sum(pair) for size, pair in zip(source.shape, pairs, strict=True))
    if padded != target.shape:
        raise ValueError(f"the padded shape is {list(padded)}, the output's is another")
    if len(op.inputs) == 3:
        constant = graph.tensors[op.inputs[2]]
        if op.inputs[2] < 0:
            raise ValueError("the padding value is missing")
        if constant.data is None or constant.size != 1:
            raise ValueError("the padding value is not a constant scalar")
        if check_activation(constant) != activation(target):
            raise ValueError("the padding value is quantized unlike the output")
        value = int(constant.data.reshape(-1)[0])
    sizes = list(source.shape)
    while len(sizes) > _PAD_DIMS:
        if sizes[0] != 1 or pairs[0] != (0, 0):
            raise ValueError(f"padding over more than {_PAD_DIMS} dimensions is not supported")
        sizes, pairs = sizes[1:], pairs[1:]
    missing = _PAD_DIMS - len(sizes)
    pairs = [(0, 0)] * missing + pairs
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="pad",
        parameters={
            "input_dims": [1] * missing + sizes,
            "before": [before for before, _ in pairs],
            "after": [after for _, after in pairs],
            "value": value,
        },
        inputs=(source.index,),
        output=target.index,
    )
