"""PNG and JPEG files -> the fleet's input."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from variant_parallelism.errors import VpError
from variant_parallelism.manifest import InputInfo

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded."""

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def read_image(path: Path, wanted: InputInfo) -> NDArray[np.uint8]:
    """A file as uint8 (height, width, channels) of `wanted`; VpError names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VpError(f"cannot read image {path}: {error.strerror}") from None
    return decode_image(data, wanted, f"image {path}")


def decode_image(data: bytes, wanted: InputInfo, name: str = "image") -> NDArray[np.uint8]:
    """An encoded PNG or JPEG as uint8 (height, width, channels) of `wanted`.

    Turned upright by its EXIF orientation, converted to grey or RGB by the number of channels,
    and resized (bilinear) if its size differs. VpError names it by `name`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise VpError(
                    f"{name} has {image.width} x {image.height} pixels: "
                    f"shrink it to at most {MAX_PIXELS // 1_000_000} million"
                )
            pixels = _to_8_bits(ImageOps.exif_transpose(image)).convert(_MODES[wanted.channels])
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES):
            raise VpError(f"{name} is damaged: its header cannot be read") from None
        raise VpError(f"{name} is neither PNG nor JPEG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VpError(f"{name} is damaged: {' '.join(str(error).split())}") from None
    size = (wanted.width, wanted.height)
    if pixels.size != size:
        pixels = pixels.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(pixels, np.uint8).reshape(wanted.height, wanted.width, wanted.channels)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; Pillow's own conversion would clip it."""
    if not image.mode.startswith("I"):
        return image
    wide = np.asarray(image, np.int64)
    return Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8), "L")
