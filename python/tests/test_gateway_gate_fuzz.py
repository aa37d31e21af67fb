"""The gateway's gate under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = [*(ROOT / "firmware/wire").glob("*.c"), *(ROOT / "python/native").glob("gate_*.c")]
_WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("gate") / "gate_fuzz"
    built = subprocess.run(
        [
            *(compiler, "-std=c11", "-O1", "-g", *_WARNINGS),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
            *("-I", str(ROOT / "firmware/include"), "-I", str(ROOT / "python/native")),
            *(str(Path(__file__).with_name("gate_fuzz.c")), *map(str, _SOURCES)),
            *("-o", str(program)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find -lasan" in built.stderr:
        pytest.skip("no sanitizers")
    assert built.returncode == 0, built.stderr
    return program


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_is_counted_once_and_harms_nothing(fuzzer: Path, seed: int) -> None:
    done = subprocess.run(
        [str(fuzzer), str(seed), "60"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
