"""Graph passes, one by one. That results stay equal is what the exactness tests check."""

from __future__ import annotations

import numpy as np
import pytest

from tflite_builder import ModelBuilder
from vp_converters import ConversionError
from vp_converters.ir import Graph, Padding
from vp_converters.passes import run_passes
from vp_converters.passes.dead_ops import remove_dead_ops
from vp_converters.passes.fold_pad import fold_pad
from vp_converters.passes.fold_shapes import fold_shapes
from vp_converters.reader import read_graph


def _flatten_chain(index: int = 0, shrink: int = 1) -> Graph:
    """Tensors: 0 input, 1 shape, 2 batch, 3 target, 4 output."""
    model = ModelBuilder()
    source = model.activation((1, 2, 3))
    shape = model.computed_int32((3,))
    batch = model.computed_int32(())
    target = model.computed_int32((2,))
    output = model.activation((1, 6))
    begin, end = model.constant([index], "int32"), model.constant([index + 1], "int32")
    one, six = model.constant([1], "int32"), model.constant(6, "int32")
    model.op("SHAPE", [source], [shape], OutType="INT32")
    model.op("STRIDED_SLICE", [shape, begin, end, one], [batch], ShrinkAxisMask=shrink)
    model.op("PACK", [batch, six], [target], ValuesCount=2, Axis=0)
    model.op("RESHAPE", [source, target], [output])
    return read_graph(model.build([source], [output]))


def test_the_flatten_chain_becomes_a_constant() -> None:
    graph = fold_shapes(_flatten_chain())
    assert [op.kind for op in graph.ops] == ["RESHAPE"]
    np.testing.assert_array_equal(graph.tensors[3].data, [1, 6])


def test_a_slice_outside_its_vector_is_an_error() -> None:
    with pytest.raises(ConversionError, match=r"operator 1 STRIDED_SLICE.*index 5 is outside"):
        fold_shapes(_flatten_chain(index=5))


def test_a_slice_that_contradicts_its_output_is_an_error() -> None:
    with pytest.raises(ConversionError, match=r"operator 1 STRIDED_SLICE.*computes shape \[1\]"):
        fold_shapes(_flatten_chain(shrink=0))


def test_a_reshape_to_another_target_is_an_error() -> None:
    from vp_converters.lowering import lower

    with pytest.raises(ConversionError, match=r"RESHAPE.*target shape \[3, 6\]"):
        lower(run_passes(_flatten_chain(index=2)))


def test_constants_are_reshaped() -> None:
    model = ModelBuilder()
    source, output = model.activation((1, 6)), model.activation((1, 6))
    flat = model.constant(np.arange(6), scales=[1.0])
    row = model.activation((1, 6))
    model.op("RESHAPE", [flat, model.constant([1, 6], "int32")], [row])
    model.op("ADD", [source, row], [output])
    graph = fold_shapes(read_graph(model.build([source], [output])))
    assert [op.kind for op in graph.ops] == ["ADD"]
    np.testing.assert_array_equal(graph.tensors[row].data, [[0, 1, 2, 3, 4, 5]])


def test_what_nobody_reads_is_dropped() -> None:
    model = ModelBuilder()
    source, output, unused = (model.activation((1, 6)) for _ in range(3))
    model.op("LOGISTIC", [source], [unused])
    model.op("ADD", [source, source], [output])
    model.op("LOGISTIC", [output], [model.activation((1, 6))])
    graph = remove_dead_ops(read_graph(model.build([source], [output])))
    assert [op.kind for op in graph.ops] == ["ADD"]


def _padded(readers: int = 1, is_output: bool = False, scale: float = 0.5) -> Graph:
    model = ModelBuilder()
    source = model.activation((1, 4, 4, 1), 0.5, 3)
    padded = model.activation((1, 7, 6, 1), scale, 3)
    amounts = model.constant([(0, 0), (1, 2), (2, 0), (0, 0)], "int32")
    model.op("PAD", [source, amounts], [padded])
    output = padded
    for _ in range(readers):
        weights = model.constant(np.ones((1, 3, 3, 1)), scales=[0.1])
        output = model.activation((1, 5, 4, 1), 0.5, 0)
        options = {"Padding": "VALID", "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1}
        model.op("DEPTHWISE_CONV_2D", [padded, weights], [output], **options)
    return read_graph(model.build([source], [padded if is_output else output]))


def test_padding_moves_into_the_convolution() -> None:
    graph = fold_pad(_padded())
    assert [op.kind for op in graph.ops] == ["DEPTHWISE_CONV_2D"]
    window = graph.ops[0].attributes.window
    assert window is not None
    assert window.padding == Padding(top=1, bottom=2, left=2, right=0)
    assert graph.ops[0].inputs[0] == graph.input


@pytest.mark.parametrize(
    "graph",
    [_padded(readers=2), _padded(is_output=True), _padded(scale=0.25)],
    ids=["two readers", "the model's output", "another scale"],
)
def test_padding_stays_where_it_is_needed(graph: Graph) -> None:
    assert fold_pad(graph).ops == graph.ops
