"""The picture of a plan: each buffer is where the plan has it."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exactness import REPOSITORY, graph_bytes
from plan_simulation import EXAMPLES, random_program
from small_nets import Net
from vp_converters import CompiledModel, ConversionError, load_model
from vp_converters.plan_page import SUFFIXES, svg_text, write_plan
from vp_converters.plan_picture import HEIGHT, WIDTH, draw, peak_of
from vp_converters.planner import plan_memory

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    """A network that this repository ships."""
    return load_model(REPOSITORY / "models" / "digits" / "d16.tflite")


@given(st.randoms(note_method_calls=False, use_true_random=False))
@settings(max_examples=40 * EXAMPLES, deadline=None)
def test_boxes_lie_as_buffers_do(rng: random.Random) -> None:
    plan = plan_memory(random_program(rng))
    picture = draw(plan, "net")
    boxes = [box for box in picture.boxes if box.stroke != "none"]
    assert len(boxes) == len(plan.buffers)
    scale = max(box.y + box.height for box in boxes) - min(box.y for box in boxes)
    top = max(buffer.end for buffer in plan.buffers)
    for box, buffer in zip(boxes, plan.buffers, strict=True):
        assert box.x >= 0 and box.x + box.width <= WIDTH
        assert box.y >= 0 and box.y + box.height <= HEIGHT
        assert box.height == pytest.approx(max(buffer.size / top * scale, 0.5), rel=0.01, abs=0.01)
    pairs = list(zip(boxes, plan.buffers, strict=True))
    for a, first in pairs:
        for b, second in pairs:
            if first.last < second.first - 1:
                assert a.x < b.x or second.first >= len(plan.schedule.calls)


def test_the_svg_is_well_formed_and_says_what_boxes_are(model: CompiledModel) -> None:
    root = ElementTree.fromstring(svg_text(draw(model.plan, model.name)))
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert sum("scratch of operators" in title for title in titles) == 1
    (first,) = (title for title in titles if title.startswith("CONV_2D 0 "))
    assert "3 of 8 rows of 64 bytes" in first
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert f"d16: arena {model.arena_size:,} bytes" in texts
    assert f"peak: {peak_of(model.plan)[1]:,} bytes" in texts


def test_the_page_needs_nothing_else(model: CompiledModel, tmp_path: Path) -> None:
    path = tmp_path / "plan.html"
    write_plan(model, path)
    text = path.read_text(encoding="utf-8")
    assert "<svg" in text
    assert "src=" not in text and "href=" not in text
    assert text.count("<tr><td>") >= len(model.program.steps)


def test_names_of_tensors_are_text(tmp_path: Path) -> None:
    net = Net((1, 4, 4, 4))
    output = net.conv(net.input)
    data = net.data(output)
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    compiled = load_model(path)
    tensor = compiled.program.graph.tensors[output]
    object.__setattr__(tensor, "name", "<script>&</script>")
    write_plan(compiled, tmp_path / "plan.html")
    text = (tmp_path / "plan.html").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;&amp;" in text


def test_the_image_has_the_picture(model: CompiledModel, tmp_path: Path) -> None:
    path = tmp_path / "plan.png"
    write_plan(model, path)
    with Image.open(path) as image:
        assert image.size == (2 * WIDTH, 2 * HEIGHT)
        colors = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in image.getcolors(2**20) or []}
    assert {box.fill for box in draw(model.plan, model.name).boxes if box.width > 2} <= colors


def test_a_model_without_steps_has_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(graph_bytes("flatten", "one"))
    for suffix in SUFFIXES:
        write_plan(load_model(path), tmp_path / f"plan{suffix}")
        assert (tmp_path / f"plan{suffix}").stat().st_size > 0


def test_other_suffixes_are_refused(model: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"plan.pdf: a plan is drawn as .html, .svg, .png"):
        write_plan(model, tmp_path / "plan.pdf")
    with pytest.raises(ConversionError, match="No such file"):
        write_plan(model, tmp_path / "missing" / "plan.svg")


def test_the_documented_picture_is_what_is_drawn(model: CompiledModel) -> None:
    documented = (REPOSITORY / "docs" / "plan-d16.svg").read_text(encoding="utf-8")
    assert documented == svg_text(draw(model.plan, model.name)), (
        "vp compile models/digits/d16.tflite --out build/d16 --plan docs/plan-d16.svg draws it anew"
    )
