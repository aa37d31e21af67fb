"""Image files of every kind become the fleet's input, or one clear line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from variant_parallelism.errors import VpError
from variant_parallelism.images import MAX_PIXELS, decode_image, read_image
from variant_parallelism.manifest import InputInfo

COLOUR = InputInfo(height=8, width=12, channels=3)
GREY = InputInfo(height=8, width=12, channels=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_an_image_of_the_right_size_is_unchanged() -> None:
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(PIXELS)), COLOUR), PIXELS)
    grey = PIXELS[:, :, 0]
    result = decode_image(encoded(Image.fromarray(grey)), GREY)
    assert result.shape == (8, 12, 1)
    np.testing.assert_array_equal(result[:, :, 0], grey)


MODES = [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")] + [
    ("JPEG", mode) for mode in ("L", "RGB", "CMYK")
]


@pytest.mark.parametrize(("kind", "mode"), MODES)
@pytest.mark.parametrize("wanted", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_mode_becomes_the_wanted_channels(kind: str, mode: str, wanted: InputInfo) -> None:
    colour = Image.new("RGB", (20, 30), (128, 128, 128))
    if mode == "I;16":
        image = Image.fromarray(np.full((30, 20), 128 * 256, np.uint16))
    else:
        image = colour.quantize(2) if mode == "P" else colour.convert(mode)
    pixels = decode_image(encoded(image, kind), wanted)
    assert (pixels.shape, pixels.dtype) == ((8, 12, wanted.channels), np.uint8)
    if mode == "1":
        assert pixels.min() < 128 < pixels.max()
    else:
        assert np.abs(pixels.astype(int) - 128).max() <= 3


def test_another_size_is_resized() -> None:
    image = Image.new("L", (100, 50))
    image.paste(200, (50, 0, 100, 50))
    pixels = decode_image(encoded(image), GREY)[:, :, 0]
    assert pixels[:, :5].max() == 0
    assert pixels[:, 7:].min() == 200


def test_a_photo_is_turned_upright() -> None:
    image = Image.new("L", (12, 8))
    image.paste(255, (0, 0, 12, 4))
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = decode_image(encoded(image, "JPEG", exif=exif), GREY)[:, :, 0]
    assert pixels[:4].mean() < 10
    assert pixels[4:].mean() > 245


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nothing.png"
    with pytest.raises(VpError, match=r"cannot read image .*nothing\.png: No such file"):
        read_image(path, GREY)
    with pytest.raises(VpError, match=r"cannot read image .*: Is a directory"):
        read_image(tmp_path, GREY)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"GIF89a" + bytes(50)], ids=["empty", "text", "gif"]
)
def test_what_is_no_image_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(VpError, match=r"image .*x\.png is neither PNG nor JPEG"):
        read_image(path, GREY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_named(kind: str) -> None:
    data = encoded(Image.fromarray(np.repeat(PIXELS, 20, axis=0)), kind)
    with pytest.raises(VpError, match=r"body is damaged: .*truncated") as error:
        decode_image(data[: len(data) // 2], COLOUR, "the body")
    assert "\n" not in str(error.value)


def test_an_image_that_would_fill_the_memory_is_refused() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    data = encoded(Image.new("1", (side, side)))
    with pytest.raises(VpError, match="shrink it to at most 50 million"):
        decode_image(data, GREY)


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200), st.sampled_from(["PNG", "JPEG"]))
def test_damaged_bytes_are_decoded_or_refused(noise: bytes, at: int, kind: str) -> None:
    data = bytearray(encoded(Image.fromarray(PIXELS), kind))
    data[at : at + len(noise)] = noise
    try:
        pixels = decode_image(bytes(data), COLOUR)
    except VpError as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (8, 12, 3)
