"""`vp bench`: that what it reports is so, and that it notices a wrong answer."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import vp_converters.bench
from exactness import REPOSITORY, SHARED_MODELS
from random_graphs import single_op
from variant_parallelism.cli import app, main
from variant_parallelism.errors import VpError
from vp_converters import CompiledModel, load_model
from vp_converters.bench import bench_model, best_kernels, random_inputs
from vp_converters.bench.footprint import footprint
from vp_converters.bench.measurement import find_probe
from vp_converters.errors import ConversionError
from vp_converters.target import BOARDS, MPS2_AN386
from vp_converters.target.program import compile_sources, link_alone, write_files

DIGITS = REPOSITORY / "models" / "digits" / "d8.tflite"
EXHAUSTIVE = os.environ.get("VP_EXHAUSTIVE") == "1"


@pytest.mark.parametrize("board", BOARDS)
def test_a_model_on_every_board(board: str, emulated: None) -> None:
    done: list[int] = []
    result = bench_model(DIGITS, board, inputs=12, progress=done.append)
    model = load_model(DIGITS, kernels=result.kernels)
    assert (result.mismatches, result.difference) == (0, None)
    assert result.compared == ("before the softmax", "output")
    assert sum(done) == 24
    assert [one.calls for one in result.operators] == [step.calls for step in model.steps()]
    least, most = result.instructions_range
    assert 0 < least <= result.instructions <= most
    assert 0 < result.overhead < result.instructions // 4
    assert result.ram_bytes == model.arena_size
    assert result.footprint.constants >= model.weight_bytes
    assert 500 < result.footprint.code < 60_000
    assert 50 < result.stack_bytes < 4096
    if board == "mps2-an386":
        assert bench_model(DIGITS, board, inputs=12) == result


@pytest.fixture
def wrong_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """load_model gives a model whose .tflite file has another bias in its last layer."""

    def load(path: str | Path, kernels: str, ram: int | None) -> CompiledModel:
        model = load_model(path, kernels=kernels, ram=ram)
        graph = model.program.graph
        dense = next(op for op in graph.ops if op.kind == "FULLY_CONNECTED")
        bias = graph.tensors[dense.inputs[2]].data
        assert bias is not None
        old = bias.astype("<i4").tobytes()
        changed = (bias + np.int32(2000)).astype("<i4").tobytes()
        assert model.data.count(old) == 1
        return replace(model, data=model.data.replace(old, changed))

    monkeypatch.setattr(vp_converters.bench, "load_model", load)


def test_a_wrong_answer_is_noticed(wrong_model: None, emulated: None) -> None:
    """All classes are off by as much, so that the softmax hides it but for clipped scores."""
    result = bench_model(DIGITS, "mps2-an386", "portable", inputs=3)
    assert result.mismatches == 3
    assert result.difference is not None
    assert result.difference.startswith("input 0, before the softmax: ")


def test_a_wrong_answer_is_exit_status_1(
    wrong_model: None,
    emulated: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["vp", "bench", str(DIGITS), "--inputs", "1", "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["mismatches"] == 1
    assert printed.err.count("\n") == 1
    assert "differs from tflite_micro for 1 of 1 inputs" in printed.err


def test_the_command_from_another_folder(tmp_path: Path, emulated: None) -> None:
    code = f"import sys; sys.path[:0] = {[str(REPOSITORY / p) for p in ('python', 'converters')]!r}"
    code += "\nfrom variant_parallelism.cli import main; main()"
    (tmp_path / "net.tflite").write_bytes(DIGITS.read_bytes())
    command = [sys.executable, "-c", code, "bench", "net.tflite", "--inputs", "2", "--json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    wanted = "instructions macs ram_bytes flash_bytes stack_bytes inputs_checked mismatches"
    assert all(report[key] >= 0 for key in wanted.split())
    assert report["instructions"] == report["overhead_instructions"] + sum(
        one["instructions"] for one in report["operators"]
    )
    assert report["compiler"].startswith("arm-none-eabi-gcc ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.tflite"]


def test_several_models_are_a_list(emulated: None) -> None:
    arguments = ["bench", str(DIGITS), str(DIGITS), "--inputs", "1", "--board", "mps3-an547"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0
    assert [one["model"] for one in json.loads(result.stdout)] == ["d8", "d8"]


def test_the_table(emulated: None) -> None:
    result = CliRunner().invoke(app, ["bench", str(DIGITS), "--inputs", "1", "--ram", "64K"])
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert lines["mismatches"].split() == ["mismatches", "0"]
    assert "before the softmax and output" in lines["inputs"]
    assert "softmax" in lines["14"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", "stm32"], "board 'stm32' is not one of mps2-an386, mps2-an500, mps3-an547"),
        (["--ram", "lots"], "--ram lots: a number of bytes is wanted"),
        (["--ram", "100"], r"d8.tflite: .*100"),
        (["--kernels", "mve"], r"mps2-an386 \(Cortex-M4F\) has no mve kernels"),
    ],
)
def test_requests_that_cannot_be_met(
    arguments: list[str], message: str, emulated: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VpError, match=message):
        CliRunner().invoke(app, ["bench", str(DIGITS), *arguments], catch_exceptions=False)


def test_a_missing_tool_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConversionError, match="arm-none-eabi-gcc not found: apt install"):
        bench_model(DIGITS, "mps2-an386")


def test_a_model_that_does_not_fit_names_it(
    monkeypatch: pytest.MonkeyPatch, emulated: None
) -> None:
    small = replace(BOARDS["mps2-an386"], code_bytes=1000)
    monkeypatch.setattr(vp_converters.bench, "BOARDS", {"mps2-an386": small})
    with pytest.raises(ConversionError, match=r"d8.tflite: too large for mps2-an386: constants of"):
        bench_model(DIGITS, "mps2-an386")


def test_best_kernels_exist() -> None:
    for board in BOARDS.values():
        kernels = best_kernels(board)
        assert kernels in board.kernels
        load_model(DIGITS, kernels=kernels)


def test_only_what_is_linked_counts(tmp_path: Path, emulated: None) -> None:
    text = (
        "int entry(int i);\n"
        "static const int table[100] = {1, 2, 3};\n"
        "static int cleared[10], set[4] = {1};\n"
        "extern const int unused[];\nconst int unused[1000] = {1};\n"
        "int entry(int i) { set[i & 3] += cleared[i]++; return table[i] + set[0]; }\n"
    )
    write_files(tmp_path, {"test.c": text})
    objects = compile_sources(tmp_path, MPS2_AN386, ["test.c"])
    link_alone(tmp_path, MPS2_AN386, objects, "entry", "alone.elf")
    parts = footprint((tmp_path / "alone.elf").read_bytes())
    assert parts.static == 56
    assert 416 <= parts.constants < 440
    assert 20 < parts.code < 100
    assert parts.flash == parts.code + parts.constants
    with pytest.raises(ValueError, match="ELF32"):
        footprint(b"\x7fELF\x02\x01" + bytes(60))


@pytest.mark.parametrize("kind", ["conv_2d", "softmax", "flatten"])
def test_a_model_with_nothing_ahead_of_a_softmax_is_compared_by_its_output(
    kind: str, tmp_path: Path, emulated: None
) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(single_op(random.Random(1), kind))
    assert find_probe(load_model(path)).stage == 0
    result = bench_model(path, "mps2-an386", inputs=2)
    assert result.compared == ("output",)
    assert result.mismatches == 0
    assert result.footprint.static == 0


def test_inputs_are_random_and_extreme() -> None:
    values = random_inputs((1, 50, 50, 1), 8, seed=3)
    assert values.dtype == np.int8
    assert len(np.unique(values[0])) == 256
    assert set(np.unique(values[3])) == {-128, 127}
    assert not np.array_equal(values[0], values[1])


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", SHARED_MODELS if EXHAUSTIVE else ["v_32"])
def test_shared_models(name: str, board: str, models_dir: Path, emulated: None) -> None:
    inputs = 100 if EXHAUSTIVE else 3
    result = bench_model(models_dir / f"{name}.tflite", board, inputs=inputs)
    assert (result.mismatches, result.difference) == (0, None)
