"""The command line of vp-flash: what it prints, refuses and leaves behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet_factory import write_fleet_file
from variant_parallelism.cli import flash_run
from variant_parallelism.cli.flash import main
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.flash import listing
from variant_parallelism.flash.backend import Connection, Job, Progress, Target
from variant_parallelism.flash.uf2 import parse
from variant_parallelism.wire import Provision

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "hil_tests"
DIGITS = ROOT / "models" / "digits" / "fleet.toml"

needs_emulator = pytest.mark.skipif(
    any(
        shutil.which(tool) is None
        for tool in ("qemu-system-arm", "arm-none-eabi-gcc", "cmake", "ninja")
    ),
    reason="needs qemu-system-arm, gcc-arm-none-eabi, cmake and ninja-build",
)


def vp_flash(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `vp-flash` here; its exit status."""
    monkeypatch.setattr(sys, "argv", ["vp-flash", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    nodes = [
        {"id": 1, "variant": "v0", "board": "nucleo-f446re", "serial": "/dev/none1"},
        {"id": 2, "variant": "v1", "board": "pico", "serial": "/dev/none2"},
        {"id": 3, "variant": "v2", "board": "mps2-an386", "emulated": "serial"},
    ]
    return write_fleet_file(tmp_path, nodes)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--node", "9"], r"has no node 9: it has 1, 2, 3"),
        (["--node", "1", "--board", "pico"], r"node 1 is a nucleo-f446re in .*, not a pico"),
        (["--node", "1", "--board", "arduino"], r"no board 'arduino': the boards are "),
        (["--node", "3"], r"node 3 is emulated: give it serial or udp in .* --emulator qemu"),
        (["--node", "1", "--all"], r"--node and --all exclude each other"),
        (["--all", "--probe", "06"], r"--probe, --port and --drive name one board"),
        (["--all", "--emulator", "qemu"], r"--emulator boots one node"),
        (["--node", "3", "--emulator", "bochs"], r"no emulator 'bochs': there are qemu, renode"),
        (["--node", "1", "--no-build", "--provision-only"], r"exclude each other"),
        (["--node", "1", "--uf2-out", "x.uf2", "--provision-only"], r"takes no UF2 files"),
        (
            ["--node", "1", "--probe", "A", "--drive", "B"],
            r"--probe and --drive exclude each other",
        ),
        (["--node", "1", "--port", "A", "--probe", "B"], r"--probe and --port exclude each other"),
        (["--node", "1", "--port", "", "--timeout", "0", "--provision-only"], r"'' is no serial"),
        (
            ["--node", "2", "--with", "uf2", "--probe", "A"],
            r"--probe is for --with pyocd, not --wi",
        ),
        (["--node", "1", "--once"], r"--once is for --emulator"),
        *[
            (["--node", "3", "--emulator", "qemu", option, "x"], f"--emulator and {option} exclude")
            for option in ("--with", "--probe", "--port", "--drive", "--uf2-out")
        ],
        *[
            (["--node", "2", "--uf2-out", "x", *option], f"--uf2-out and {option[0]} exclude")
            for option in (
                *[["--with", "uf2"], ["--probe", "x"], ["--port", "x"], ["--drive", "x"]],
                *[["--json"], ["--timeout", "3"]],
            )
        ],
        (["--uf2-out", "x"], r"--uf2-out writes one file for one node"),
        (["--no-build"], r"--no-build is for a node: name it with --node, or take --all"),
        *[
            (
                ["--node", "1", "--provision-only", "--timeout", "0", "--port", port],
                rf"node 1: '{re.escape(port)}' is no serial port or URL such as socket://",
            )
            for port in ("loop://?logging=x", "socket://x", "nothing://x", "hwgrep://(")
        ],
        (["--node", "2", "--provision-only", "--uf2-out", "."], r"cannot write \.: it is no file"),
        (["--node", "2", "--provision-only", "--uf2-out", "no/x.uf2"], r"cannot write .*No such"),
        (["--all", "--uf2-out", "x.uf2"], r"--uf2-out writes one file for one node"),
        (["--node", "2", "--no-build", "--uf2-out", "x.uf2"], r"v1.elf was not built yet"),
    ],
)
def test_what_is_refused_is_one_line(
    arguments: list[str],
    says: str,
    fleet_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert vp_flash(monkeypatch, *arguments, "--state-dir", "state", str(fleet_file)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(f"^error: .*{says}", error), error


def test_a_fleet_file_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--node", "1"], ["--all"], ["--uf2-out", "x.uf2"], ["--probe", "066A"]):
        assert vp_flash(monkeypatch, *arguments) == 1
        assert capsys.readouterr().err.startswith("error: which fleet? Give the fleet file")


def test_a_fleet_without_key_is_warned_about(
    fleet_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vp_flash(monkeypatch, "--node", "9", str(fleet_file)) == 1
    assert "warning: fleet simulated has no key" in capsys.readouterr().err


def test_what_is_seen_and_what_to_type(
    fleet_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = listing.Seen(
        [Target("pyocd", "066DFF01", "STLink V2", port="/dev/ttyACM0")],
        [Target("uf2", "/media/RPI-RP2", "Raspberry Pi RP2 [RPI-RP2]", board="pico")],
        [],
        {"qemu": None, "renode": "Renode is not installed"},
        ["pyOCD is missing: pip install 'variant-parallelism[flash]'"],
    )
    monkeypatch.setattr(flash_run.listing, "look", lambda: seen)
    monkeypatch.setenv("COLUMNS", "100")
    assert vp_flash(monkeypatch, str(fleet_file)) == 0
    out = capsys.readouterr().out
    for text in (
        r"debug probe +066DFF01 +STLink V2 +/dev/ttyACM0",
        r"UF2 drive +/media/RPI-RP2 +Raspberry Pi RP2 \[RPI-RP2\]",
        r"emulator +renode +Renode is not installed",
        r"note: pyOCD is missing: pip install 'variant-parallelism\[flash\]'",
        r"3 +v2 +mps2-an386 +emulated, serial",
    ):
        assert re.search(text, out), text
    assert out.endswith(
        f"Next:\n  vp-flash --node 1 --probe 066DFF {fleet_file}\n  vp-flash --all {fleet_file}\n"
    )
    assert vp_flash(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out)["emulators"] == {"qemu": True, "renode": False}


def test_this_machine_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is connected here: no error, no traceback."""
    assert vp_flash(monkeypatch) == 0
    assert "Next:" in capsys.readouterr().out


def test_a_uf2_file_with_the_identity_alone(
    fleet_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "node2.uf2"
    out.write_bytes(b"older, and for everybody")
    out.chmod(0o644)
    arguments = ["--node", "2", "--provision-only", "--uf2-out", str(out)]
    state = ["--state-dir", str(tmp_path / "state")]
    assert vp_flash(monkeypatch, *arguments, *state, str(fleet_file)) == 0
    assert "for node 2, variant v1, boot 1\n" in capsys.readouterr().out
    assert out.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".*.part"))
    address = flash_run.load_board("pico").provision_address
    written = [block for block in parse(out.read_bytes()) if block.address == address]
    assert Provision.unpack(written[-1].data[:128]).node == 2


class SlowBackend:
    """Boards that take as long as a test lets them; the second one does not listen to anybody."""

    name = "pyocd"

    def __init__(self) -> None:
        self.erased = 0

    @contextmanager
    def open(self, target: Target, board: BoardInfo) -> Iterator[SlowConnection]:
        yield SlowConnection(self, deaf=target.id == "P2")


class SlowConnection(Connection):
    def __init__(self, backend: SlowBackend, deaf: bool) -> None:
        self._backend = backend
        self._deaf = deaf

    def read(self, address: int, size: int) -> bytes | None:
        return None

    def write(self, job: Job, progress: Progress) -> None:
        progress("erase", 0, 1)
        self._backend.erased += 1
        for done in range(2000):
            time.sleep(0.01)
            if not self._deaf:
                progress("program", done, 2000)

    def reset(self) -> None:
        raise AssertionError("never written to its end")


INTERRUPTED = """
import os, signal, sys, threading, time
sys.path[:0] = {path!r}
import test_flash_command as test
from variant_parallelism.cli import flash_run
from variant_parallelism.flash.backend import Target

backend = test.SlowBackend()
flash_run.choose = lambda board, node, *_: (backend, Target("pyocd", f"P{{node.id}}", ""))
flash_run._GRACE_S = 0.5

def interrupt():
    while backend.erased < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
test.main()
"""


def test_ctrl_c_ends_all_nodes_soon(fleet_file: Path, tmp_path: Path) -> None:
    """One stops at the next step. The other does not, and is left alone."""
    began = time.monotonic()
    arguments = ["--all", "--provision-only", "--timeout", "0", "--state-dir", str(tmp_path)]
    ended = subprocess.run(
        [
            *(sys.executable, "-c", INTERRUPTED.format(path=sys.path)),
            *arguments,
            str(fleet_file),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "150"},
        check=False,
    )
    assert ended.returncode == 130, ended.stderr
    assert time.monotonic() - began < 15
    one, other = ended.stdout.rstrip().splitlines()[-2:]
    assert re.match(r"1 +v0 .*interrupted half-way: it stays silent until it is flashed", one)
    assert re.match(
        r"2 +v1 +pico +pyocd P2 .*interrupted half-way: if it is silent, flash it again", other
    )
    assert ended.stderr.splitlines()[-1].startswith("interrupted: a node that was not done")
    assert "Traceback" not in ended.stderr


@needs_emulator
def test_a_node_is_booted_in_an_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--emulator", "qemu", "--once", "--out", str(OUT), "--state-dir", str(tmp_path)]
    for number, variant, boot in (("1", "d8", 256), ("5", "d24", 256), ("1", "d8", 512)):
        assert vp_flash(monkeypatch, "--node", number, *common, str(DIGITS)) == 0
        assert re.fullmatch(
            rf"node {number} is up: variant {variant} on mps2-an386, firmware [\d.]+, "
            rf"boot {boot}, in [\d.]+ s\n",
            capsys.readouterr().out,
        )


@needs_emulator
def test_an_emulated_board_that_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--emulator", "qemu", "--node", "1", "--once", "--out", str(OUT)]
    common += ["--state-dir", str(tmp_path), str(DIGITS)]
    assert vp_flash(monkeypatch, *common, "--timeout", "0") == 0
    assert capsys.readouterr().out == (
        "node 1 is switched on: variant d8 on mps2-an386, not waited for\n"
    )
    assert vp_flash(monkeypatch, *common, "--timeout", "0.001") == 1
    error = capsys.readouterr().err
    assert "error: node 1 runs in qemu, but no HELLO came on socket://" in error
    assert "in 0.001 s: wait longer with --timeout" in error


@needs_emulator
def test_an_emulated_board_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from variant_parallelism.cli.flash import main; main()"]
    arguments = ["--emulator", "qemu", "--node", "1", "--out", str(OUT), "--json"]
    running = subprocess.Popen(
        [*command, *arguments, "--state-dir", str(tmp_path), str(DIGITS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    try:
        assert [outcome["error"] for outcome in json.loads(running.stdout.readline())] == [None]
        where = running.stderr.readline()
        assert re.match(r"It is qemu's, at socket://127.0.0.1:\d+; Ctrl-C", where), where
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=20)[1].strip() == "the board is off"
        assert running.returncode == 0
    finally:
        running.kill()
        running.communicate()
    port = int(where.partition(";")[0].rpartition(":")[2])
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port)):
        pass
