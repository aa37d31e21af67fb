"""What the tests of vp-flash share: boards that run what was flashed, and their fleets."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from free_ports import free_ports
from simulated_probe import FLASH, SimulatedChip
from variant_parallelism.cli.flash import main
from variant_parallelism.firmware import load_board
from variant_parallelism.fleet import Fleet, load_fleet

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits" / "manifest.json"
BOARD = "stm32f4-disco"
QEMU = "qemu-system-arm"


def bench_fleet(
    folder: Path,
    nodes: dict[int, str],
    *,
    board: str = BOARD,
    probes: dict[int, str] | None = None,
    lines: dict[int, str] | None = None,
) -> Fleet:
    """A fleet with a key and serial nodes (id: variant), on free ports or these `lines`."""
    ports = free_ports(socket.SOCK_STREAM, len(nodes) + 1)
    key = folder / "fleet.key"
    key.write_text(bytes(range(32)).hex())
    key.chmod(0o600)
    text = [
        'name = "bench"',
        "id = 3",
        f"manifest = {json.dumps(str(DIGITS))}",
        "hello_ms = 100",
        'key_file = "fleet.key"',
        f'[gateway]\nhttp = "127.0.0.1:{ports[-1]}"',
    ]
    for (node, variant), port in zip(nodes.items(), ports, strict=False):
        text += [
            "[[nodes]]",
            f"id = {node}",
            f'variant = "{variant}"',
            f'board = "{board}"',
            f'serial = "{(lines or {}).get(node, f"socket://127.0.0.1:{port}")}"',
        ]
        if probes is not None:
            text.append(f'probe = "{probes[node]}"')
    path = folder / "fleet.toml"
    path.write_text("\n".join(text) + "\n")
    return load_fleet(path)


class Line:
    """A board's serial line: a TCP port that stays open whatever runs on the board."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._board: socket.socket | None = None
        self._host: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def plug(self, board: socket.socket) -> None:
        """Connect what runs on the board now."""
        self._board = board
        threading.Thread(target=self._pump, args=(board,), daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                host, _ = self._server.accept()
                with host:
                    self._host = host
                    with contextlib.suppress(OSError):
                        while data := host.recv(4096):
                            if self._board is not None:
                                self._board.sendall(data)
                    self._host = None

    def _pump(self, board: socket.socket) -> None:
        """Take everything that the board says: QEMU's STM32 stands still otherwise."""
        with contextlib.suppress(OSError):
            while data := board.recv(4096):
                host = self._host
                if host is not None:
                    with contextlib.suppress(OSError):
                        host.sendall(data)


class QemuChip(SimulatedChip):
    """A chip whose firmware runs in QEMU, from the very bytes that its flash holds."""

    def __init__(self, folder: Path, port: int, idcode: int = 0x10076413) -> None:
        super().__init__(idcode)
        self.started = self._start
        self._image = folder / f"flash-{port}.bin"
        self._line = Line(port)
        self._process: subprocess.Popen[bytes] | None = None

    def power_off(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.power_off()
        self._line.close()

    def _start(self) -> None:
        self.power_off()
        if self.flash[:8] == b"\xff" * 8:
            return  # No vectors: the core locks up, and QEMU with it.
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = boot_flash(self.flash, self._image, theirs)
        self._line.plug(ours)


def boot_flash(flash: bytes, file: Path, line: socket.socket) -> subprocess.Popen[bytes]:
    """Run an STM32F4's flash in QEMU, the node's serial line on a connected socket."""
    file.write_bytes(flash)
    board = load_board(BOARD)
    lines = ["null"] * board.qemu_serial + ["chardev:line"]
    return subprocess.Popen(
        [
            *(QEMU, "-M", str(board.qemu_machine), "-display", "none", "-monitor", "none"),
            *("-device", f"loader,file={file},addr={FLASH:#x},force-raw=on"),
            *("-chardev", f"socket,id=line,fd={line.fileno()}"),
            *(word for name in lines for word in ("-serial", name)),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[line.fileno()],
    )


def flash_command(*arguments: str) -> int:
    """Run `vp-flash` in this process; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vp-flash", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
