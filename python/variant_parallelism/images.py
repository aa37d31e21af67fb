"""Image files -> pixels, the same for training data and for images to classify."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from variant_parallelism.errors import VpError
from variant_parallelism.manifest import InputInfo

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded."""

FORMATS = ("PNG", "JPEG")
"""What may be classified; training data may be anything that Pillow reads."""

_BAND_PIXELS = 1_000_000

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# MAX_PIXELS takes the place of Pillow's own limit, which warns on stderr or reads as damage. Its
# warnings about metadata say nothing about the pixels.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def read_image(path: Path, wanted: InputInfo) -> NDArray[np.uint8]:
    """A file as uint8 (height, width, channels) of `wanted`; VpError names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VpError(f"cannot read image {path}: {error.strerror}") from None
    except ValueError as error:
        raise VpError(f"cannot read image {str(path)!r}: {error}") from None
    return decode_image(data, wanted, f"image {path}")


def decode_image(data: bytes, wanted: InputInfo, name: str = "image") -> NDArray[np.uint8]:
    """An encoded PNG or JPEG as uint8 (height, width, channels) of `wanted`; see `decode_pixels`.

    VpError names it by `name`.
    """
    size = (wanted.width, wanted.height)
    return decode_pixels(data, wanted.channels, size, name, formats=FORMATS)


def decode_pixels(
    data: bytes,
    channels: int,
    size: tuple[int, int] | None,
    name: str,
    *,
    formats: tuple[str, ...] | None = None,
) -> NDArray[np.uint8]:
    """An encoded image as uint8 (height, width, channels).

    In this order: turned upright by its EXIF orientation; 16 bits scaled to 8; converted to grey
    (1 channel), grey with alpha (2), RGB (3) or RGBA (4), where an alpha channel that is not wanted
    is dropped and the stored colours stay; if its size is not `size` (width, height), the largest
    centred part of that aspect ratio is resized to it (bilinear, antialiased). Without a `size` it
    keeps its own.

    `formats` are Pillow's names of those accepted, None for all. VpError begins with `name`.
    """
    return _fit(_upright(_load(data, name, formats)), channels, size)


def pixel_count(data: bytes, name: str = "image") -> int:
    """Of an encoded PNG or JPEG, by its header alone; VpError begins with `name`."""
    image = _open(data, name, FORMATS)
    return image.width * image.height


def fit_pixels(pixels: NDArray[np.uint8], wanted: InputInfo) -> NDArray[np.uint8]:
    """Pixels (height, width, 1 to 4 channels) as uint8 (height, width, channels) of `wanted`.

    Channels and size are brought to those wanted as in `decode_pixels`.
    """
    if pixels.shape == (wanted.height, wanted.width, wanted.channels):
        return pixels
    height, width, channels = pixels.shape
    image = Image.frombuffer(_MODES[channels], (width, height), np.ascontiguousarray(pixels))
    return _fit(image, wanted.channels, (wanted.width, wanted.height))


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 1 to 4 channels) as a PNG file."""
    height, width, channels = pixels.shape
    out = io.BytesIO()
    image = Image.frombuffer(_MODES[channels], (width, height), np.ascontiguousarray(pixels))
    image.save(out, "PNG")
    return out.getvalue()


def _fit(image: Image.Image, channels: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    size = image.size if size is None else size
    if image.size != size and (part := _centred(image.size, size)) != (0, 0, *image.size):
        image = image.crop(part)
    pixels = _in_bands(image, _MODES[channels])
    if pixels.size != size:
        pixels = pixels.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(pixels, np.uint8).reshape(pixels.height, pixels.width, channels)


def _open(data: bytes, name: str, formats: tuple[str, ...] | None) -> Image.Image:
    """The image as its header says. Pillow's parsers raise whatever damaged bytes lead them to."""
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES):
            raise VpError(f"{name} is damaged: its header cannot be read") from None
        what = "not an image" if formats is None else f"neither {' nor '.join(formats)}"
        raise VpError(f"{name} is {what}") from None
    except Exception as error:
        raise VpError(f"{name} is damaged: {_one_line(error)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise VpError(
            f"{name} has {image.width} x {image.height} pixels: "
            f"shrink it to at most {MAX_PIXELS // 1_000_000} million"
        )
    return image


def _load(data: bytes, name: str, formats: tuple[str, ...] | None) -> Image.Image:
    """The decoded image."""
    image = _open(data, name, formats)
    try:
        image.load()
    except Exception as error:
        raise VpError(f"{name} is damaged: {_one_line(error)}") from None
    return image


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    """Turned by its EXIF orientation; as it is where the EXIF block is damaged."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _in_bands(image: Image.Image, mode: str) -> Image.Image:
    """`_to_mode`, some rows at a time: what lies between would take several times the memory."""
    rows = max(1, _BAND_PIXELS // max(1, image.width))
    if image.mode == mode or image.height <= rows:
        return _to_mode(image, mode)
    whole = Image.new(mode, image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        whole.paste(_to_mode(band, mode), (0, top))
    return whole


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converted to 8 bits of `mode`; Pillow's own conversion would clip 16-bit grey to white."""
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        if image.mode == "I":
            wide = np.clip(wide, 0, 65535)
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert(mode)


def _centred(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the largest centred part with the target's aspect ratio."""
    width = min(source[0], max(1, source[1] * target[0] // target[1]))
    height = min(source[1], max(1, source[0] * target[1] // target[0]))
    left, top = (source[0] - width) // 2, (source[1] - height) // 2
    return left, top, left + width, top + height
