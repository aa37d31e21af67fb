"""Source image -> a variant's input, exactly as the node computes it (vp/resize.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 4096


def _axis(
    source: int, resized: int, first: int, count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint32]]:
    """Pixel before, pixel after and distance in 1/256 pixel for `count` resized positions."""
    index = np.arange(first, first + count, dtype=np.int64)
    position = np.clip((2 * index + 1) * source * 128 // resized - 128, 0, 256 * (source - 1))
    low = position >> 8
    high = np.minimum(low + 1, source - 1)
    return low.astype(np.intp), high.astype(np.intp), (position & 255).astype(np.uint32)


def resize_crop(
    images: NDArray[np.uint8], resized: int, crop: int, top: int = 0, left: int = 0
) -> NDArray[np.uint8]:
    """Bilinear resize of uint8 (..., H, W, C) to resized x resized, then a crop.

    Only the crop x crop pixels at (top, left) are computed. Half-pixel centres, clamped edges, no
    antialiasing, integer arithmetic: bit for bit the formula of `vp_resize_rows` before its table.
    Raises ValueError if the crop leaves the resized image or a side is not in 1 .. 4096.
    """
    height, width = images.shape[-3:-1]
    if not all(1 <= side <= MAX_SIDE for side in (height, width, resized, crop)):
        raise ValueError(f"{height} x {width} -> {resized} -> {crop}: not all in 1..{MAX_SIDE}")
    if top < 0 or left < 0 or top + crop > resized or left + crop > resized:
        raise ValueError(f"crop {crop} at ({top}, {left}) leaves the {resized} x {resized} image")
    y0, y1, fy = _axis(height, resized, top, crop)
    x0, x1, fx = _axis(width, resized, left, crop)
    fx, fy = fx[:, None], fy[:, None, None]
    full = np.uint32(256)
    wide: NDArray[np.uint32] = images.astype(np.uint32)
    across = wide[..., x0, :] * (full - fx) + wide[..., x1, :] * fx
    total = across[..., y0, :, :] * (full - fy) + across[..., y1, :, :] * fy
    pixels: NDArray[np.uint8] = ((total + np.uint32(32768)) >> np.uint32(16)).astype(np.uint8)
    return pixels


def resize_crop_many(
    images: NDArray[np.uint8],
    resized: int,
    crop: int,
    top: int = 0,
    left: int = 0,
    chunk: int = 1000,
) -> NDArray[np.uint8]:
    """`resize_crop` of (N, H, W, C) in chunks, so that the intermediate sums stay small."""
    result = np.empty((len(images), crop, crop, images.shape[-1]), np.uint8)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        result[part] = resize_crop(images[part], resized, crop, top, left)
    return result


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 pixels -> float32 in [-1, 1]: (pixel - 127.5) / 127.5."""
    return (pixels.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


def input_lut(scale: float, zero_point: int) -> NDArray[np.int8]:
    """int8[256]: the quantized input of each 8-bit pixel value.

    clamp(round((pixel - 127.5) / 127.5 / scale) + zero_point, -128, 127), in float64, ties away
    from zero. The table is data to the node: host and node cannot disagree on rounding.
    """
    if not scale > 0:
        raise ValueError(f"input scale {scale} is not positive")
    real = (np.arange(256, dtype=np.float64) - 127.5) / 127.5 / np.float64(scale)
    rounded = np.copysign(np.floor(np.abs(real) + 0.5), real)
    table: NDArray[np.int8] = np.clip(rounded + zero_point, -128, 127).astype(np.int8)
    return table
