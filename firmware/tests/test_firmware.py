"""Builds the firmware's C tests for this machine with ASan and UBSan, and runs each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).resolve().parents[1]
BUILD = FIRMWARE.parent / "build" / "firmware-tests"
NAMES = re.findall(
    r"^vp_add_test\((\w+)", (FIRMWARE / "tests" / "CMakeLists.txt").read_text(), re.M
)

needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("cc", "cmake", "ctest", "ninja"))),
    reason="no C compiler, cmake or ninja: apt install gcc cmake ninja-build",
)


@pytest.fixture(scope="module")
def build() -> Path:
    for command in (
        ["cmake", "-S", FIRMWARE, "-B", BUILD, "-G", "Ninja", "-DVP_TESTS=ON"],
        ["ninja", "-C", BUILD],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    return BUILD


@needs_tools
@pytest.mark.parametrize("name", NAMES)
def test_c(name: str, build: Path) -> None:
    result = subprocess.run(
        ["ctest", "--test-dir", build, "-R", f"^{name}$", "--output-on-failure"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "100% tests passed, 0 tests failed out of 1" in result.stdout
