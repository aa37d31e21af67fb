"""Builds images for a board with the real toolchain, and the errors a user can run into."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from variant_parallelism.cli.build import command
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import (
    board_names,
    boards,
    build,
    load_board,
    timing,
    variant_source,
)
from variant_parallelism.firmware.build import build_image, build_images, build_tree
from variant_parallelism.firmware.timing import step_ms, watchdog_warning
from variant_parallelism.firmware.toolchain import run
from variant_parallelism.manifest import load_manifest

FIRMWARE = Path(__file__).resolve().parents[1]
ROOT = FIRMWARE.parent
DIGITS = ROOT / "models" / "digits" / "manifest.json"
BOARD = "mps2-an386"

needs_toolchain = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "cmake", "ninja"))),
    reason="no cross compiler: apt install gcc-arm-none-eabi cmake ninja-build",
)


@needs_toolchain
def test_image_and_its_sizes() -> None:
    image = build_image(DIGITS, "d16", BOARD, ROOT / "build" / "firmware")
    board = load_board(BOARD)
    symbols = subprocess.run(
        ["arm-none-eabi-nm", "--size-sort", "-S", image.elf],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    arena = re.search(r"^\S+ (\S+) b arena$", symbols, re.M)
    assert arena is not None
    assert image.arena <= int(arena.group(1), 16) < image.arena + 8
    assert image.arena < image.ram < image.ram_available - image.stack
    assert (image.flash_available, image.stack) == (board.flash_size, board.stack_size)
    assert 0 < image.flash < len(image.elf.read_bytes())


@needs_toolchain
def test_second_build_changes_nothing() -> None:
    out = ROOT / "build" / "firmware"
    first = build_images(DIGITS, ["d8", "d16"], BOARD, out)
    times = [image.elf.stat().st_mtime_ns for image in first]
    assert build_images(DIGITS, ["d8", "d16"], BOARD, out) == first
    assert [image.elf.stat().st_mtime_ns for image in first] == times


@needs_toolchain
@pytest.mark.parametrize(
    ("key", "size", "text"), [("ram_size", 0x3000, "RAM"), ("flash_size", 0x1800, "flash")]
)
def test_model_that_does_not_fit(
    key: str, size: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "firmware"
    shutil.copytree(FIRMWARE, sources, ignore=shutil.ignore_patterns("tests"))
    toml = sources / "boards" / BOARD / "board.toml"
    toml.write_text(re.sub(rf"^{key} = .*$", f"{key} = {size:#x}", toml.read_text(), flags=re.M))
    for module in (boards, build, variant_source):
        monkeypatch.setattr(module, "firmware_dir", lambda: sources)
    pattern = rf"^variant d24 needs ([\d,]+) bytes of {text}, board {BOARD} has {size:,}$"
    with pytest.raises(VpError, match=pattern) as error:
        build_image(DIGITS, "d24", BOARD, tmp_path / "out")
    need = re.search(r"needs ([\d,]+)", str(error.value))
    assert need is not None and int(need.group(1).replace(",", "")) > size


def test_unknown_variant_and_board(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"no variant 'd99': it has d8, d12"):
        build_image(DIGITS, "d99", BOARD, tmp_path)
    with pytest.raises(VpError, match=rf"no board 'pdp11': the boards are .*{BOARD}"):
        build_image(DIGITS, "d16", "pdp11", tmp_path)


def test_missing_toolchain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VpError, match="arm-none-eabi-gcc is not installed: install Debian package"):
        build_image(DIGITS, "d16", BOARD, tmp_path / "out")


@needs_toolchain
def test_model_that_is_not_the_manifests(tmp_path: Path) -> None:
    shutil.copytree(DIGITS.parent, tmp_path / "digits")
    model = tmp_path / "digits" / "d16.tflite"
    model.write_bytes((tmp_path / "digits" / "d8.tflite").read_bytes())
    with pytest.raises(VpError, match=r"d16\.tflite is not the model that its manifest describes"):
        build_image(tmp_path / "digits" / "manifest.json", "d16", BOARD, tmp_path / "out")
    model.unlink()
    with pytest.raises(VpError, match=r"cannot read model .*d16\.tflite: No such file"):
        build_image(tmp_path / "digits" / "manifest.json", "d16", BOARD, tmp_path / "out")


def test_output_that_is_no_softmax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vp_converters import CompiledModel

    real = CompiledModel.report

    def without_softmax(model: CompiledModel) -> dict[str, Any]:
        report = real(model)
        return report | {"output": report["output"] | {"scale": 0.125, "zero_point": 3}}

    monkeypatch.setattr(CompiledModel, "report", without_softmax)
    manifest = load_manifest(DIGITS)
    folder = tmp_path / "d8"
    with pytest.raises(VpError) as error:
        variant_source.write_variant(
            manifest, manifest.variant("d8"), DIGITS.parent / "d8.tflite", folder
        )
    assert re.fullmatch(
        r"\S+/d8\.tflite gives scores of scale 0\.125 and zero point 3, the aggregation needs "
        r"0\.00390625 and -128: end the model with a softmax",
        str(error.value),
    )
    assert not folder.exists()


def test_manifests_of_one_name_have_a_tree_each(tmp_path: Path) -> None:
    trees = set()
    for folder in ("digits", "mine"):
        trees.add(build_tree(tmp_path, tmp_path / folder / "manifest.json", "digits", BOARD))
    assert len(trees) == 2
    for name in ("digits", "../../etc", "/", "..", "a/../..", "x" * 300, ""):
        tree = build_tree(tmp_path, DIGITS, name, BOARD)
        assert tree.resolve() == tree and tree.parent.parent == tmp_path and tree.name == BOARD
        tree.mkdir(parents=True)
    relative = build_tree(tmp_path, DIGITS.parent / ".." / "digits" / DIGITS.name, "digits", BOARD)
    assert relative == build_tree(tmp_path, DIGITS, "digits", BOARD)


def test_only_what_was_written_is_removed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    variants = tmp_path / "variants"
    for folder in (elsewhere, variants / "kept", variants / "stale"):
        folder.mkdir(parents=True)
        (folder / "stamp.json").write_text("{}")
    (variants / "foreign").mkdir()
    (variants / "link").symlink_to(elsewhere)
    variant_source.remove_stale(variants, {"kept"})
    assert sorted(path.name for path in variants.iterdir()) == ["foreign", "kept", "link"]
    (tmp_path / "linked").symlink_to(elsewhere.parent)
    variant_source.remove_stale(tmp_path / "linked", set())
    assert (elsewhere / "stamp.json").is_file()


def test_step_that_is_long_for_the_watchdog() -> None:
    board = load_board(BOARD)
    most = board.clock_hz * board.watchdog_ms // (2000 * 40)
    assert step_ms(most, board) == board.watchdog_ms / 2
    assert watchdog_warning("v", "CONV_2D 3", most, board) is None
    assert watchdog_warning("v", "CONV_2D 3", 2 * most, board) == (
        f"variant v: step CONV_2D 3 ({2 * most:,} multiplications) may take 2,000 ms on {BOARD}, "
        "whose watchdog bites after 2,000 ms"
    )


@needs_toolchain
def test_command_warns_of_a_long_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "CYCLES_PER_MAC", 40_000)
    single = json.loads(DIGITS.read_text())
    single["variants"] = [v for v in single["variants"] if v["name"] == "d8"]
    (tmp_path / "manifest.json").write_text(json.dumps(single))
    shutil.copy(DIGITS.parent / "d8.tflite", tmp_path)
    command(tmp_path / "manifest.json", out=tmp_path / "out", as_json=True)
    printed = capsys.readouterr()
    assert re.fullmatch(
        r"warning: variant d8: step CONV_2D \d+ \([\d,]+ multiplications\) may take [\d,]+ ms on "
        rf"{BOARD}, whose watchdog bites after 2,000 ms",
        printed.err.strip(),
    )
    (image,) = json.loads(printed.out)
    assert image["warning"] in printed.err and Path(image["elf"]).is_file()


def test_failing_tool_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "tool.log"
    script = "echo FAILED: a.obj; echo 'a.c:1: error: no such thing'; exit 3"
    with pytest.raises(VpError, match=r"^sh failed: error: no such thing \(see .*tool\.log\)$"):
        run(["sh", "-c", script], log)
    assert log.read_text().startswith("FAILED: a.obj")


def test_boards_are_well_formed() -> None:
    assert board_names()
    for name in board_names():
        board = load_board(name)
        assert board.name == name
        spans = [(board.flash_origin, board.flash_size), (board.provision_address, 128)]
        if board.vectors_origin is not None and board.vectors_size is not None:
            spans.append((board.vectors_origin, board.vectors_size))
        if board.journal_address is not None and board.journal_page_size is not None:
            spans.append((board.journal_address, 2 * board.journal_page_size))
        spans.sort()
        for (origin, size), (following, _) in pairwise(spans):
            assert origin + size <= following, f"{name}: parts of its flash overlap"


def test_command_prints_one_line() -> None:
    code = "from variant_parallelism.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "build", str(DIGITS), "--board", "pdp11"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: no board 'pdp11'") and result.stderr.count("\n") == 1
