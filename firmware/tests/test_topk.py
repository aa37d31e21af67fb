"""Builds the C test of the top-k compressor with sanitizers and runs it on the shared vectors."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).resolve().parents[1]
VECTORS = FIRMWARE / "tests" / "vectors" / "topk.json"
FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt install gcc")
def test_vectors_in_c(tmp_path: Path) -> None:
    program = tmp_path / "test_topk"
    sources = [FIRMWARE / "tests" / "test_topk.c", FIRMWARE / "topk" / "vp_topk.c"]
    subprocess.run(
        ["cc", *FLAGS, *SANITIZE, f"-I{FIRMWARE / 'include'}", "-o", program, *sources], check=True
    )
    result = subprocess.run([program, VECTORS], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"{len(json.loads(VECTORS.read_text())) + 1} cases, 0 failures"


def test_vectors_are_what_a_sort_says() -> None:
    for case in json.loads(VECTORS.read_text()):
        scores = case["scores"]
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
        assert case["indices"] == order[: case["k"]], case["name"]
