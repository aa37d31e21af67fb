"""What a node without a sensor captures: the test pattern, by the node's own C (vp/pattern.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._native import ffi, lib


def captured(node: int, request: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """uint8 (height, width, channels) that `node` captures for `request`, both 0 to 65535.

    The shape is the fleet's input unless the board's source has one of its own.
    """
    height, width, channels = shape
    image = np.empty(shape, np.uint8)
    for row in range(height):
        out = ffi.from_buffer("uint8_t[]", image[row], require_writable=True)
        lib.vp_pattern_row(node, request, row, width, channels, out)
    return image
