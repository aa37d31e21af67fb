"""SOFTMAX (TFLM: kernels/softmax_common.cc; arithmetic: gemmlowp, fixedpoint/fixedpoint.h)."""

from __future__ import annotations

from vp_converters.fixed_point import quantize_multiplier
from vp_converters.ir import Graph, Op
from vp_converters.lowering.step import Step, int32_array
from vp_converters.lowering.tensors import activation, tensors_of

_MAX_CLASSES = 4095
_MAX_DISTANCE = 255
_INTEGER_BITS = 5
_FRACTION_BITS = 31 - _INTEGER_BITS

_EXP_MINUS_EIGHTH = 1895147668
_THIRD = 715827883
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^(i - 2)) in Q0.31."""


def lower_softmax(graph: Graph, op: Op) -> Step:
    """A softmax step over the last dimension."""
    (source,), target = tensors_of(graph, op, 1)
    scale, _ = activation(source)
    if activation(target) != (1 / 256, -128) or source.shape != target.shape or not source.shape:
        raise ValueError("the output must have the input's shape, scale 1/256 and zero point -128")
    classes = source.shape[-1]
    if classes > _MAX_CLASSES:
        raise ValueError(f"{classes} classes; at most {_MAX_CLASSES} are supported")
    beta = op.attributes.beta
    ratio = min(beta * scale * 2**_FRACTION_BITS, 2.0**31 - 1)
    if not ratio > 1:
        raise ValueError(f"beta {beta:g} * scale {scale:g} is too small")
    exponentials = int32_array("exponentials", _exponentials(ratio))
    return Step(
        op_index=op.index,
        operator=op.kind,
        kernel="softmax",
        parameters={
            "rows": source.size // classes,
            "classes": classes,
            "distances": exponentials.data.size,
            "exponentials": exponentials,
        },
        inputs=(source.index,),
        output=target.index,
        in_place=(0,),
    )


def _exponentials(ratio: float) -> list[int]:
    """exp(-distance * ratio / 2^26) in Q0.31 for distance 0, 1, ... as far as it counts: scores
    are at most 255 apart, and TFLM takes what is beyond the range of Q5.26 for 0."""
    multiplier, shift = _multiplier(ratio)
    radius = (2**_INTEGER_BITS - 1) << _FRACTION_BITS >> shift
    return [
        _exp(_high_product(-distance << shift, multiplier))
        for distance in range(min(radius, _MAX_DISTANCE) + 1)
    ]


def _multiplier(ratio: float) -> tuple[int, int]:
    if ratio < 2.0**30:
        return quantize_multiplier(ratio)
    # One more bit than elsewhere: only a distance of 0 is ever shifted this far.
    multiplier, shift = quantize_multiplier(ratio / 2)
    return multiplier, shift + 1


def _exp(x: int) -> int:
    """exp(x) in Q0.31 for x <= 0 in Q5.26."""
    if x == 0:
        return 2**31 - 1
    quarter = 1 << (_FRACTION_BITS - 2)
    small = x % quarter - quarter
    quarters = (small - x) // quarter
    result = _exp_small(small << _INTEGER_BITS)
    for bit, power in enumerate(_POWERS):
        if quarters >> bit & 1:
            result = _high_product(result, power)
    return result


def _exp_small(x: int) -> int:
    """exp(x) in Q0.31 for -1/4 <= x < 0 in Q0.31: Taylor's series about -1/8."""
    x1 = x + (1 << 28)
    x2 = _high_product(x1, x1)
    x3 = _high_product(x2, x1)
    x4 = _high_product(x2, x2)
    cubic = _high_product(_shift_right(x4, 2) + x3, _THIRD) + x2
    return _EXP_MINUS_EIGHTH + _high_product(_EXP_MINUS_EIGHTH, x1 + _shift_right(cubic, 1))


def _high_product(a: int, b: int) -> int:
    """a * b / 2^31, to nearest, ties up."""
    return (a * b + (1 << 30)) >> 31


def _shift_right(x: int, bits: int) -> int:
    """x / 2^bits, to nearest, ties away from zero."""
    half = 1 << (bits - 1)
    return (x + half) >> bits if x >= 0 else -((-x + half) >> bits)
