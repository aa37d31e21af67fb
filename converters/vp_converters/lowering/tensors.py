"""Checks and values that several lowerings share.

Their ValueErrors become ConversionErrors that name the operator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vp_converters.fixed_point import activation_range, quantize_multiplier, wrap_int32
from vp_converters.ir import Graph, Op, Tensor, Window
from vp_converters.lowering.step import Value, int8_array, int32_array
from vp_converters.reader import check_activation

# 2^17 - 1 products of int8 numbers sum to less than 2^31.
MAX_PRODUCTS = 2**17 - 1


def tensors_of(graph: Graph, op: Op, inputs: int, optional: int = 0) -> tuple[list[Tensor], Tensor]:
    """The operator's first ``inputs`` tensors, all present, and its only output; up to ``optional``
    further inputs may follow."""
    if len(op.inputs) < inputs or -1 in op.inputs[:inputs]:
        raise ValueError(f"needs {inputs} input{'s' if inputs > 1 else ''}")
    if len(op.inputs) > inputs + optional:
        raise ValueError(f"has {len(op.inputs)} inputs; at most {inputs + optional} are supported")
    if len(op.outputs) != 1:
        raise ValueError(f"has {len(op.outputs)} outputs, not 1")
    return [graph.tensors[i] for i in op.inputs[:inputs]], graph.tensors[op.outputs[0]]


def activation(tensor: Tensor) -> tuple[float, int]:
    """(scale, zero point) of an activation in the arena."""
    if tensor.data is not None:
        raise ValueError(f"tensor {tensor.index} is a constant; it must be computed")
    return check_activation(tensor)


def weights_of(tensor: Tensor, rank: int, axis: int) -> tuple[npt.NDArray[np.int8], list[float]]:
    """(data, one scale or one per slice along ``axis``) of constant symmetric int8 weights."""
    data = tensor.data
    if data is None:
        raise ValueError("the weights are not constant")
    if tensor.dtype != "int8":
        raise ValueError(f"the weights are {tensor.dtype}, not int8")
    if data.ndim != rank:
        raise ValueError(f"the weights have {data.ndim} dimensions, not {rank}")
    quantization = tensor.quantization
    if quantization is None:
        raise ValueError("the weights have no scales")
    scales = list(quantization.scales)
    if any(quantization.zero_points):
        raise ValueError("the weights have a zero point other than 0")
    if len(scales) > 1 and (len(scales) != data.shape[axis] or quantization.axis != axis):
        raise ValueError(
            f"the weights have {len(scales)} scales along axis {quantization.axis}; "
            f"1 or {data.shape[axis]} along axis {axis} are supported"
        )
    return data.astype(np.int8), scales


def bias_of(graph: Graph, op: Op, channels: int) -> npt.NDArray[np.int64]:
    """The bias, zeros where there is none."""
    index = op.inputs[2] if len(op.inputs) > 2 else -1
    if index < 0:
        return np.zeros(channels, dtype=np.int64)
    tensor = graph.tensors[index]
    if tensor.data is None or tensor.dtype != "int32" or tensor.data.size != channels:
        raise ValueError(f"the bias is not a constant int32 vector of {channels}")
    return tensor.data.reshape(-1).astype(np.int64)


def output_stage(
    op: Op,
    output: Tensor,
    ratios: list[float],
    bias: npt.NDArray[np.int64],
    weight_sums: npt.NDArray[np.int64],
    input_zero_point: int,
) -> dict[str, Value]:
    """Fields of vp_nn_output.

    Args:
        ratios: input scale * weight scale / output scale, one or one per channel.
        weight_sums: sum of the weights of each channel.
    """
    scale, zero_point = activation(output)
    low, high = activation_range(op.attributes.activation, scale, zero_point)
    pairs = [quantize_multiplier(ratio) for ratio in ratios]
    folded = [
        wrap_int32(int(b - input_zero_point * s)) for b, s in zip(bias, weight_sums, strict=True)
    ]
    return {
        "bias": int32_array("bias", folded),
        "multiplier": int32_array("multiplier", [pair[0] for pair in pairs]),
        "shift": int8_array("shift", [pair[1] for pair in pairs]),
        "per_channel": int(len(pairs) > 1),
        "zero_point": zero_point,
        "min": low,
        "max": high,
    }


def window_fields(window: Window, source: Tensor, target: Tensor) -> dict[str, Value]:
    """Fields of vp_nn_window."""
    if source.shape[0] != 1 or target.shape[0] != 1:
        raise ValueError(f"batch size {source.shape[0]} is not supported")
    return {
        "input_height": source.shape[1],
        "input_width": source.shape[2],
        "input_channels": source.shape[3],
        "output_height": target.shape[1],
        "output_width": target.shape[2],
        "output_channels": target.shape[3],
        "kernel_height": window.kernel[0],
        "kernel_width": window.kernel[1],
        "stride_height": window.stride[0],
        "stride_width": window.stride[1],
        "dilation_height": window.dilation[0],
        "dilation_width": window.dilation[1],
        "pad_top": window.padding.top,
        "pad_left": window.padding.left,
    }


def same_quantization(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two activations share zero point and, up to ``tolerance``, scale (float32)."""
    scale_a, zero_a = check_activation(a)
    scale_b, zero_b = check_activation(b)
    difference: Any = abs(np.float32(scale_a) - np.float32(scale_b))
    return bool(float(difference) <= tolerance) and zero_a == zero_b
