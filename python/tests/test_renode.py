"""The driver of Renode against conversations recorded from the real one.

VP_RECORD_RENODE=/path/to/renode pytest python/tests/test_renode.py records them again.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from renode_stand_in import EXIT_STATUS, PLACES_VARIABLE, RECORD_VARIABLE
from variant_parallelism import emulators
from variant_parallelism._paths import firmware_dir
from variant_parallelism.emulators import BoardConfig
from variant_parallelism.emulators import renode as renode_module
from variant_parallelism.emulators.board import Board, PortTakenError
from variant_parallelism.emulators.boot_counter import STEP
from variant_parallelism.emulators.network.attachment import Attachment, DatagramPort, TapPort
from variant_parallelism.emulators.renode import RenodeEmulator
from variant_parallelism.emulators.renode_monitor import check_version, find_renode, quoted_path
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import load_board
from variant_parallelism.wire import Provision

HERE = Path(__file__).parent
CONVERSATIONS = HERE / "renode"
STAND_IN = HERE / "renode_stand_in.py"
RECORDING = RECORD_VARIABLE in os.environ
SERIAL_BOARD = load_board("mps2-an386")
ETHERNET_BOARD = load_board("stm32f4-disco")
PORT = 18461
replays_only = pytest.mark.skipif(RECORDING, reason="no real Renode does that")


def write_elf(path: Path, parts: list[tuple[int, bytes]]) -> None:
    """A 32-bit Arm executable with so many loadable segments, the last one of zeros only."""
    count = len(parts) + 1
    offset = 52 + 32 * count
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 40, 1, 0, 52, 0, 0, 52, 32, count, 40, 0, 0
    )
    table = b""
    for address, data in parts:
        size = len(data)
        table += struct.pack("<8I", 1, offset, address, address, size, size, 5, 4)
        offset += size
    table += struct.pack("<8I", 1, 0, 0x20000000, 0x20000000, 0, 256, 6, 4)
    path.write_bytes(header + table + b"".join(data for _, data in parts))


# Vectors and a loop.
LOOP = struct.pack("<II", 0x20001000, 9) + bytes.fromhex("fee7fee7")

Make = Callable[..., Board]


def script(path: Path, command: str) -> Path:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def emulator(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RenodeEmulator]:
    """Renode as the conversation of the test's own name has it."""
    name = request.node.name.removeprefix("test_")
    conversation = CONVERSATIONS / f"{name}.json"
    command = "exec " + shlex.join([sys.executable, str(STAND_IN), str(conversation)]) + ' "$@"'
    monkeypatch.setenv("RENODE_PATH", str(script(tmp_path / "renode", command)))
    places = {
        "work": str(tmp_path),
        "boards": str(firmware_dir() / "boards"),
        "emulators": str(Path(emulators.__file__).parent),
    }
    monkeypatch.setenv(PLACES_VARIABLE, json.dumps(places))
    emulator = RenodeEmulator()
    emulator.check()
    yield emulator
    emulator.close()


@pytest.fixture
def make(emulator: RenodeEmulator, tmp_path: Path) -> Iterator[Make]:
    """Makes boards, and switches them off at the end."""
    made: list[Board] = []
    write_elf(tmp_path / "loop.elf", [(SERIAL_BOARD.flash_origin, LOOP)])

    def make(node: int = 1, **options: object) -> Board:
        config = BoardConfig(
            node=node,
            board=SERIAL_BOARD,
            image=tmp_path / "loop.elf",
            transport="serial",
            port=PORT + node,
            provision=Provision(fleet=1, node=node, boot=0),
            next_boot=lambda: STEP,
            workdir=tmp_path,
        )
        board = emulator.create(replace(config, **options))  # type: ignore[arg-type]
        made.append(board)
        return board

    yield make
    for board in made:
        board.kill()


def test_life_of_a_board(make: Make, tmp_path: Path) -> None:
    board = make()
    assert (board.name, board.node, board.running) == ("node-1", 1, False)
    assert board.serial_url == f"socket://127.0.0.1:{PORT + 1}" and board.udp_endpoint is None
    board.start()
    assert board.running
    assert (tmp_path / "node-1.image-0.bin").read_bytes() == LOOP
    block = tmp_path / "node-1.provision.bin"
    assert block.read_bytes() == Provision(fleet=1, node=1, boot=STEP).pack()
    assert block.stat().st_mode & 0o777 == 0o600
    with pytest.raises(VpError, match="node-1 is running already"):
        board.start()
    board.pause()
    assert board.running
    board.resume()
    board.reset()
    board.write_memory(0x20000100, b"\xfe\xe7")
    assert not (tmp_path / "node-1.write.bin").exists()
    board.stop()
    assert not board.running


def test_boards_come_and_go(make: Make) -> None:
    """A board that is off keeps its machine; with the last one all of them go."""
    first, second = make(1), make(2)
    first.start()
    second.start()
    first.kill()
    assert (first.running, second.running) == (False, True)
    with pytest.raises(VpError, match="node-1 is not running"):
        first.reset()
    first.kill()
    first.start()
    assert (first.running, second.running) == (True, True)
    second.kill()
    first.kill()
    # The same Renode, without machines.
    second.start()
    assert (first.running, second.running) == (False, True)


def on_cable(port: object) -> Attachment:
    mask, network = IPv4Address("255.255.0.0"), IPv4Address("10.77.0.1")
    return Attachment(port, "127.0.0.1:5000", network + 9, mask, network, None)  # type: ignore[arg-type]


def test_node_on_ethernet(make: Make, tmp_path: Path) -> None:
    origin = ETHERNET_BOARD.vectors_origin
    assert origin is not None
    write_elf(tmp_path / "split.elf", [(origin, LOOP), (ETHERNET_BOARD.flash_origin, b"code")])
    board = make(
        board=ETHERNET_BOARD,
        image=tmp_path / "split.elf",
        transport="udp",
        attachment=on_cable(DatagramPort(("127.0.0.1", PORT + 8), ("127.0.0.1", PORT + 9))),
    )
    assert board.serial_url is None and board.udp_endpoint == "127.0.0.1:5000"
    board.start()
    board.kill()
    board.start()


def test_port_in_use_is_told_apart(make: Make) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", PORT + 1))
        taken.listen()
        board = make()
        with pytest.raises(PortTakenError, match=r"node-1: Renode: .*[Aa]ddress already in use"):
            board.start()
        assert not board.running
    make(2).start()


def test_platform_that_renode_refuses(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "boards" / SERIAL_BOARD.name
    folder.mkdir(parents=True)
    monkeypatch.setattr(renode_module, "firmware_dir", lambda: tmp_path)
    board = make()
    with pytest.raises(VpError, match=r"board mps2-an386 has no board.repl: Renode needs"):
        board.start()
    (folder / "board.repl").write_text("cpu: CPU.CortexM @ sysbus\n    cpuType: no_such\n")
    with pytest.raises(VpError, match="node-1: Renode: ") as refused:
        board.start()
    assert "\n" not in str(refused.value) and "board.repl" in str(refused.value)
    assert not board.running


@replays_only
def test_renode_that_dies_is_told_with_its_last_words(make: Make) -> None:
    board = make()
    board.start()
    with pytest.raises(VpError) as died:
        board.reset()
    assert str(died.value) == (
        f"node-1 is not running: Renode ended by itself (status {EXIT_STATUS}): "
        "Got a SIGSEGV while executing native code."
    )
    assert not board.running
    with pytest.raises(VpError, match="node-1 is not running"):
        board.resume()
    board.kill()


@replays_only
def test_fault_of_the_server_is_one_line(make: Make) -> None:
    with pytest.raises(VpError, match=r"Renode: <Fault 1: 'no such keyword'>"):
        make().start()


def test_network_of_its_own_is_missing(make: Make) -> None:
    for attachment in (None, on_cable(TapPort("tap0"))):
        with pytest.raises(VpError, match="node-1: Renode has no network of its own"):
            make(board=ETHERNET_BOARD, transport="udp", attachment=attachment)


def test_supported_boards() -> None:
    emulator = RenodeEmulator()
    assert emulator.supports(SERIAL_BOARD, "serial") and emulator.supports(ETHERNET_BOARD, "udp")
    # Its Ethernet controller is not modelled.
    assert not emulator.supports(SERIAL_BOARD, "udp")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("Renode v1.15.3.1", "Renode 1.15, but 1.16 is needed: unpack"),
        ("Renode v1.17.0.1", "Renode 1.17, but 1.16 is needed: unpack"),
        ("", "is not Renode, or does not start: status 0"),
        ("Segmentation fault", "is not Renode, or does not start: Segmentation fault"),
    ],
)
def test_other_programs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, error: str
) -> None:
    program = script(tmp_path / "renode", f"echo {shlex.quote(said)}")
    monkeypatch.setenv("RENODE_PATH", str(tmp_path))
    with pytest.raises(VpError) as refused:
        RenodeEmulator().check()
    assert str(refused.value).startswith(str(program)) and error in str(refused.value)


def test_where_renode_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RENODE_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VpError, match=r"Renode is not installed: unpack .* and set RENODE_PATH"):
        find_renode()
    program = script(tmp_path / "renode", "echo Renode v1.16.1.31134")
    assert find_renode() == str(program)
    assert check_version(str(program)) == (1, 16)
    for given in (tmp_path, program):
        monkeypatch.setenv("RENODE_PATH", str(given))
        assert find_renode() == str(program)
    monkeypatch.setenv("RENODE_PATH", str(tmp_path / "elsewhere"))
    with pytest.raises(VpError, match="elsewhere: no program there: unpack"):
        find_renode()


def test_paths_in_commands() -> None:
    assert quoted_path(Path("/a b/c.bin")) == "@/a\\ b/c.bin"
    for character in ';"\n\t\\':
        with pytest.raises(VpError, match="Renode takes no path with such a character"):
            quoted_path(Path(f"/a{character}b"))


@replays_only
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (Debian: util-linux)")
def test_renode_dies_with_python(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text('{"version": "Renode v1.16.1", "exchanges": []}')
    command = (
        "exec " + shlex.join([sys.executable, str(STAND_IN), str(tmp_path / "none.json")]) + ' "$@"'
    )
    program = script(tmp_path / "renode", command)
    code = (
        "import sys, time\n"
        "from variant_parallelism.emulators.renode_monitor import RenodeMonitor\n"
        "print(RenodeMonitor(sys.argv[1]).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(program)], stdout=subprocess.PIPE, text=True
    ) as python:
        assert python.stdout is not None
        pid = int(python.stdout.readline())
        assert is_alive(pid)
        python.kill()
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlives Python"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
