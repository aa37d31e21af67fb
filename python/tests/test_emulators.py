"""Emulated boards: start, kill, pause, reset, and what is said when they cannot run.

The boards run a program of a few instructions that sends the head of its provisioning block and
then echoes its UART; the product's firmware is tested in hil_tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from variant_parallelism.emulators import BoardConfig, launch_fleet
from variant_parallelism.emulators import qemu as qemu_module
from variant_parallelism.emulators.board import PortTakenError
from variant_parallelism.emulators.boot_counter import STEP, BootCounters
from variant_parallelism.emulators.fleet_file import temporary_fleet
from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.emulators.qemu import QemuBoard, QemuEmulator
from variant_parallelism.emulators.qmp import QmpClient, QmpError
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import load_board
from variant_parallelism.fleet import Fleet, FleetTable, load_fleet
from variant_parallelism.manifest import Manifest, save_manifest
from variant_parallelism.wire import Provision

COMPILER = shutil.which("arm-none-eabi-gcc")
needs_qemu = pytest.mark.skipif(
    shutil.which(qemu_module.PROGRAM) is None or COMPILER is None,
    reason="needs Debian packages qemu-system-arm and gcc-arm-none-eabi",
)
LIMIT_S = 60
RAM = 0x2100_0000
BOARD = load_board("mps2-an386")
ADDRESS = BOARD.provision_address
ECHO = f"""
#include <stdint.h>
#define UART(o) (*(volatile uint32_t *)(0x40004000u + (o)))
static void put(uint8_t c) {{ while (UART(4) & 1u) {{ }} UART(0) = c; }}
void start(void)
{{
    UART(0x10) = 217; UART(8) = 3;
    (void)UART(0);  /* QEMU looks again whether input may come only when DATA is read. */
    for (uint32_t i = 0; i < 12; i++) put(((const volatile uint8_t *){ADDRESS:#x}u)[i]);
    for (;;) if (UART(4) & 2u) put((uint8_t)UART(0));
}}
__attribute__((section(".vectors"), used)) static const void *vectors[] =
    {{ (void *)0x20010000, (void *)start }};
"""
SCRIPT = "SECTIONS { . = 0; .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } }"


@pytest.fixture(scope="module")
def echo_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("echo")
    (folder / "echo.c").write_text(ECHO)
    (folder / "echo.ld").write_text(SCRIPT)
    flags = "-mcpu=cortex-m4 -mthumb -Os -nostdlib -ffreestanding -T echo.ld echo.c -o echo.elf"
    subprocess.run([str(COMPILER), *flags.split()], cwd=folder, check=True)
    return folder / "echo.elf"


@pytest.fixture
def board(echo_image: Path, tmp_path: Path) -> Iterator[QemuBoard]:
    board = make_board(echo_image, tmp_path)
    yield board
    board.kill()


def make_board(image: Path, folder: Path, port: int | None = None) -> QemuBoard:
    config = BoardConfig(
        node=7,
        board=BOARD,
        image=image,
        transport="serial",
        port=port or PortPool().take(),
        provision=Provision(fleet=3, node=7, boot=0, hello_ms=1000),
        next_boot=iter(range(256, 99999, 256)).__next__,
        workdir=folder,
    )
    return QemuBoard(config)


def connect(board: QemuBoard) -> socket.socket:
    assert board.serial_url is not None
    host, port = board.serial_url.removeprefix("socket://").split(":")
    line = socket.create_connection((host, int(port)), timeout=LIMIT_S)
    line.settimeout(LIMIT_S)
    return line


def read_exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            raise EOFError(data)
        data += part
    return data


def echoed(line: socket.socket, payload: bytes) -> bytes:
    """Send `payload` and return all that comes until its echo is through."""
    line.sendall(payload)
    data = b""
    while not data.endswith(payload):
        data += read_exactly(line, 1)
    return data


@needs_qemu
def test_board_answers_dies_and_comes_back_on_the_same_port(board: QemuBoard) -> None:
    url = board.serial_url
    assert not board.running
    board.start()
    assert board.running and board.serial_url == url and board.udp_endpoint is None
    with connect(board) as line:
        assert echoed(line, b"abc")
        board.kill()
        assert not board.running
        assert line.recv(100) == b""
    board.start()
    with connect(board) as line:
        assert echoed(line, b"xyz")
    board.stop()
    board.stop()
    assert not board.running


@needs_qemu
def test_block_reaches_the_guest_and_reset_starts_it_again(board: QemuBoard) -> None:
    board.start()
    with connect(board) as line:
        echoed(line, b"sync")  # The program's first words may have come before this connection.
        board.reset()
        magic, layout, fleet, node, boot = struct.unpack("<4sBBHI", read_exactly(line, 12))
        assert (magic, layout, fleet, node, boot) == (b"VPN1", 1, 3, 7, 256)
        assert echoed(line, b"again") == b"again"
    board.kill()
    board.start()
    with connect(board) as line:
        echoed(line, b"sync")
        board.reset()
        assert read_exactly(line, 12)[8:] == struct.pack("<I", 512)


@needs_qemu
def test_paused_board_keeps_what_it_gets_and_answers_when_resumed(board: QemuBoard) -> None:
    board.start()
    with connect(board) as line:
        echoed(line, b"sync")
        board.pause()
        assert board.running
        line.sendall(b"later")
        line.settimeout(0.2)
        with pytest.raises(TimeoutError):
            line.recv(1)
        board.resume()
        line.settimeout(LIMIT_S)
        assert read_exactly(line, 5) == b"later"


@needs_qemu
def test_start_fails_with_the_last_line_of_qemu(tmp_path: Path) -> None:
    board = make_board(tmp_path / "missing.elf", tmp_path)
    with pytest.raises(VpError, match=r"node-7: qemu-system-arm ended at its start.*missing\.elf"):
        board.start()
    assert not board.running


@needs_qemu
def test_port_in_use_is_told_apart(echo_image: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        board = make_board(echo_image, tmp_path, other.getsockname()[1])
        with pytest.raises(PortTakenError, match="Address already in use"):
            board.start()


@needs_qemu
def test_calls_on_a_board_that_ended_say_so(board: QemuBoard) -> None:
    with pytest.raises(VpError, match=r"node-7 is not running$"):
        board.reset()
    board.start()
    pid = board._process.pid  # type: ignore[union-attr]
    os.kill(pid, signal.SIGABRT)
    deadline = time.monotonic() + LIMIT_S
    while board.running and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(VpError, match=r"ended by itself \(status -6\)"):
        board.pause()
    board.start()
    assert board.running


@needs_qemu
def test_board_dies_with_python_however_it_ends(echo_image: Path, tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_emulators import make_board
board = make_board(Path({str(echo_image)!r}), Path({str(tmp_path)!r}))
board.start()
print(board._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == -9, result.stderr
    pid = int(result.stdout)
    deadline = time.monotonic() + LIMIT_S
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def make_fleet(folder: Path, nodes: list[dict[str, object]]) -> Fleet:
    variant = dict(
        name="v1", file="v1.tflite", hash="00" * 8, resolution=8, width=1.0, margin=0, crop_top=0,
        crop_left=0, last_conv=64, parameters=1, macs=1, float_top1=0, float_top5=0, int8_top1=0,
        int8_top5=0, weight=1, seed=1, epochs=1,
    )  # fmt: skip
    manifest = Manifest.model_validate(
        dict(
            schema=1, name="toy", family="vp", dataset=dict(name="toy", train=1, test=1),
            classes=["a", "b"], input=dict(height=8, width=8, channels=1), aggregation={},
            recipe={}, seed=1, variants=[variant],
            ensemble=dict(float_top1_full=0, int8_top1_full=0, int8_top1_k2=0),
        )
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    save_manifest(manifest, folder / "manifest.json")
    table = FleetTable.model_validate(
        dict(
            name="toy",
            id=3,
            manifest="manifest.json",
            nodes=[dict(variant="v1", **n) for n in nodes],
        )
    )
    return Fleet(folder / "fleet.toml", table, manifest, folder / "manifest.json", None)


BOTH = [
    dict(id=1, board="mps2-an386", emulated="serial"),
    dict(id=2, board="mps2-an386", emulated="udp"),
]


@needs_qemu
def test_launched_fleet_has_endpoints_and_a_file_that_loads(
    echo_image: Path, tmp_path: Path
) -> None:
    fleet = make_fleet(tmp_path / "models", BOTH)
    key = bytes(range(32))
    images = {1: echo_image, 2: echo_image}
    with launch_fleet(fleet, images, tmp_path / "work", key=key) as running:
        assert all(board.running for board in running.boards.values())
        serial, udp = running.fleet.nodes
        assert serial.serial == running.boards[1].serial_url and serial.udp is None
        assert udp.udp == running.boards[2].udp_endpoint and udp.serial is None
        with temporary_fleet(running.fleet, tmp_path / "work" / "run.toml"):
            loaded = load_fleet(tmp_path / "work" / "run.toml")
        assert loaded.key == key
        assert loaded.nodes == running.fleet.nodes
        assert loaded.table.gateway == running.fleet.table.gateway
        assert loaded.manifest == fleet.manifest
    assert not any(board.running for board in running.boards.values())


@needs_qemu
def test_taken_port_is_replaced_by_another(echo_image: Path, tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, BOTH[:1])
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]

        class Pool(PortPool):
            ports = iter([30001, 30002, taken])

            def take(self) -> int:
                return next(self.ports, None) or super().take()

        with launch_fleet(fleet, {1: echo_image}, tmp_path / "work", ports=Pool()) as running:
            assert running.boards[1].running
            assert str(taken) not in str(running.boards[1].serial_url)


def test_fleet_that_cannot_be_emulated(tmp_path: Path) -> None:
    real = make_fleet(tmp_path, [dict(id=1, board="mps2-an386", udp="10.0.0.1:5000")])
    with pytest.raises(VpError, match=r"has no node with emulated"):
        launch_fleet(real, {}, tmp_path / "work")
    unknown = make_fleet(tmp_path, [dict(id=4, board="toaster", emulated="udp")])
    with pytest.raises(VpError, match="no board 'toaster'"):
        launch_fleet(unknown, {}, tmp_path / "work")


def test_missing_qemu_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_module, "PROGRAM", "qemu-system-none")
    with pytest.raises(VpError, match="install Debian package qemu-system-arm"):
        QemuEmulator().check()


def test_boot_counters_rise_over_restarts_and_stop_at_their_end(tmp_path: Path) -> None:
    path = tmp_path / "boot.json"
    assert [BootCounters(path).next(5) for _ in range(3)] == [STEP, 2 * STEP, 3 * STEP]
    assert BootCounters(path).next(6) == STEP
    path.write_text(f'{{"5": {(1 << 24) - 2 * STEP}}}')
    counters = BootCounters(path)
    assert counters.next(5) == (1 << 24) - STEP
    with pytest.raises(VpError, match="used up"):
        counters.next(5)
    path.write_text("[1")
    with pytest.raises(VpError, match=r"boot\.json is damaged"):
        BootCounters(path)


def test_ports_are_free_and_given_once() -> None:
    pool = PortPool(seed=1)
    taken = [pool.take() for _ in range(50)]
    assert len(set(taken)) == 50
    with socket.socket() as listener:
        again = PortPool(seed=1)
        listener.bind((LOOPBACK, taken[0]))
        assert again.take() != taken[0]


def qmp_peer(*lines: bytes) -> socket.socket:
    """Our end of a connection whose other end has said all of `lines` and ended its side."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"".join(lines))
    theirs.shutdown(socket.SHUT_WR)
    _kept_open.append(theirs)
    return ours


_kept_open: list[socket.socket] = []


def test_qmp_keeps_events_apart_and_reports_what_qemu_refuses() -> None:
    greeting = [b'{"QMP": {}}\r\n', b'{"return": {}}\n', b'{"return": {}}\n']
    client = QmpClient(qmp_peer(*greeting, b'{"event": "STOP"}\n', b'{"return": 5}\n'))
    assert client.execute("stop") == 5
    assert client.events == [{"event": "STOP"}]
    refusing = QmpClient(qmp_peer(*greeting, b'{"error": {"desc": "no such thing"}}\n'))
    with pytest.raises(QmpError, match="fly: no such thing"):
        refusing.execute("fly")
    for garbage in (b"", b"hello\n", b"[1]\n", b'{"x": 1}\n'):
        with pytest.raises(QmpError):
            QmpClient(qmp_peer(garbage))


@needs_qemu
def test_memory_of_a_running_board_can_be_changed(board: QemuBoard) -> None:
    board.start()
    with connect(board) as line:
        echoed(line, b"sync")
        board.write_memory(RAM, bytes(range(256)) * 2)
        assert echoed(line, b"alive").endswith(b"alive")
        assert board._monitor(f"xp /4xb {RAM + 0x101:#x}").split()[1:] == [
            "0x01", "0x02", "0x03", "0x04",
        ]  # fmt: skip
    board.kill()
    with pytest.raises(VpError, match=r"node-7 is not running"):
        board.write_memory(RAM, b"x")


@needs_qemu
def test_work_directory_belongs_to_one_launch(echo_image: Path, tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, BOTH[:1])
    images = {1: echo_image}
    with launch_fleet(fleet, images, tmp_path / "work"):
        with pytest.raises(VpError, match="boards run already with work directory"):
            launch_fleet(fleet, images, tmp_path / "work")
        with launch_fleet(fleet, images, tmp_path / "other"):
            pass
    with launch_fleet(fleet, images, tmp_path / "work") as again:
        assert again.boards[1].running
