"""Small pictures in a terminal: two pixels a character."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

_SHADES = " ░▒▓█"


def fit(image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """uint8 (H, W, C) -> (h, w, 3) of at most rows x columns pixels, h even, by nearest pixel.

    A small image grows by a whole factor, so that its pixels stay squares of one size.
    """
    height, width, channels = image.shape
    rgb = np.repeat(image, 3, axis=2) if channels == 1 else image[..., :3]
    factor = min(rows // height, columns // width)
    if factor >= 1:
        grown = rgb.repeat(factor, axis=0).repeat(factor, axis=1)
    else:
        scale = min(rows / height, columns / width)
        h, w = max(1, int(height * scale)), max(1, int(width * scale))
        grown = rgb[np.arange(h) * height // h][:, np.arange(w) * width // w]
    if grown.shape[0] % 2:
        grown = np.concatenate([grown, np.zeros_like(grown[:1])])
    return np.asarray(grown, dtype=np.uint8)


def draw(image: NDArray[np.uint8], rows: int, columns: int, *, color: bool) -> Text:
    """The image in `rows` / 2 lines of `columns` characters at most.

    With `color` each character is two true-colour pixels (upper half block), else one shade.
    """
    pixels = fit(image, rows, columns)
    text = Text(no_wrap=True)
    for y in range(0, pixels.shape[0], 2):
        if y:
            text.append("\n")
        for upper, lower in zip(pixels[y], pixels[y + 1], strict=True):
            if color:
                text.append("▀", style=f"rgb({_rgb(upper)}) on rgb({_rgb(lower)})")
            else:
                light = (int(upper.sum()) + int(lower.sum())) / (6 * 255)
                text.append(_SHADES[min(len(_SHADES) - 1, int(light * len(_SHADES)))])
    return text


def _rgb(pixel: NDArray[np.uint8]) -> str:
    return ",".join(str(int(value)) for value in pixel)
