"""tools/benchmarks.py and the document that it writes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from exactness import REPOSITORY, SHARED_MODELS
from vp_converters.bench import BenchResult
from vp_converters.bench.footprint import Footprint
from vp_converters.target import BOARDS


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/benchmarks.py as a module."""
    path = REPOSITORY / "tools" / "benchmarks.py"
    spec = importlib.util.spec_from_file_location("benchmarks_tool", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _result(board: str) -> BenchResult:
    return BenchResult(
        model="v1_96",
        hash="0011223344556677",
        board=board,
        core=BOARDS[board].core,
        kernels="portable",
        compiler="gcc 1",
        flags="-O2",
        emulator="QEMU 1",
        instructions=4_248_192,
        instructions_range=(1, 5_000_000),
        operators=(),
        macs=1_000_000,
        input_bytes=27_648,
        arena_bytes=19_600,
        footprint=Footprint(code=10_000, constants=251_964, static=94),
        stack_bytes=300,
        inputs_checked=7,
        compared=("output",),
        mismatches=0,
        difference=None,
    )


def test_tables(tool: ModuleType) -> None:
    path = Path("models/v1_96.tflite")
    results = {(path, board): _result(board) for board in BOARDS}
    table = tool.peer_table([path], results).splitlines()
    assert len(table) == 2 + len(BOARDS) + 2
    assert table[2] == (
        "| **v1_96** | instructions, Cortex-M4F | 42,481,920 | 33.7 M | 4,248,192 | 10.00 |"
    )
    assert table[-2] == "|  | RAM, Cortex-M4F | 196,948 | 134,892 | 19,694 | 10.00 |"
    assert table[-1] == "|  | flash, Cortex-M4F | 523,928 | 349 K | 261,964 | 2.00 |"
    assert tool.own_table([path], results).splitlines()[2] == (
        "| models/v1_96 | 27,648 | 1,000,000 | 4,248,192 | 4,248,192 | 4,248,192 | 4.25 "
        "| 19,694 | 300 | 261,964 |"
    )
    assert "21 inputs compared with `tflite_micro`, 0 mismatches" in tool.tools_text(results)


def test_blocks(tool: ModuleType) -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert tool.with_block(text, "x", "new\n") == text.replace("old", "new")
    with pytest.raises(ValueError, match="'y'"):
        tool.with_block(text, "y", "")


def test_the_document_has_every_model(tool: ModuleType) -> None:
    text = tool.DOCUMENT.read_text(encoding="utf-8")
    for name in ("peers", "own", "tools"):
        assert tool.with_block(text, name, "") != text, f"{name} is empty"
    assert all(f"| **{name}** | " in text for name in SHARED_MODELS)
    own = sorted((REPOSITORY / "models").glob("*/*.tflite"))
    assert own
    assert all(f"| {path.parent.name}/{path.stem} | " in text for path in own)
    assert ", 0 mismatches" in text
