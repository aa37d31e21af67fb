"""The example of docs/sensors.md is a whole source: it builds into an image, and captures."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from variant_parallelism.firmware import boards, build, build_images, variant_source

FIRMWARE = Path(__file__).resolve().parents[1]
ROOT = FIRMWARE.parent
DOC = (ROOT / "docs" / "sensors.md").read_text(encoding="utf-8")
BOARD = "nrf52840-dk"

HEADER = """\
#include <stdio.h>
#include <string.h>
#include "vp/board.h"
#define VP_REGISTER(address) (registers[((address) - 0x40007000u) / 4u])
static volatile uint32_t registers[0x700 / 4];
"""
"""Stands in for nrf52840.h: registers that the program below holds."""

PROGRAM = """\
#include "source.c"

#define CHECK(condition) do { if (!(condition)) { printf("line %d: %s\\n", __LINE__, #condition); \\
                                                  return 1; } } while (0)

static uint8_t pixels[MAX_SAMPLES + 1];

static vp_capture capture_of(uint16_t height, uint16_t width, uint8_t channels)
{
    return (vp_capture){.channels = channels, .height = height, .width = width,
                        .pixels = pixels, .capacity = sizeof(pixels)};
}

int main(void)
{
    CHECK(vp_board_source_start() == 0 && ENABLE == 1u && CH0_PSELP == 1u);
    CHECK(SAMPLERATE == (1u << 12 | 2000u));
    for (int turn = 0; turn < 2; turn++) {
        vp_capture capture = capture_of(100, 100, 1);
        CHECK(vp_board_capture_begin(&capture) == 0);
        CHECK(RESULT_MAXCNT == 10000u && TASKS_START == 1u && TASKS_SAMPLE == 1u);
        CHECK(vp_board_capture_poll(&capture) == 0 && capture.filled == 0u);
        if (turn == 0) {
            vp_board_capture_cancel();
            CHECK(TASKS_STOP == 1u);
            TASKS_STOP = TASKS_START = TASKS_SAMPLE = 0;
            continue;
        }
        for (int i = 0; i < 10000; i++) {
            samples[i] = (int16_t)(i % 300 - 20);
        }
        EVENTS_END = 1;
        int polls = 0;
        while (capture.filled < 10000u && polls < 10) {
            const uint32_t before = capture.filled;
            CHECK(vp_board_capture_poll(&capture) == 0);
            CHECK(capture.filled > before && capture.filled - before <= 4096u);
            polls++;
        }
        CHECK(polls == 3 && TASKS_STOP == 1u);
        for (int i = 0; i < 10000; i++) {
            const int value = i % 300 - 20;
            CHECK(pixels[i] == (value < 0 ? 0 : value > 255 ? 255 : value));
        }
        CHECK(pixels[10000] == 0);
    }
    vp_capture colour = capture_of(10, 10, 3);
    CHECK(vp_board_capture_begin(&colour) == -1);
    vp_capture large = capture_of(200, 200, 1);
    CHECK(vp_board_capture_begin(&large) == -1);
    return 0;
}
"""


def block(language: str, first: str) -> str:
    """The code block of the page that begins with these words."""
    found = [
        text
        for text in re.findall(rf"```{language}\n(.*?)```", DOC, re.S)
        if text.startswith(first)
    ]
    assert len(found) == 1
    return str(found[0])


def test_the_example_captures_a_clip(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: apt install gcc")
    (tmp_path / "source.c").write_text(block("c", "/* An analogue microphone"))
    (tmp_path / "nrf52840.h").write_text(HEADER)
    (tmp_path / "main.c").write_text(PROGRAM)
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    include = ["-I", str(FIRMWARE / "include"), "-I", str(tmp_path)]
    program = tmp_path / "main"
    subprocess.run(
        [compiler, *warnings, *sanitize, *include, tmp_path / "main.c", "-o", program], check=True
    )
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_example_builds_into_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not all(map(shutil.which, ("arm-none-eabi-gcc", "arm-none-eabi-nm", "cmake", "ninja"))):
        pytest.skip("no cross compiler: apt install gcc-arm-none-eabi cmake ninja-build")
    sources = tmp_path / "firmware"
    shutil.copytree(FIRMWARE, sources, ignore=shutil.ignore_patterns("tests"))
    folder = sources / "boards" / BOARD
    (folder / "source.c").write_text(block("c", "/* An analogue microphone"))
    parts = block("toml", "parts = ").strip()
    toml = folder / "board.toml"
    text, count = re.subn(r"^parts = .*$", parts, toml.read_text(), flags=re.M)
    assert count == 1 and "no_source" not in text
    toml.write_text(text)
    for module in (boards, build, variant_source):
        monkeypatch.setattr(module, "firmware_dir", lambda: sources)
    manifest = ROOT / "models" / "digits" / "manifest.json"
    (image,) = build_images(manifest, ["d8"], BOARD, tmp_path / "out")
    names = subprocess.run(
        ["arm-none-eabi-nm", "-S", image.elf], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r" 00008000 b samples$", names, re.M)
    assert re.search(r" T vp_board_capture_poll$", names, re.M)
