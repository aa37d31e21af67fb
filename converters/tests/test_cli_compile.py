"""`vp compile` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exactness import REPOSITORY, graph_bytes

ENVIRONMENT_PATHS = [str(REPOSITORY / "python"), str(REPOSITORY / "converters")]


def _vp(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path[:0] = {ENVIRONMENT_PATHS!r}\n"
    code += "from variant_parallelism.cli import main; main()"
    command = [sys.executable, "-c", code, "compile", *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small network."""
    path = tmp_path / "net.tflite"
    path.write_bytes(graph_bytes("graph", "graph-3"))
    return path


def test_compile_and_check(model: Path, tmp_path: Path) -> None:
    result = _vp(model, "--out", tmp_path / "out", "--plan", "--check", 5)
    assert result.returncode == 0, result.stderr
    assert "5 inputs, 0 mismatches" in result.stdout
    assert "arena" in result.stdout
    assert (tmp_path / "out" / "net.c").is_file()


def test_json(model: Path, tmp_path: Path) -> None:
    result = _vp(model, "--out", tmp_path / "out", "--name", "other", "--check", 2, "--json")
    report = json.loads(result.stdout)
    assert report["name"] == "other"
    assert report["mismatches"] == 0
    assert report["inputs_checked"] == 2
    assert report["arena_bytes"] > 0


@pytest.mark.parametrize("arguments", [["--name", "int"], ["--out", "/dev/null/x"]])
def test_requests_that_cannot_be_met(model: Path, tmp_path: Path, arguments: list[str]) -> None:
    result = _vp(model, "--out", tmp_path / "out", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_paths_that_break_lines_or_encodings(model: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "two\nlines.tflite"
    truncated.write_bytes(model.read_bytes()[:200])
    result = _vp(truncated, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "two lines.tflite: damaged" in result.stderr
    foreign = tmp_path / os.fsdecode(b"\xff")
    model.rename(foreign)
    result = _vp(foreign, "--out", foreign.with_suffix(".out"))
    assert result.returncode == 0, result.stderr
    assert (foreign.with_suffix(".out") / "model.c").is_file()


def test_files_that_cannot_be_compiled(model: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.tflite"
    truncated.write_bytes(model.read_bytes()[:200])
    for path in (tmp_path / "missing.tflite", truncated, tmp_path):
        result = _vp(path, "--out", tmp_path / "out")
        assert result.returncode == 1
        assert result.stderr.startswith(f"error: {path}")
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
