"""Writes the memory plan of a model as a page (.html), a drawing (.svg) or an image (.png)."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from vp_converters.compiler import CompiledModel
from vp_converters.errors import ConversionError
from vp_converters.explain import explain
from vp_converters.plan_picture import Picture, draw

SUFFIXES = (".html", ".svg", ".png")

_SCALE = 2
"""Pixels of a .png for each of the picture's."""

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=True,
)


def check_suffix(path: Path) -> None:
    """Whether write_plan can write such a file.

    Raises:
        ConversionError: its suffix is not one of SUFFIXES.
    """
    if path.suffix not in SUFFIXES:
        raise ConversionError(f"{path}: a plan is drawn as {', '.join(SUFFIXES)}")


def write_plan(model: CompiledModel, path: Path) -> None:
    """Writes the picture of the model's plan; the suffix says how.

    Raises:
        ConversionError: another suffix than SUFFIXES, or the file cannot be written.
    """
    check_suffix(path)
    picture = draw(model.plan, model.name)
    try:
        if path.suffix == ".png":
            _write_png(picture, path)
        else:
            text = svg_text(picture)
            path.write_text(text if path.suffix == ".svg" else _page(model, text), encoding="utf-8")
    except OSError as error:
        raise ConversionError(f"{path}: {error.strerror or error}") from error


def svg_text(picture: Picture) -> str:
    """The picture as an SVG element."""
    return _TEMPLATES.get_template("plan.svg.j2").render(picture=picture)


def _page(model: CompiledModel, svg: str) -> str:
    return _TEMPLATES.get_template("plan.html.j2").render(
        model=model, svg=Markup(svg), explanation=explain(model), infos=model.steps()
    )


def _write_png(picture: Picture, path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (picture.width * _SCALE, picture.height * _SCALE), "white")
    canvas = ImageDraw.Draw(image)
    for box in picture.boxes:
        corners = (box.x, box.y, box.x + box.width, box.y + box.height)
        outline = None if box.stroke == "none" else box.stroke
        canvas.rectangle([value * _SCALE for value in corners], box.fill, outline)
    for line in picture.lines:
        for x1, y1, x2, y2 in _dashes(line.x1, line.y1, line.x2, line.y2, line.is_dashed):
            canvas.line([v * _SCALE for v in (x1, y1, x2, y2)], line.color, _SCALE)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for text in picture.texts:
        font = ImageFont.load_default(text.size * _SCALE)
        place = (text.x * _SCALE, text.y * _SCALE)
        canvas.text(place, text.text, text.color, font, anchors[text.anchor])
    image.save(path)


def _dashes(
    x1: float, y1: float, x2: float, y2: float, is_dashed: bool
) -> list[tuple[float, float, float, float]]:
    """The strokes of an upright dashed line, or the line itself."""
    if not is_dashed:
        return [(x1, y1, x2, y2)]
    starts = [y1 + 9 * number for number in range(int((y2 - y1) / 9) + 1)]
    return [(x1, start, x2, min(start + 5, y2)) for start in starts]
