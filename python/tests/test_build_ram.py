"""`vp build --ram`: a budget for the arenas of compiled models."""

from __future__ import annotations

from pathlib import Path

import pytest

from variant_parallelism.cli.build import command
from variant_parallelism.errors import VpError
from variant_parallelism.firmware.variant_source import Compiled

D16 = Path(__file__).resolve().parents[2] / "models" / "digits" / "d16.tflite"


def test_a_budget_is_spent_and_kept(tmp_path: Path) -> None:
    smallest = Compiled().write_model(D16, tmp_path / "smallest", "d16")
    fastest = Compiled(ram=16 * 1024).write_model(D16, tmp_path / "fastest", "d16")
    assert smallest.arena < fastest.arena <= 16 * 1024
    assert Compiled(ram=smallest.arena).write_model(D16, tmp_path, "d16").arena == smallest.arena


def test_a_budget_that_no_plan_keeps_names_the_model(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"d16\.tflite: the arena needs at least [0-9,]+ bytes"):
        Compiled(ram=1000).write_model(D16, tmp_path, "d16")


def test_another_budget_is_another_folder_of_code() -> None:
    assert len({Compiled().digest(), Compiled(ram=4096).digest(), Compiled(ram=8192).digest()}) == 3


def test_what_is_not_a_size_is_refused() -> None:
    with pytest.raises(VpError, match="--ram 8Q: a number of bytes"):
        command(D16.with_name("manifest.json"), ram="8Q")
