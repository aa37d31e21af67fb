"""Image files of every kind become the fleet's input, or one clear line."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from variant_parallelism import images
from variant_parallelism.errors import VpError
from variant_parallelism.images import MAX_PIXELS, decode_image, read_image
from variant_parallelism.manifest import InputInfo
from variant_parallelism.training.datasets import load_dataset

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


@pytest.mark.parametrize("size", [(100, 40), (30, 40)], ids=["wide", "tall"])
def test_another_aspect_ratio_is_cropped_in_the_centre(size: tuple[int, int]) -> None:
    """The input is 12 x 8: 60 x 40 of the wide image remain, 30 x 20 of the tall one."""
    kept = (60, 40) if size == (100, 40) else (30, 20)
    left, top = (size[0] - kept[0]) // 2, (size[1] - kept[1]) // 2
    image = Image.new("L", size, 255)
    image.paste(100, (left, top, left + kept[0], top + kept[1]))
    assert (decode_image(encoded(image), GREY) == 100).all()


def test_a_line_of_pixels_is_no_error() -> None:
    for size in ((1, 500), (500, 1)):
        assert decode_image(encoded(Image.new("L", size, 7)), GREY).tolist() == [[[7]] * 12] * 8


def test_a_photo_is_turned_upright() -> None:
    image = Image.new("L", (12, 8))
    image.paste(255, (0, 0, 12, 4))
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = decode_image(encoded(image, "JPEG", exif=exif), GREY)[:, :, 0]
    assert pixels[:4].mean() < 10
    assert pixels[4:].mean() > 245


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"),
    [
        *[(1, 0, False), (2, 0, True), (3, 2, False), (4, 2, True)],
        *[(5, 3, True), (6, 3, False), (7, 1, True), (8, 1, False)],
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_exif_orientation(kind: str, orientation: int, turns: int, mirrored: bool) -> None:
    """Quarter turns anticlockwise, then left and right change places (EXIF 2.32, 4.6.4)."""
    stored = np.zeros((8, 8), np.uint8)
    stored[:4, :4], stored[:4, 4:] = 240, 120
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(stored), kind, exif=exif)
    upright = np.rot90(stored, turns)
    upright = upright[:, ::-1] if mirrored else upright
    pixels = decode_image(data, InputInfo(height=8, width=8, channels=1))[:, :, 0]
    assert np.abs(pixels.astype(int) - upright).max() <= 40


EXIF_HEAD = b"Exif\0\0"
DAMAGED_EXIF = {
    "cut": EXIF_HEAD + b"II*\0\x08\0",
    "no count": EXIF_HEAD + b"II*\0\x08\0\0\0\x01",
    "far away": EXIF_HEAD + b"II*\0\xff\xff\xff\xff",
    "cut entry": EXIF_HEAD + b"II*\0\x08\0\0\0\x09\0\x12\x01\x03\0\x01",
    "a text": EXIF_HEAD + b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0up\0\0\0\0\0\0",
    "no such turn": EXIF_HEAD + b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    "noise": EXIF_HEAD + bytes(range(60)),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("exif", DAMAGED_EXIF.values(), ids=DAMAGED_EXIF)
def test_damaged_exif_leaves_the_image_as_it_is(kind: str, exif: bytes) -> None:
    image = Image.fromarray(PIXELS)
    np.testing.assert_array_equal(
        decode_image(encoded(image, kind, exif=exif), COLOUR),
        decode_image(encoded(image, kind), COLOUR),
    )


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["PNG", "JPEG"]))
def test_any_exif_block_is_survived(noise: bytes, kind: str) -> None:
    data = encoded(Image.fromarray(PIXELS), kind, exif=EXIF_HEAD + b"II*\0\x08\0\0\0" + noise)
    assert decode_image(data, COLOUR).shape == (8, 12, 3)


def photographs() -> dict[str, bytes]:
    """Files that decoders disagree on."""
    random = np.random.default_rng(1)
    wide = Image.fromarray(random.integers(0, 256, (20, 50, 3), dtype=np.uint8))
    alpha = Image.fromarray(random.integers(0, 256, (30, 20), dtype=np.uint8))
    see_through = wide.resize((20, 30))
    see_through.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey16 = Image.fromarray(random.integers(0, 65536, (40, 24), dtype=np.uint16))
    palette = wide.quantize(16)
    return {
        "wide PNG": encoded(wide),
        "tall JPEG": encoded(wide.rotate(90, expand=True), "JPEG"),
        "turned JPEG": encoded(wide, "JPEG", exif=exif),
        "turned PNG": encoded(wide, exif=exif),
        "grey 16 bits": encoded(grey16),
        "RGBA": encoded(see_through),
        "grey with alpha": encoded(see_through.convert("LA")),
        "palette": encoded(palette),
        "palette with holes": encoded(palette, transparency=bytes(range(16))),
        "grey": encoded(wide.convert("L")),
        "CMYK": encoded(wide.convert("CMYK"), "JPEG"),
        "that size": encoded(wide.resize((12, 12))),
    }


PHOTOGRAPHS = photographs()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("data", PHOTOGRAPHS.values(), ids=PHOTOGRAPHS)
def test_training_and_classification_see_the_same_pixels(
    tmp_path: Path, data: bytes, channels: int
) -> None:
    for split in ("train", "test"):
        for label in ("ant", "bee"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "0.png").write_bytes(data)
    dataset = load_dataset(tmp_path, image_size=12, channels=channels, cache=False)
    height, width, depth = dataset.image_shape
    assert (height, width, depth) == (12, 12, channels)
    wanted = InputInfo(height=height, width=width, channels=depth)
    for image in (*dataset.train_images, *dataset.test_images):
        np.testing.assert_array_equal(image, decode_image(data, wanted))
        assert image.min() < image.max()


def test_16_bits_are_scaled() -> None:
    ramp = np.arange(96, dtype=np.uint16).reshape(8, 12) * 600
    pixels = decode_image(encoded(Image.fromarray(ramp)), GREY)[:, :, 0]
    np.testing.assert_array_equal(pixels, ramp >> 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
@pytest.mark.parametrize("wanted", [GREY, COLOUR, InputInfo(height=70, width=90, channels=3)])
def test_a_large_image_is_what_a_small_one_would_be(
    mode: str, wanted: InputInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(chance.integers(0, 65536, (70, 90), dtype=np.uint16))
    else:
        colours = Image.fromarray(chance.integers(0, 256, (70, 90, 4), dtype=np.uint8))
        image = colours.quantize(200) if mode == "P" else colours.convert(mode)
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    whole = decode_image(data, wanted)
    monkeypatch.setattr(images, "_BAND_PIXELS", 1000)
    np.testing.assert_array_equal(decode_image(data, wanted), whole)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mode", ["I;16", "P"])
def test_a_large_image_takes_little_more_memory_than_its_pixels(mode: str) -> None:
    side = 3000
    image = Image.fromarray(np.zeros((side, side), np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image.putpalette(bytes(768))
    data = encoded(image)
    code = (
        "import sys\n"
        "from variant_parallelism.images import decode_image\n"
        "from variant_parallelism.manifest import InputInfo\n"
        "def peak():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM'))\n"
        "before = peak()\n"
        "decode_image(sys.stdin.buffer.read(), InputInfo(height=8, width=12, channels=1))\n"
        "print(peak() - before)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], input=data, stdout=subprocess.PIPE)
    assert int(said.stdout) * 1024 < 5 * side * side


def test_alpha_is_dropped_and_the_stored_colours_stay() -> None:
    image = Image.fromarray(PIXELS)
    image.putalpha(Image.fromarray(PIXELS[:, :, 0]))
    np.testing.assert_array_equal(decode_image(encoded(image), COLOUR), PIXELS)


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


@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 10_400, 20_000])
def test_an_image_that_would_fill_the_memory_is_refused(side: int) -> None:
    """Pillow itself would warn about the second and take the third for damaged."""
    data = encoded(Image.new("1", (side, side)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            VpError, match=f"^x has {side} x {side} pixels: shrink it to at most 50"
        ):
            decode_image(data, GREY, "x")


def test_a_path_that_no_system_takes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"cannot read image .*null byte"):
        read_image(tmp_path / "a\0b.png", GREY)


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
