"""What vp-flash sees, and which of it is meant for a node."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from serial.tools import list_ports

from fake_usb import usb_port
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import load_board
from variant_parallelism.flash import choose as choosing
from variant_parallelism.flash import listing
from variant_parallelism.flash.backend import (
    AccessError,
    AmbiguousTargetError,
    FlashError,
    NoTargetError,
    Target,
)
from variant_parallelism.flash.choose import Wish, choose
from variant_parallelism.flash.progress import shown
from variant_parallelism.flash.registry import backend
from variant_parallelism.flash.uf2_drive import INFO
from variant_parallelism.flash.usb_access import closed_probes
from variant_parallelism.fleet import NodeTable

BOARD = load_board("nucleo-f446re")
PICO = load_board("pico")


def node(number: int = 3, **fields: object) -> NodeTable:
    fields.setdefault("board", BOARD.name)
    if not {"serial", "udp", "emulated"} & set(fields):
        fields["serial"] = "/dev/ttyACM0"
    return NodeTable.model_validate({"id": number, "variant": "v0", **fields})


@pytest.fixture
def usb(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """The serial ports of this machine, as the test says."""
    found: list[SimpleNamespace] = []
    monkeypatch.setattr(list_ports, "comports", lambda: found)
    return found


class FakeBackend:
    """Sees what a test says."""

    def __init__(self, name: str, *targets: Target, problem: str | None = None) -> None:
        self.name = name
        self._targets = list(targets)
        self._problem = problem

    def check(self) -> None:
        if self._problem is not None:
            raise VpError(self._problem)

    def find(self) -> list[Target]:
        return self._targets


def probe(number: str, port: str | None = None) -> Target:
    return Target("pyocd", number, "STLink V2", port=port)


def drive(path: str, board: str | None = "pico") -> Target:
    return Target("uf2", path, "Raspberry Pi RP2", board=board)


Connect = Callable[..., None]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    def connected(*targets: Target, **problems: str) -> None:
        def backend(name: str) -> FakeBackend:
            mine = [target for target in targets if target.backend == name]
            return FakeBackend(name, *mine, problem=problems.get(name))

        monkeypatch.setattr(choosing, "make_backend", backend)
        monkeypatch.setattr(listing, "backend", backend)
        monkeypatch.setattr(choosing, "closed_probes", list)
        monkeypatch.setattr(listing, "closed_probes", list)

    return connected


def test_one_probe_is_taken(connect: Connect, usb: object) -> None:
    connect(probe("066A"))
    backend, target = choose(BOARD, node(), Wish())
    assert (backend.name, target.id) == ("pyocd", "066A")


def test_the_probe_that_is_the_nodes_serial_port_is_taken(
    connect: Connect, usb: list[SimpleNamespace]
) -> None:
    """An on-board probe and its serial port are one USB device; J-Links pad its number."""
    usb += [usb_port("/dev/ttyACM0", "000066B"), usb_port("/dev/ttyACM1", "066A")]
    connect(probe("066A"), probe("66B"))
    assert choose(BOARD, node(serial="/dev/ttyACM0"), Wish())[1].id == "66B"
    assert choose(BOARD, node(serial="/dev/ttyACM1"), Wish())[1].id == "066A"
    assert choose(BOARD, node(serial="usb:66B"), Wish())[1].id == "66B"


def test_two_probes_need_a_choice(connect: Connect, usb: object) -> None:
    connect(probe("066A01"), probe("066B02"))
    with pytest.raises(AmbiguousTargetError, match=r"066A01 .*, 066B02 .*; choose with --probe"):
        choose(BOARD, node(), Wish())
    assert choose(BOARD, node(), Wish(probe="066b"))[1].id == "066B02"
    assert choose(BOARD, node(probe="066A"), Wish())[1].id == "066A01"
    assert choose(BOARD, node(), Wish(), lambda question, found: found[1])[1].id == "066B02"
    with pytest.raises(NoTargetError, match="no debug probe 0777: there is 066A01"):
        choose(BOARD, node(), Wish(probe="0777"))
    with pytest.raises(AmbiguousTargetError):
        choose(BOARD, node(), Wish(probe="066"))


def test_a_drive_of_another_board_is_not_offered(connect: Connect, usb: object) -> None:
    connect(drive("/media/X", board="other"), drive("/media/RPI-RP2"))
    assert choose(PICO, node(board="pico"), Wish())[1].id == "/media/RPI-RP2"


def test_a_named_folder_is_a_drive_wherever_it_is(
    connect: Connect, usb: object, tmp_path: Path
) -> None:
    """Not only what the system lists as a mounted drive of that kind."""
    connect(drive("/media/RPI-RP2"))
    (tmp_path / INFO).write_text("UF2 Bootloader v3.0\nModel: RP2\nBoard-ID: RPI-RP2\n")
    pico = node(board="pico")
    found = choose(PICO, pico, Wish(drive=f"{tmp_path}/"))[1]
    assert found == Target("uf2", str(tmp_path), "RP2 (RPI-RP2)", "pico")
    assert choose(PICO, pico, Wish(drive="/media/RPI"))[1].id == "/media/RPI-RP2"
    (tmp_path / INFO).unlink()
    with pytest.raises(NoTargetError, match=r"no UF2 drive .*: there is /media/RPI-RP2"):
        choose(PICO, pico, Wish(drive=str(tmp_path)))


def test_the_next_way_is_taken_where_the_first_sees_nothing(connect: Connect, usb: object) -> None:
    connect(probe("E66"))
    assert choose(PICO, node(board="pico"), Wish())[0].name == "pyocd"
    connect(pyocd="pyOCD is not installed")
    with pytest.raises(NoTargetError, match=r"no UF2 drive found: .*; or: pyOCD is not installed"):
        choose(PICO, node(board="pico"), Wish())


def test_a_serial_bootloader_is_only_taken_by_name(connect: Connect, usb: object) -> None:
    connect(Target("stm32-uart", "/dev/ttyUSB0", "FT232R"))
    with pytest.raises(NoTargetError, match="no debug probe found"):
        choose(BOARD, node(), Wish())
    assert choose(BOARD, node(), Wish(way="stm32-uart"))[1].id == "/dev/ttyACM0"
    assert choose(BOARD, node(), Wish(port="/dev/ttyUSB0"))[1].id == "/dev/ttyUSB0"
    with pytest.raises(NoTargetError, match="name the bootloader's with --port"):
        choose(BOARD, node(udp="10.0.0.3:5000"), Wish(way="stm32-uart"))


def test_ways_that_a_board_does_not_have(connect: Connect, usb: object) -> None:
    connect()
    with pytest.raises(FlashError, match="is not programmed by uf2, but by pyocd or stm32-uart"):
        choose(BOARD, node(), Wish(drive="/media/RPI-RP2"))
    with pytest.raises(FlashError, match="it is emulated; take --emulator qemu"):
        choose(load_board("mps2-an386"), node(board="mps2-an386"), Wish())


def test_a_probe_that_may_not_be_opened(
    connect: Connect, usb: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect()
    monkeypatch.setattr(choosing, "closed_probes", lambda: ["STM32 STLink"])
    with pytest.raises(AccessError, match="debug probe STM32 STLink: you may not open it: add the"):
        choose(BOARD, node(), Wish())


def test_closed_probes_are_found_by_their_usb_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def device(name: str, number: int, **files: str) -> None:
        folder = tmp_path / "sys" / name
        folder.mkdir(parents=True)
        for file, text in {"busnum": "1", "devnum": str(number), **files}.items():
            (folder / file).write_text(text + "\n")
        (tmp_path / "dev" / "001").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / "001" / f"{number:03}").write_text("")

    device("1-1", 4, idVendor="0483", idProduct="374b", product="STM32 STLink")
    device("1-2", 5, idVendor="0d28", idProduct="0204", product="DAPLink CMSIS-DAP")
    device("1-3", 6, idVendor="1366", idProduct="0101")
    device("1-4", 7, idVendor="046d", idProduct="c52b", product="Receiver")
    closed = {str(tmp_path / "dev" / "001" / name) for name in ("004", "006", "007")}
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in closed)
    assert closed_probes(tmp_path / "sys", tmp_path / "dev") == ["STM32 STLink", "1366:0101"]


def test_what_is_seen_is_listed_without_opening_it(
    connect: Connect, usb: list[SimpleNamespace]
) -> None:
    usb += [
        usb_port("/dev/ttyACM0", "066A01"),
        usb_port("/dev/ttyUSB0", "A5001"),
        usb_port("/dev/ttyS0", None, vid=None),
    ]
    connect(probe("066A01", "/dev/ttyACM0"), probe("066A02"), drive("/media/RPI-RP2"))
    seen = listing.look()
    told = seen.as_json()
    assert [entry["id"] for entry in told["probes"]] == ["066A01", "066A02"]
    assert told["drives"][0]["board"] == "pico"
    assert [entry["port"] for entry in told["ports"]] == ["usb:066A01", "usb:A5001"]
    assert listing.next_steps(seen, "f.toml", [node(1), node(2)]) == [
        "vp-flash --node 1 --probe 066A01 f.toml",
        "vp-flash --node 1 --probe 066A02 f.toml",
        "vp-flash --all f.toml",
    ]
    assert listing.next_steps(seen, "f.toml", [node(1, probe="066A01"), node(2)]) == [
        "vp-flash --node 1 f.toml",
        "vp-flash --all f.toml",
    ]
    connect(probe("066A01"))
    assert listing.next_steps(listing.look(), None, []) == ["vp-flash --node N fleet.toml"]


def test_somebody_at_a_terminal_chooses_by_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["7", "2"])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    found = [probe("066A01"), probe("066B02")]
    assert choosing.ask_on_terminal("Which debug probe is node 3?", found).id == "066B02"
    told = capsys.readouterr().err
    assert "1  066A01  STLink V2" in told
    assert "Please select one of the available options" in told


def test_pyocd_is_not_needed_until_a_probe_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyocd.core.session", None)
    with pytest.raises(VpError, match=r"pip install 'variant-parallelism\[flash\]'"):
        backend("pyocd").check()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with shown([node(3), node(4)]) as show:
        report = show.progress(node(3))
        report("program", 512, 1024)
        show.say(node(4), "started, waiting")
        show.end(node(3), "node 3 is up", True)
    text = terminal.getvalue()
    assert "node 3" in text
    assert "node 3 is up\n" in text
    assert "\x1b[" in text
