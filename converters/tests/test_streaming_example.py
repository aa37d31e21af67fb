"""The guide's program that classifies what a camera delivers row by row, as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exactness import REPOSITORY
from tflite_builder import ModelBuilder
from variant_parallelism.preprocess import resize_crop
from vp_converters import compile_model
from vp_converters.host import HostModel

FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-g", "-O1"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
HEIGHT, WIDTH, CLASSES = 240, 320, 10
CAMERA = f"""
#include <stdio.h>
#include <stdlib.h>

void camera_read(uint8_t *line);
const int8_t *classify(const int8_t lut[256]);

static FILE *camera;

void camera_read(uint8_t *line)
{{
    if (fread(line, 1, {WIDTH} * 3, camera) != {WIDTH} * 3) {{
        abort();
    }}
}}
"""
MAIN = f"""
int main(void)
{{
    int8_t lut[256];
    for (int i = 0; i < 256; i++) {{
        lut[i] = (int8_t)(i - 128);
    }}
    camera = fopen("camera.bin", "rb");
    if (camera == NULL) {{
        return 1;
    }}
    const int8_t *scores = classify(lut);
    return scores == NULL || fwrite(scores, 1, {CLASSES}, stdout) != {CLASSES};
}}
"""


def _network() -> bytes:
    """(1, 96, 96, 3) -> convolution -> scores -> softmax."""
    random = np.random.default_rng(5)
    model = ModelBuilder()
    source = model.activation((1, 96, 96, 3), 1 / 128, 0)
    hidden = model.activation((1, 24, 24, 4), 0.02, -3)
    weights = model.constant(random.integers(-127, 128, (4, 5, 5, 3)), scales=[0.004] * 4)
    strides = {"StrideH": 4, "StrideW": 4}
    model.op("CONV_2D", [source, weights], [hidden], Padding="SAME", **strides)
    scores = model.activation((1, CLASSES), 0.1, 0)
    matrix = model.constant(random.integers(-127, 128, (CLASSES, 24 * 24 * 4)), scales=[0.001])
    model.op("FULLY_CONNECTED", [hidden, matrix], [scores])
    output = model.activation((1, CLASSES), 1 / 256, -128)
    model.op("SOFTMAX", [scores], [output], Beta=1.0)
    return model.build([source], [output])


def _example() -> str:
    text = (REPOSITORY / "docs" / "compiler.md").read_text(encoding="utf-8")
    section = text[text.index("## Streaming the input") :]
    found = re.search(r"^```c\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt install gcc")
def test_the_example_answers_as_the_whole_image_does(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    image = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    (tmp_path / "v96.tflite").write_bytes(_network())
    compiled = compile_model(tmp_path / "v96.tflite", tmp_path / "out")
    firmware = REPOSITORY / "firmware"
    shutil.copy(firmware / "image" / "vp_resize.c", tmp_path / "out")
    shutil.copy(firmware / "include" / "vp" / "resize.h", tmp_path / "out" / "vp")
    header, _, body = _example().partition("\n\n")
    (tmp_path / "out" / "main.c").write_text(header + CAMERA + body + MAIN)
    sources = [str(path) for path in (tmp_path / "out").rglob("*.c")]
    command = ["cc", *FLAGS, *SANITIZERS, "-I", str(tmp_path / "out"), *sources, "-o", "program"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr

    (tmp_path / "camera.bin").write_bytes(image.tobytes())
    ran = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    whole = (resize_crop(image, 96, 96).astype(np.int16) - 128).astype(np.int8)
    expected = HostModel(compiled, tmp_path).run(whole).reshape(-1)
    assert len(set(expected.tolist())) > 3
    assert np.frombuffer(ran.stdout, np.int8).tolist() == expected.tolist()
