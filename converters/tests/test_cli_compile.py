"""`vp compile` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from exactness import REPOSITORY, graph_bytes
from variant_parallelism.cli import main
from variant_parallelism.cli.sizes import parse_bytes

ENVIRONMENT_PATHS = [str(REPOSITORY / "python"), str(REPOSITORY / "converters")]


def _process(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path[:0] = {ENVIRONMENT_PATHS!r}\n"
    code += "from variant_parallelism.cli import main; main()"
    command = [sys.executable, "-c", code, "compile", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _vp(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`vp compile` without the second that a new process takes."""
    out, err = StringIO(), StringIO()
    command = ["vp", "compile", *map(str, arguments)]
    with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small network."""
    path = tmp_path / "net.tflite"
    path.write_bytes(graph_bytes("graph", "graph-3"))
    return path


def test_compile_and_check(model: Path, tmp_path: Path) -> None:
    result = _process(model, "--out", tmp_path / "out", "--plan", "-", "--check", 5)
    assert result.returncode == 0, result.stderr
    assert "5 inputs, 0 mismatches" in result.stdout
    assert "arena" in result.stdout
    assert "progress" in result.stdout
    assert (tmp_path / "out" / "net.c").is_file()


def test_json(model: Path, tmp_path: Path) -> None:
    result = _vp(model, "--out", tmp_path / "out", "--name", "other", "--check", 2, "--json")
    report = json.loads(result.stdout)
    assert report["name"] == "other"
    assert report["mismatches"] == 0
    assert report["inputs_checked"] == 2
    assert report["arena_bytes"] > 0


def test_explain(model: Path, tmp_path: Path) -> None:
    text = _vp(model, "--out", tmp_path / "out", "--explain")
    assert text.returncode == 0, text.stderr
    assert "group 0: up to" in text.stdout
    report = json.loads(_vp(model, "--out", tmp_path / "out", "--explain", "--json").stdout)
    steps = [step for group in report["explain"]["groups"] for step in group["steps"]]
    assert [step["kernel"] for step in steps] == [step["kernel"] for step in report["steps"]]


@pytest.mark.parametrize("suffix", [".html", ".svg", ".png"])
def test_plan_pictures(model: Path, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"plan{suffix}"
    result = _vp(model, "--out", tmp_path / "out", "--plan", picture)
    assert result.returncode == 0, result.stderr
    assert picture.stat().st_size > 1000
    assert str(picture) in result.stdout


@pytest.mark.parametrize("kernels", ["portable", "dsp", "mve"])
def test_kernels(model: Path, tmp_path: Path, kernels: str) -> None:
    result = _vp(model, "--out", tmp_path / "out", "--kernels", kernels, "--json")
    assert json.loads(result.stdout)["kernels"] == kernels


def test_a_budget_of_memory(model: Path, tmp_path: Path) -> None:
    result = _vp(model, "--out", tmp_path / "out", "--ram", "64K", "--json")
    assert json.loads(result.stdout)["arena_bytes"] <= 65536


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1000", 1000), ("64K", 65536), ("2m", 2 * 1024 * 1024)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes("--ram", text) == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "int"], "int"),
        (["--out", "/dev/null/x"], "/dev/null/x"),
        (["--kernels", "neon"], "portable, dsp, mve"),
        (["--ram", "16"], "at least"),
        (["--ram", "64Q"], "64K"),
        (["--ram", "-1"], "64K"),
        (["--plan", "plan.gif"], ".html, .svg, .png"),
        (["--plan", "/dev/null/plan.svg"], "/dev/null/plan.svg"),
    ],
)
def test_requests_that_cannot_be_met(
    model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = _vp(model, "--out", tmp_path / "out", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
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
