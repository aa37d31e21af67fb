"""The test pattern against the formula in vp/pattern.h, stated a second time in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from variant_parallelism.pattern import captured


def mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def formula(node: int, request: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    row, column, channel = np.indices(shape, np.uint32)
    seed = mix(np.array([request << 16 | node], np.uint32))
    number = int(seed[0])
    slope = (
        ((number & 7) + 1) * column
        + ((number >> 3 & 7) + 1) * row
        + (number >> 6 & 255)
        + 64 * channel
    )
    fold = np.where(slope & 128, 127 - (slope & 127), slope & 127)
    place = ((row // 4) << np.uint32(18)) | ((column // 4) << np.uint32(8)) | channel
    picture: NDArray[np.uint8] = (fold + (mix(seed ^ place) & 127)).astype(np.uint8)
    return picture


@pytest.mark.parametrize("shape", [(32, 32, 1), (96, 128, 3), (1, 4096, 2), (61, 1, 255)])
@pytest.mark.parametrize(("node", "request_number"), [(0, 0), (7, 40001), (65534, 65535)])
def test_a_node_captures_what_the_formula_says(
    node: int, request_number: int, shape: tuple[int, int, int]
) -> None:
    image = captured(node, request_number, shape)
    assert image.shape == shape and image.dtype == np.uint8
    assert np.array_equal(image, formula(node, request_number, shape))


def test_every_node_and_request_has_a_picture_of_its_own() -> None:
    pictures = {
        captured(node, number, (8, 8, 1)).tobytes() for node in range(40) for number in range(40)
    }
    assert len(pictures) == 1600
    assert len(np.unique(captured(1, 1, (32, 32, 1)))) > 100
