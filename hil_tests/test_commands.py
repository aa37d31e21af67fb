"""The commands as a user runs them: processes of their own, with nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from hil_bench import DIGITS, ROOT, Bench
from variant_parallelism.fleet import load_fleet
from variant_parallelism.training.datasets import Dataset

VP = [sys.executable, "-c", "from variant_parallelism.cli import main; main()"]
LIMIT_S = 120
FLEET = str(DIGITS / "fleet.toml")


def vp(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VP, *map(str, arguments)], cwd=folder, env=environment(folder), text=True,
        capture_output=True, timeout=LIMIT_S,
    )  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "120"}


@pytest.fixture
def folder(bench: Bench, tmp_path: Path) -> Path:
    """A working folder whose images are built already, as after a first run."""
    if bench.emulator != "qemu":
        pytest.skip("vp demo and vp emulate run their boards in QEMU")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "firmware").symlink_to(ROOT / "build" / "hil_tests")
    return tmp_path


def qemu_children(marker: str) -> list[str]:
    """Command lines of emulators that mention `marker`."""
    lines = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        line = b" ".join(words).decode(errors="replace")
        if words[0].endswith(b"qemu-system-arm") and marker in line:
            lines.append(line)
    return lines


def test_demo_runs_to_its_end_and_writes_its_figures(folder: Path) -> None:
    done = vp("demo", "--images", "15", "--plain", "--json", "demo.json", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 5 boards: 15 images" in done.stdout
    assert "1 of 5 boards left: 5 images" in done.stdout
    assert done.stdout.count("is back: HELLO") == 4
    figures = json.loads((folder / "demo.json").read_text())
    assert figures["answers_lost"] == 0 and figures["votes_differing"] == 0
    assert figures["votes_compared"] > 100 and figures["problems"] == []
    assert [group["boards"] for group in figures["survivors"]] == [5, 4, 3, 2, 1]
    sizes = {node["transport"]: node["answer_bytes"] for node in figures["nodes"]}
    assert sizes == {"serial": 27, "udp": 25}


@contextmanager
def emulating(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*VP, "emulate", FLEET], cwd=folder, env=environment(folder),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + LIMIT_S
        while not (folder / "run.toml").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "vp emulate wrote no run.toml"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_emulate_then_classify_then_nothing_is_left(folder: Path, digits: Dataset) -> None:
    for number in range(3):
        picture = Image.fromarray(digits.test_images[number][..., 0])
        picture.save(folder / f"{number}.png")
    with emulating(folder) as process:
        fleet = load_fleet(folder / "run.toml")
        assert fleet.key is not None
        assert stat.S_IMODE((folder / "run.toml.key").stat().st_mode) == 0o600
        assert len(qemu_children(str(folder))) == 5
        asked = vp("classify", "run.toml", "0.png", "1.png", "2.png", "--json", folder=folder)
        assert asked.returncode == 0, asked.stderr
        answers = json.loads(asked.stdout)
        assert [answer["name"] for answer in answers] == [
            digits.classes[label] for label in digits.test_labels[:3]
        ]
        assert all(len(answer["votes"]) == 5 for answer in answers)
        again = vp("classify", "run.toml", "1.png", folder=folder)
        assert again.returncode == 0, again.stderr
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=LIMIT_S)[0]
        assert process.returncode == 0, said
    assert "vp classify run.toml IMAGE" in said and "boards are off" in said
    assert qemu_children(str(folder)) == []
    assert not (folder / "run.toml").exists() and not (folder / "run.toml.key").exists()
    with emulating(folder):
        later = vp("classify", "run.toml", "2.png", folder=folder)
        assert later.returncode == 0, later.stdout + later.stderr
    deadline = time.monotonic() + LIMIT_S
    while qemu_children(str(folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert qemu_children(str(folder)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--fleet", "none.toml"], "error: cannot read none.toml: No such file"),
        (["demo", "--data", "none"], "error: no data at none"),
        (["demo", "--json", "no/where.json"], "error: cannot write no/where.json: no folder no"),
        (["emulate", "none.toml"], "error: cannot read none.toml: No such file"),
        (["emulate", FLEET, "--out", "no/run.toml"], "error: cannot write no/run.toml"),
        (["emulate", FLEET, "--workdir", "file"], "error: cannot write to file: File exists"),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "file").touch()
    done = vp(*arguments, folder=folder)
    assert done.returncode == 1
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1
    assert qemu_children(str(folder)) == []
