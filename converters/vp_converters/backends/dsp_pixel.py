"""Convolutions of a single pixel: vp_nn_dsp_pixel, four channels at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vp_converters.backends.dsp_layouts import NHWC, Rows, Tile16
from vp_converters.backends.dsp_records import (
    filter_weights,
    filters,
    number_of,
    packed_records,
    padded,
    tiled_order,
)
from vp_converters.backends.dsp_scaling import HEAD, Weights
from vp_converters.lowering.step import Step, int8_array

_LEAST_MACS = 4096
"""With fewer its code takes more flash than the step is worth."""

_SUM_LIMIT = 2**23


def pixel(step: Step, rows: Mapping[int, Rows]) -> Step | None:
    """A proven conv_1x1 or fully_connected step of a single call as a dsp_pixel step, if it has a
    single pixel and fits."""
    width = {"conv_1x1": "output_width", "fully_connected": "vectors"}.get(step.kernel)
    if width is None or number_of(step, width) != 1 or step.macs < _LEAST_MACS:
        return None
    source, target = rows.get(step.inputs[0], NHWC), rows.get(step.output, NHWC)
    is_tiled = isinstance(source, Tile16)
    weights = filter_weights(step)
    stored = tiled_order(weights) if is_tiled else padded(weights)
    packed = packed_records(step, stored).data.reshape(len(stored), -1)
    quartets = _quartets(packed[:, :HEAD], stored)
    if not quartets:
        return None
    taken = 4 * len(quartets)
    # An array in C has at least one element.
    behind = packed[taken:].reshape(-1) if taken < len(packed) else [0]
    rest = {
        **filters(step, target, stored),
        "records": int8_array("records", behind),
        "channels": len(stored) - taken,
    }
    return replace(
        step,
        kernel="dsp_pixel_tiled" if is_tiled else "dsp_pixel",
        type="dsp_pixel",
        parameters={
            "quartets": int8_array("quartets", np.concatenate(quartets)),
            "quartet_count": len(quartets),
            "input_channels": weights.shape[1],
            "rest": rest,
        },
        scratch=0 if is_tiled else 2 * (stored.shape[1] + stored.shape[1] % 8),
        joined=None,
    )


def _quartets(heads: Weights, stored: Weights) -> list[npt.NDArray[np.int8]]:
    """The first channels, four at a time, up to the first four that do not fit."""
    rows = np.pad(stored, ((0, 0), (0, stored.shape[1] % 8))).astype(np.int32)
    # Bytes 0 and 2 of each four meet one word of activations, 1 and 3 the next.
    words = rows.reshape(len(rows), -1, 4)[:, :, [0, 2, 1, 3]]
    quartets = []
    for first in range(0, len(rows) - 3, 4):
        low, high = words[first : first + 4 : 2], words[first + 1 : first + 4 : 2]
        if high.min() < -127 or (np.abs(high).sum(axis=(1, 2)) * 128 >= _SUM_LIMIT).any():
            break
        pairs = (256 * high + low).astype("<i2").reshape(2, -1, 2, 2)
        body = np.ascontiguousarray(pairs.transpose(1, 2, 0, 3)).view(np.int8)
        quartets.append(np.concatenate([heads[first : first + 4].reshape(-1), body.reshape(-1)]))
    return quartets
