"""Graph operators become kernel calls.

The steps made here are portable; `backends` replaces them by ones for an instruction set.
"""

from __future__ import annotations

from collections.abc import Callable

from vp_converters.errors import ConversionError
from vp_converters.ir import Graph, Op
from vp_converters.lowering.convolution import lower_conv_2d, lower_depthwise_conv_2d
from vp_converters.lowering.elementwise import lower_add
from vp_converters.lowering.fully_connected import lower_fully_connected
from vp_converters.lowering.layout import lower_pad, lower_reshape
from vp_converters.lowering.pool import lower_pool_2d
from vp_converters.lowering.reduce import lower_mean, lower_reduce_max
from vp_converters.lowering.softmax import lower_softmax
from vp_converters.lowering.step import Alias, Program, Step

LOWERINGS: dict[str, Callable[[Graph, Op], Step | Alias]] = {
    "ADD": lower_add,
    "AVERAGE_POOL_2D": lower_pool_2d,
    "CONV_2D": lower_conv_2d,
    "DEPTHWISE_CONV_2D": lower_depthwise_conv_2d,
    "EXPAND_DIMS": lower_reshape,
    "FULLY_CONNECTED": lower_fully_connected,
    "MAX_POOL_2D": lower_pool_2d,
    "MEAN": lower_mean,
    "PAD": lower_pad,
    "PADV2": lower_pad,
    "REDUCE_MAX": lower_reduce_max,
    "RESHAPE": lower_reshape,
    "SOFTMAX": lower_softmax,
    "SQUEEZE": lower_reshape,
}

# Operators that share their weights each get their own copy.
MAX_CONSTANT_BYTES = 2**26


def lower(graph: Graph) -> Program:
    """The kernel calls that compute ``graph``.

    Raises:
        ConversionError: an operator, or something about it, is not supported; the text names the
            operator, its index and its tensors.
    """
    if graph.tensors[graph.output].data is not None:
        raise ConversionError("the model's output is a constant")
    steps: list[Step] = []
    aliases: list[Alias] = []
    constants = 0
    for op in graph.ops:
        lowering = LOWERINGS.get(op.kind)
        if lowering is None:
            raise graph.error(op, "not a supported operator; vp build --runtime tflm may run it")
        try:
            result = lowering(graph, op)
        except (ConversionError, ValueError) as error:
            raise graph.error(op, str(error)) from None
        if isinstance(result, Alias):
            aliases.append(result)
        else:
            steps.append(result)
            constants += _constant_bytes(graph, result)
        if constants > MAX_CONSTANT_BYTES:
            raise graph.error(op, f"the constants up to here need {constants} bytes")
    return Program(graph, tuple(steps), tuple(aliases))


def _constant_bytes(graph: Graph, step: Step) -> int:
    operands = [graph.tensors[index] for index in step.inputs]
    return sum(array.size for array in step.arrays()) + sum(
        tensor.size for tensor in operands if tensor.data is not None
    )
