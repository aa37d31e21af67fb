"""Images for every board there is, and the table of what they take."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from variant_parallelism.cli.build import command
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import board_names, boards, build, load_board, variant_source

FIRMWARE = Path(__file__).resolve().parents[1]
ROOT = FIRMWARE.parent
DIGITS = ROOT / "models" / "digits" / "manifest.json"
SMALL = "d8"
LARGE = "d24"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "cmake", "ninja"))),
    reason="no cross compiler: apt install gcc-arm-none-eabi cmake ninja-build",
)


def test_every_board_builds(capsys: pytest.CaptureFixture[str]) -> None:
    """With warnings as errors. The table goes to the log of whoever runs this."""
    command(DIGITS, "all", [SMALL, LARGE], ROOT / "build" / "firmware")
    table, _, _ = capsys.readouterr().out.partition("\n/")
    with capsys.disabled():
        print(f"\n{table}")
    for name in board_names():
        board = load_board(name)
        sizes = []
        for variant in (SMALL, LARGE):
            row = re.search(rf"^ {variant} +{name} +(.*)$", table, re.M)
            assert row is not None
            flash, flash_size, ram, ram_size, arena, stack = (
                int(number.replace(",", "")) for number in row.group(1).split()
            )
            assert (flash_size, stack) == (board.flash_size, board.stack_size)
            assert ram_size == board.ram_size + (board.dma_size or 0)
            assert arena < ram <= ram_size - stack and flash <= flash_size
            sizes.append((flash, ram))
        assert sizes[0] < sizes[1]


@pytest.fixture
def tiny_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A board of 20 KB of RAM, in a firmware folder of the test's own."""
    sources = tmp_path / "firmware"
    shutil.copytree(FIRMWARE, sources, ignore=shutil.ignore_patterns("tests"))
    (sources / "boards" / "mps2-an386").rename(sources / "boards" / "tiny")
    toml = sources / "boards" / "tiny" / "board.toml"
    text = re.sub(r"^ram_size = .*$", "ram_size = 0x5000", toml.read_text(), flags=re.M)
    toml.write_text(text.replace('name = "mps2-an386"', 'name = "tiny"'))
    for module in (boards, build, variant_source):
        monkeypatch.setattr(module, "firmware_dir", lambda: sources)
    return "tiny"


def test_what_does_not_fit_is_shown_and_the_rest_built(
    tiny_board: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    reason = r"variant d24 needs [\d,]+ bytes of RAM, board tiny has 20,480"
    with pytest.raises(VpError, match=f"^{reason}$"):
        command(DIGITS, tiny_board, [SMALL, LARGE], out)
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line.split() for line in lines if line.split()[:2] == ["d24", tiny_board]]
    assert row[2:] == ["too", "large"]
    assert re.fullmatch(reason, lines[-1])
    assert Path(lines[-2]).is_file()
    with pytest.raises(VpError):
        command(DIGITS, tiny_board, [SMALL, LARGE], out, as_json=True)
    fits, misfit = json.loads(capsys.readouterr().out)
    assert (fits["variant"], fits["board"]) == (SMALL, tiny_board) and "reason" not in fits
    assert (misfit["variant"], misfit["board"]) == (LARGE, tiny_board)
    assert re.fullmatch(reason, misfit["reason"])


def test_variant_that_the_source_lacks(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"manifest\.json has no variant 'd99': it has d8, d12"):
        command(DIGITS, "all", ["d99"], tmp_path)
