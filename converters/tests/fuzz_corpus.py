"""Damaged .tflite files, made deterministically from good ones.

Two kinds. Byte-level damage knows where the reader looks: every number that the bindings fetch from
a good file is a place to cut the file, to flip bits, to write an absurd value or a value from
elsewhere. Model-level damage changes the tensors and operators before the file is written, so that
the file itself stays sound and the checks behind the reader are reached.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import flatbuffers
import numpy as np

from random_graphs import IMAGE_OPS, Draft, single_op_draft, small_graph_draft
from tflite_builder import OPTION_TABLES, OPTIONS, TYPES, OpSpec, TensorSpec
from vp_converters.reader import read_graph

ABSURD = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**16, 2**24, 2**30)
ABSURD += (2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
DIMENSIONS = (-(2**31), -1, 0, 1, 2, 3, 65535, 65536, 2**24, 2**28, 2**31 - 1)
SCALES = (0.0, -0.0, 1e-45, 1e-38, 2.0**-32, 2.0**-20, 1 / 256, 1.0, 2.0**20, 3.4e38)
SCALES += (-1.0, float("nan"), float("inf"), float("-inf"))
ZERO_POINTS = (-(2**63), -(2**31), -129, -128, -1, 0, 1, 127, 128, 255, 2**31, 2**63 - 1)
NUMBERS = (-(2**31), -(2**16), -128, -2, -1, 0, 1, 2, 3, 5, 127, 2**16, 2**24, 2**31 - 1)
OTHER_KINDS = ("CUSTOM", "LOGISTIC", "CONCATENATION", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
OTHER_KINDS += ("SQUEEZE", "EXPAND_DIMS", "WHILE", "QUANTIZE", "DEQUANTIZE")
INT_OPTIONS = ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor", "FilterHeight")
INT_OPTIONS += ("FilterWidth", "DepthMultiplier", "BeginMask", "EndMask", "ShrinkAxisMask")
INT_OPTIONS += ("EllipsisMask", "NewAxisMask", "Axis")


@dataclass(frozen=True)
class Mutant:
    """A file with the label that makes it again."""

    label: str
    data: bytes


def places(data: bytes) -> dict[int, int]:
    """offset -> width in bytes of every number that reading the good file ``data`` fetches."""
    found: dict[int, int] = {}
    fetch = flatbuffers.encode.Get

    def recording(packer: Any, buffer: bytes, head: int) -> Any:
        found[head] = packer.size
        return fetch(packer, buffer, head)

    with mock.patch("flatbuffers.encode.Get", recording):
        read_graph(data)
    return found


def truncated(label: str, data: bytes) -> Iterator[Mutant]:
    """Cut before and within every number, and at the very end."""
    cuts = {cut for offset, width in places(data).items() for cut in (offset, offset + width - 1)}
    for cut in sorted(cuts | {0, 4, 8, len(data) - 1}):
        yield Mutant(f"{label} cut at {cut}", data[:cut])


def absurd_numbers(label: str, data: bytes) -> Iterator[Mutant]:
    """Every number replaced by every absurd one that is as wide."""
    for offset, width in sorted(places(data).items()):
        for value in ABSURD:
            if value < 1 << 8 * width:
                yield _with(f"{label} {value} at {offset}", data, offset, value, width)


def nudged(label: str, data: bytes) -> Iterator[Mutant]:
    """Every number off by a little."""
    for offset, width in sorted(places(data).items()):
        old = int.from_bytes(data[offset : offset + width], "little")
        for change in (-4, -1, 1, 4):
            value = (old + change) % (1 << 8 * width)
            yield _with(f"{label} {change:+} at {offset}", data, offset, value, width)


def damaged(label: str, data: bytes, rng: random.Random, count: int) -> Iterator[Mutant]:
    """``count`` files with one to three random faults, most of them in numbers."""
    known = sorted(places(data).items())
    for number in range(count):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            rng.choice((_flip, _flip_anywhere, _transplant, _transplant, _absurd))(
                changed, known, rng
            )
        yield Mutant(f"{label} damaged {number}", bytes(changed))


def _with(label: str, data: bytes, offset: int, value: int, width: int) -> Mutant:
    number = value.to_bytes(width, "little")
    return Mutant(label, data[:offset] + number + data[offset + width :])


def _flip(data: bytearray, known: list[tuple[int, int]], rng: random.Random) -> None:
    offset, width = rng.choice(known)
    data[offset + rng.randrange(width)] ^= 1 << rng.randrange(8)


def _flip_anywhere(data: bytearray, known: list[tuple[int, int]], rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _transplant(data: bytearray, known: list[tuple[int, int]], rng: random.Random) -> None:
    offset, width = rng.choice(known)
    source = rng.choice([place for place, size in known if size == width])
    data[offset : offset + width] = data[source : source + width]


def _absurd(data: bytearray, known: list[tuple[int, int]], rng: random.Random) -> None:
    offset, width = rng.choice(known)
    value = rng.choice(ABSURD) % (1 << 8 * width)
    data[offset : offset + width] = value.to_bytes(width, "little")


def changed_models(rng: random.Random, count: int, label: str = "model") -> Iterator[Mutant]:
    """``count`` random models with one to three faults in their tensors and operators."""
    for number in range(count):
        draft = _random_draft(rng)
        subgraphs = 1
        names = []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            change = rng.choice(CHANGES)
            names.append(change.__name__.strip("_"))
            draft = change(draft, rng)
        if rng.randrange(100) == 0:
            subgraphs = rng.choice((0, 2, 7))
        data = draft.model.build([draft.input], [draft.output], subgraphs)
        yield Mutant(f"{label} {number} {' '.join(names)}", data)


def _random_draft(rng: random.Random) -> Draft:
    kind = rng.choice((*IMAGE_OPS, "graph", "graph"))
    return small_graph_draft(rng) if kind == "graph" else single_op_draft(rng, kind)


def _tensor(draft: Draft, rng: random.Random) -> TensorSpec:
    return rng.choice(draft.model.tensors)


def _op(draft: Draft, rng: random.Random) -> OpSpec:
    return rng.choice(draft.model.ops)


def _dimension(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    shape = list(spec.shape) or [1]
    place = rng.randrange(len(shape))
    near = shape[place] + rng.choice((-1, 1, 2))
    shape[place] = rng.choice((*DIMENSIONS, near, near, near))
    spec.shape = tuple(shape)
    return draft


def _rank(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    extra = (rng.choice((1, 1, 2, 65535)),)
    spec.shape = rng.choice(
        (spec.shape[1:], spec.shape[:-1], (*spec.shape, *extra), (*extra, *spec.shape), extra * 7)
    )
    return draft


def _same_shape(draft: Draft, rng: random.Random) -> Draft:
    _tensor(draft, rng).shape = _tensor(draft, rng).shape
    return draft


def _dtype(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    spec.dtype = rng.choice(sorted(TYPES))
    if spec.data is not None and rng.randrange(2):
        with np.errstate(all="ignore"):
            spec.data = spec.data.astype("int8" if spec.dtype == "int4" else spec.dtype)
    return draft


def _scale(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    scales = list(spec.scales) or [1.0]
    scales[rng.randrange(len(scales))] = rng.choice(SCALES)
    spec.scales = scales
    return draft


def _all_scales(draft: Draft, rng: random.Random) -> Draft:
    factor = rng.choice((1e-30, 2.0**-31, 2.0**-16, 2.0**16, 2.0**30, 1e30))
    for spec in draft.model.tensors:
        if rng.randrange(2):
            with np.errstate(over="ignore"):
                spec.scales = [float(np.float32(scale * factor)) for scale in spec.scales]
    return draft


def _scale_count(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    values = list(spec.scales) or [0.5]
    spec.scales = rng.choice(([], values[:1], values[1:], [*values, values[-1]], values * 9))
    if rng.randrange(2):
        spec.zero_points = [0] * rng.choice((0, 1, len(spec.scales), len(spec.scales) + 1))
    spec.axis = rng.choice((0, 1, 3, -1, 9, 2**31 - 1))
    return draft


def _zero_point(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    points = list(spec.zero_points) or [0]
    points[rng.randrange(len(points))] = rng.choice(ZERO_POINTS)
    spec.zero_points = points
    return draft


def _operands(draft: Draft, rng: random.Random) -> Draft:
    op = _op(draft, rng)
    count = len(draft.model.tensors)
    tensors = list(rng.choice((op.inputs, op.outputs)))
    outputs = tensors == list(op.outputs)
    number = rng.choice((-2, -1, *range(count), *range(count), count, 2**31 - 1))
    if tensors and rng.randrange(2):
        tensors[rng.randrange(len(tensors))] = number
    elif tensors and rng.randrange(2):
        tensors.pop(rng.randrange(len(tensors)))
    else:
        tensors.insert(rng.randint(0, len(tensors)), number)
    if outputs:
        op.outputs = tensors
    else:
        op.inputs = tensors
    return draft


def _ends(draft: Draft, rng: random.Random) -> Draft:
    numbers = [draft.input, draft.output]
    count = len(draft.model.tensors)
    numbers[rng.randrange(2)] = rng.choice((-1, *range(count), count, 2**31 - 1))
    return Draft(draft.model, *numbers)


def _order(draft: Draft, rng: random.Random) -> Draft:
    rng.shuffle(draft.model.ops)
    return draft


def _fewer_or_more(draft: Draft, rng: random.Random) -> Draft:
    ops = draft.model.ops
    place = rng.randrange(len(ops))
    if rng.randrange(2):
        ops.append(ops[place])
    elif len(ops) > 1:
        ops.pop(place)
    return draft


def _kind(draft: Draft, rng: random.Random) -> Draft:
    op = _op(draft, rng)
    known = rng.randrange(3) > 0
    op.kind = rng.choice(sorted(OPTIONS)) if known else rng.choice(OTHER_KINDS)
    op.table = rng.choice((None, None, "", rng.choice(OPTION_TABLES)))
    table = OPTIONS.get(op.kind, "") if op.table is None else op.table
    op.options = {} if table not in OPTION_TABLES else _fitting(op.options, table)
    return draft


def _table(draft: Draft, rng: random.Random) -> Draft:
    op = _op(draft, rng)
    op.table = rng.choice(("", *OPTION_TABLES))
    op.options = _fitting(op.options, op.table)
    return draft


def _fitting(options: dict[str, Any], table: str) -> dict[str, Any]:
    import tflite

    return {k: v for k, v in options.items() if hasattr(tflite, f"{table}OptionsAdd{k}")}


def _options(draft: Draft, rng: random.Random) -> Draft:
    op = _op(draft, rng)
    for field in op.options:
        if rng.randrange(2):
            continue
        if field in INT_OPTIONS:
            op.options[field] = rng.choice(NUMBERS)
        elif field in ("Padding", "FusedActivationFunction"):
            op.options[field] = rng.choice((0, 1, 2, 3, 5, 77, -1))
        elif field == "Beta":
            op.options[field] = rng.choice(SCALES)
    return draft


def _values(draft: Draft, rng: random.Random) -> Draft:
    constants = [spec for spec in draft.model.tensors if spec.data is not None and spec.data.size]
    if constants:
        spec = rng.choice(constants)
        data = np.array(spec.data)
        low, high = (-128, 127) if data.dtype == np.int8 else (-(2**31), 2**31 - 1)
        value = rng.choice((low, -1, 0, 1, 2, 7, high))
        data.reshape(-1)[rng.randrange(data.size)] = value
        spec.data = data
    return draft


def _data(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    if spec.data is not None:
        flat = spec.data.reshape(-1)
        spec.data = rng.choice((None, flat[:-1], flat[:0], np.append(flat, flat[:1])))
    elif 0 < np.prod(spec.shape, dtype=object) < 10**5:
        kind = "int32" if spec.dtype == "int32" else "int8"
        spec.data = np.zeros(spec.shape, dtype=kind)
    return draft


def _storage(draft: Draft, rng: random.Random) -> Draft:
    spec = _tensor(draft, rng)
    match rng.randrange(4):
        case 0:
            spec.variable = True
        case 1:
            spec.sparse = True
        case 2:
            spec.outside = rng.choice((1, 2, 100, 2**31))
        case _:
            spec.buffer = rng.choice((*range(len(draft.model.tensors)), 2**31, 2**32 - 1))
    return draft


CHANGES: tuple[Callable[[Draft, random.Random], Draft], ...] = (
    *(_dimension, _rank, _same_shape, _dtype, _scale, _all_scales, _scale_count, _zero_point),
    *(_operands, _operands, _ends, _order, _fewer_or_more, _kind, _table, _options, _options),
    *(_values, _data, _storage),
)
