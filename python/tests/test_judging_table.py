"""`[judging]` of a fleet file: what is possible, and how the impossible is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet_factory import make_manifest, write_fleet_file
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, load_fleet


def fleet_with(folder: Path, judging: str, nodes: int = 5, **top: object) -> Fleet:
    tables: list[dict[str, object]] = [
        {"id": index, "variant": f"v{index}", "board": "mps2-an386", "udp": f"10.0.0.{index}:5000"}
        for index in range(nodes)
    ]
    path = write_fleet_file(folder, tables, manifest=make_manifest(nodes), **top)
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n[judging]\n{judging}\n", encoding="utf-8")
    return load_fleet(path)


def line_of(folder: Path, key: str) -> int:
    lines = (folder / "fleet.toml").read_text(encoding="utf-8").splitlines()
    begin = lines.index("[judging]")
    return next(
        number for number, line in enumerate(lines, 1) if number > begin and line.startswith(key)
    )


def test_a_fleet_without_the_table_combines_as_its_manifest_says(tmp_path: Path) -> None:
    fleet = fleet_with(tmp_path, "")
    assert fleet.combination == "vp"
    assert fleet_with(tmp_path, "", aggregation="vip").combination == "vip"


def test_a_method_of_the_table_is_in_force(tmp_path: Path) -> None:
    fleet = fleet_with(tmp_path, 'combine = "median"\nliars = 2\nfirst = 3\nconfidence = 0.8')
    assert fleet.combination == "median"
    assert fleet.table.judging.liars_among(5) == 2
    assert fleet_with(tmp_path, 'combine = "median"').table.judging.liars_among(5) == 2
    assert fleet_with(tmp_path, "").table.judging.liars_among(5) == 0


@pytest.mark.parametrize(
    ("judging", "nodes", "key", "message"),
    [
        ('combine = "trimmed-mean"', 2, "combine", "among at least 3 nodes, and the fleet has 2"),
        ('combine = "median"\nliars = 3', 5, "liars", "3 liars among at least 7 nodes"),
        ('combine = "mean"', 5, "combine", "Input should be 'vp', 'vip', 'trimmed-mean'"),
        ("liars = 1", 5, "liars", "no effect without combine"),
        ('combine = "vp"\nliars = 1', 5, "liars", "no effect without combine"),
        ("first = 5", 5, "first", "5 at first of 5 nodes leaves none to spare"),
        ('combine = "median"\nfirst = 2', 5, "first", "take at least 3"),
        ("confidence = 0.5", 5, "confidence", "no effect without first"),
        ("everyone_every = 5", 5, "everyone_every", "no effect without first"),
        ("quarantine = true", 2, "quarantine", "needs 3 nodes"),
        ("min_agreement = 0.4", 5, "min_agreement", "no effect without quarantine"),
        ("quarantine = true\nmin_agreement = 1.0", 5, "min_agreement", "less than 1"),
        ('deadline = "auto"\nfloor_ms = 2000', 5, "floor_ms", "exceeds deadline_ms = 1000"),
        ("floor_ms = 20", 5, "floor_ms", 'no effect without deadline = "auto"'),
        ('deadline = "slow"', 5, "deadline", "'fixed' or 'auto'"),
        ("robust = true", 5, "robust", "unknown key"),
    ],
)
def test_the_impossible_is_one_line_that_names_its_line(
    tmp_path: Path, judging: str, nodes: int, key: str, message: str
) -> None:
    with pytest.raises(VpError) as raised:
        fleet_with(tmp_path, judging, nodes)
    text = str(raised.value)
    assert message in text
    assert "\n" not in text
    assert f"fleet.toml:{line_of(tmp_path, key)}: judging.{key}: " in text


def test_two_ways_to_name_the_method_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VpError, match=r"judging\.combine: takes the place of aggregation"):
        fleet_with(tmp_path, 'combine = "median"', aggregation="vip")
