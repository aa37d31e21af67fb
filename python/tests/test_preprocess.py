"""The resize of source images, against its definition pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from variant_parallelism._native import ffi, lib

from variant_parallelism.preprocess import input_lut, normalise, resize_crop, resize_crop_many


def scalar_pixel(image: np.ndarray, i: int, j: int, channel: int, resized: int) -> int:
    """One pixel of the resized image, by the text of vp/resize.h."""

    def axis(index: int, n: int) -> tuple[int, int, int]:
        p = (2 * index + 1) * n * 128 // resized - 128
        p = min(max(p, 0), 256 * (n - 1))
        return p >> 8, min((p >> 8) + 1, n - 1), p & 255

    y0, y1, fy = axis(i, image.shape[0])
    x0, x1, fx = axis(j, image.shape[1])
    a, b, c, d = (int(image[y, x, channel]) for y in (y0, y1) for x in (x0, x1))
    return (((a * (256 - fx) + b * fx) * (256 - fy) + (c * (256 - fx) + d * fx) * fy) + 32768) >> 16


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_resize_crop_equals_the_scalar_formula(data: st.DataObject) -> None:
    height, width, crop = (data.draw(st.integers(1, 14)) for _ in range(3))
    margin = data.draw(st.integers(0, 5))
    top, left = (data.draw(st.integers(0, margin)) for _ in range(2))
    channels = data.draw(st.sampled_from([1, 3]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    result = resize_crop(image, crop + margin, crop, top, left)
    expected = [
        [
            [scalar_pixel(image, i + top, j + left, c, crop + margin) for c in range(channels)]
            for j in range(crop)
        ]
        for i in range(crop)
    ]
    assert result.dtype == np.uint8
    assert result.tolist() == expected


IDENTITY = np.arange(256, dtype=np.uint8).view(np.int8)


def node_resize(image: np.ndarray, crop: int, margin: int, top: int, left: int) -> np.ndarray:
    """The firmware's C, with a table that leaves pixels as they are."""
    geometry = ffi.new("vp_resize *")
    geometry.source_height, geometry.source_width, geometry.channels = image.shape
    geometry.crop_height = geometry.crop_width = crop
    geometry.margin, geometry.crop_top, geometry.crop_left = margin, top, left
    result = np.empty((crop, crop, image.shape[2]), np.int8)
    status = lib.vp_resize_rows(
        geometry,
        ffi.from_buffer("uint8_t[]", image),
        ffi.from_buffer("int8_t[]", IDENTITY),
        0,
        crop,
        ffi.from_buffer("int8_t[]", result, require_writable=True),
    )
    assert status == 0
    return result.view(np.uint8)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_resize_crop_equals_the_nodes_c(data: st.DataObject) -> None:
    height, width, crop = (data.draw(st.integers(1, 90)) for _ in range(3))
    margin = data.draw(st.integers(0, 12))
    top, left = (data.draw(st.integers(0, margin)) for _ in range(2))
    shape = (height, width, data.draw(st.sampled_from([1, 3])))
    seed = data.draw(st.integers(0, 2**32 - 1))
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    ours = resize_crop(image, crop + margin, crop, top, left)
    assert np.array_equal(ours, node_resize(image, crop, margin, top, left))


def test_same_size_is_the_identity() -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)
    assert np.array_equal(resize_crop(image, 9, 9), image)


def test_many_images_equal_one_at_a_time() -> None:
    images = np.random.default_rng(2).integers(0, 256, (7, 8, 8, 1), np.uint8)
    together = resize_crop_many(images, 13, 11, 1, 2, chunk=3)
    for image, result in zip(images, together, strict=True):
        assert np.array_equal(resize_crop(image, 13, 11, 1, 2), result)


@pytest.mark.parametrize(
    ("resized", "crop", "top", "left"), [(8, 9, 0, 0), (8, 6, 3, 0), (8, 6, 0, -1), (0, 0, 0, 0)]
)
def test_geometry_outside_the_image_is_an_error(
    resized: int, crop: int, top: int, left: int
) -> None:
    with pytest.raises(ValueError, match=r"crop|not all in"):
        resize_crop(np.zeros((4, 4, 1), np.uint8), resized, crop, top, left)


def test_normalise_maps_the_pixel_range_to_minus_one_to_one() -> None:
    assert normalise(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]


def test_lut_rounds_ties_away_from_zero() -> None:
    # At scale 1/127.5 every real value is a tie: pixel p lies at p - 127.5 steps.
    table = input_lut(1 / 127.5, 0)
    assert table[[126, 127, 128, 129]].tolist() == [-2, -1, 1, 2]
    assert table[[0, 255]].tolist() == [-128, 127]


@settings(deadline=None)
@given(st.floats(1e-4, 1.0), st.integers(-128, 127))
def test_lut_is_monotonic_and_close_to_the_real_value(scale: float, zero_point: int) -> None:
    table = input_lut(scale, zero_point).astype(np.int64)
    assert (np.diff(table) >= 0).all()
    inside = (table > -128) & (table < 127)
    real = (np.arange(256) - 127.5) / 127.5
    error = np.abs((table - zero_point) * scale - real)[inside]
    assert (error <= scale * 0.5000001).all()


def test_lut_rejects_a_scale_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match="not positive"):
        input_lut(0.0, 0)
