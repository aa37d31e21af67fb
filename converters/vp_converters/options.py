"""An operator's option table becomes Attributes; SAME and VALID become numbers of pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tflite

from vp_converters.errors import ConversionError
from vp_converters.ir import Attributes, Op, Padding, Tensor, Window

_ACTIVATIONS: dict[int, str] = {
    value: name
    for name, value in vars(tflite.ActivationFunctionType).items()
    if isinstance(value, int)
}


def read_attributes(op: Op, union_type: int, union: Any, tensors: list[Tensor]) -> Op:
    """``op`` with its attributes; operators without options keep the default ones.

    Args:
        union_type: which table the operator's builtin_options claims to be (tflite.BuiltinOptions).
        union: that table, or None.

    Raises:
        ConversionError: options are missing or make no sense for the tensors.
    """
    options_class = _OPTIONS.get(op.kind)
    if options_class is None:
        return op
    if union is None:
        if op.kind in _OPTIONAL:
            return op
        raise ConversionError("the operator's options are missing")
    if union_type != getattr(tflite.BuiltinOptions, options_class.__name__):
        raise ConversionError("the operator's options are those of another operator")
    options = options_class()
    options.Init(union.Bytes, union.Pos)
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        attributes = _convolution(op, options, tensors)
    elif op.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        attributes = _pool(op, options, tensors)
    elif op.kind == "FULLY_CONNECTED":
        if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
            raise ConversionError("shuffled weights are not supported")
        attributes = Attributes(activation=_activation(options))
    elif op.kind == "ADD":
        attributes = Attributes(activation=_activation(options))
    elif op.kind == "SOFTMAX":
        attributes = Attributes(beta=float(options.Beta()))
    elif op.kind == "PACK":
        attributes = Attributes(axis=options.Axis())
    else:
        attributes = Attributes(
            begin_mask=options.BeginMask(),
            end_mask=options.EndMask(),
            ellipsis_mask=options.EllipsisMask(),
            new_axis_mask=options.NewAxisMask(),
            shrink_axis_mask=options.ShrinkAxisMask(),
        )
    return replace(op, attributes=attributes)


_OPTIONS: dict[str, Any] = {
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "AVERAGE_POOL_2D": tflite.Pool2DOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
    "FULLY_CONNECTED": tflite.FullyConnectedOptions,
    "ADD": tflite.AddOptions,
    "SOFTMAX": tflite.SoftmaxOptions,
    "PACK": tflite.PackOptions,
    "STRIDED_SLICE": tflite.StridedSliceOptions,
}
_OPTIONAL = ("ADD", "FULLY_CONNECTED")


def _activation(options: Any) -> str:
    number = int(options.FusedActivationFunction())
    return _ACTIVATIONS.get(number, f"number {number}")


def _convolution(op: Op, options: Any, tensors: list[Tensor]) -> Attributes:
    if len(op.inputs) not in (2, 3) or -1 in op.inputs[:2]:
        raise ConversionError("needs an input, weights and at most a bias")
    weights = tensors[op.inputs[1]]
    if len(weights.shape) != 4:
        raise ConversionError("weights must have 4 dimensions")
    window = _window(
        op,
        tensors,
        options,
        kernel=(weights.shape[1], weights.shape[2]),
        dilation=(options.DilationHFactor(), options.DilationWFactor()),
    )
    multiplier = options.DepthMultiplier() if op.kind == "DEPTHWISE_CONV_2D" else 1
    activation = _activation(options)
    return Attributes(window=window, activation=activation, depth_multiplier=multiplier)


def _pool(op: Op, options: Any, tensors: list[Tensor]) -> Attributes:
    if len(op.inputs) != 1 or -1 in op.inputs:
        raise ConversionError("needs exactly one input")
    kernel = (options.FilterHeight(), options.FilterWidth())
    window = _window(op, tensors, options, kernel, dilation=(1, 1))
    return Attributes(window=window, activation=_activation(options))


def _window(
    op: Op,
    tensors: list[Tensor],
    options: Any,
    kernel: tuple[int, int],
    dilation: tuple[int, int],
) -> Window:
    source = tensors[op.inputs[0]].shape
    target = tensors[op.outputs[0]].shape
    if len(source) != 4 or len(target) != 4:
        raise ConversionError("input and output must have 4 dimensions")
    stride = (options.StrideH(), options.StrideW())
    if min(*kernel, *stride, *dilation) < 1:
        raise ConversionError(f"kernel {kernel}, stride {stride}, dilation {dilation}")
    if max(*kernel, *stride, *dilation, *source[1:], *target[1:]) > 65535:
        raise ConversionError("a dimension is larger than 65535")
    if max(k * d for k, d in zip(kernel, dilation, strict=True)) > 65535:
        raise ConversionError("the dilated kernel is larger than 65535")
    mode = options.Padding()
    rows = _pad(mode, source[1], target[1], kernel[0], stride[0], dilation[0])
    columns = _pad(mode, source[2], target[2], kernel[1], stride[1], dilation[1])
    return Window(kernel, stride, dilation, Padding(*rows, *columns))


def _pad(
    mode: int, source: int, target: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    """(before, after) along one dimension, as in TFLM's kernels/padding.h."""
    extent = (kernel - 1) * dilation + 1
    if mode == tflite.Padding.SAME:
        expected = (source + stride - 1) // stride
    elif mode == tflite.Padding.VALID:
        expected = (source + stride - extent) // stride
    else:
        raise ConversionError(f"padding {mode} is neither SAME nor VALID")
    if target != expected:
        raise ConversionError(f"an output side is {target}; input and options make it {expected}")
    total = max(0, (target - 1) * stride + extent - source)
    return total // 2, total - total // 2
