"""Boards that run in QEMU (qemu-system-arm)."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from typing import Any

from variant_parallelism.emulators.board import (
    Board,
    BoardConfig,
    ConfiguredBoard,
    PortTakenError,
    Transport,
)
from variant_parallelism.emulators.gdb import GdbError, write_memory
from variant_parallelism.emulators.network.attachment import DatagramPort
from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.emulators.process import last_line, spawn
from variant_parallelism.emulators.qmp import QmpClient, QmpError
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo

PROGRAM = "qemu-system-arm"
GUEST_UDP_PORT = 5000
# QEMU's user network: the guest is 10.0.2.15, and 10.0.2.2 leads to the host's loopback interface.
GUEST_ADDRESS = "10.0.2.15"
HOST_ADDRESS = "10.0.2.2"
NETMASK = "255.255.255.0"
_PORT_ERRORS = ("Address already in use", "Could not set up host forwarding rule")
_STOP_TIMEOUT_S = 2.0
_DEBUG_TIMEOUT_S = 5.0
_PORT_ATTEMPTS = 5


class QemuEmulator:
    """Runs every board whose board.toml names a QEMU machine."""

    name = "qemu"

    def check(self) -> None:
        if shutil.which(PROGRAM) is None:
            raise VpError(f"{PROGRAM} is not installed: install Debian package qemu-system-arm")

    def supports(self, board: BoardInfo, transport: Transport) -> bool:
        return board.qemu_machine is not None and (
            transport == "serial" or board.qemu_nic is not None
        )

    def create(self, config: BoardConfig) -> Board:
        return QemuBoard(config)


class QemuBoard(ConfiguredBoard):
    """One QEMU process, controlled over QMP on a socket pair (no path, no port, no race)."""

    def __init__(self, config: BoardConfig) -> None:
        super().__init__(config)
        self._log = config.workdir / f"{config.name}.qemu.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: QmpClient | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def command(self, qmp_fd: int) -> list[str]:
        """The command line; `qmp_fd` is QEMU's end of the control socket."""
        config = self._config
        if config.transport == "serial":
            line = f"socket,host={LOOPBACK},port={config.port},server=on,wait=off,nodelay=on"
        else:
            line = "null"
        return [
            *(PROGRAM, "-M", str(config.board.qemu_machine)),
            *("-display", "none", "-monitor", "none"),
            *("-kernel", str(config.image)),
            "-device",
            f"loader,file={_escaped(str(self._block))},"
            f"addr={config.board.provision_address:#010x},force-raw=on",
            *("-chardev", f"{line},id=uart"),
            *(("-serial", "null") * config.board.qemu_serial),
            *("-serial", "chardev:uart"),
            *self._network(),
            *("-chardev", f"socket,id=control,fd={qmp_fd}", "-mon", "chardev=control,mode=control"),
        ]

    def _network(self) -> list[str]:
        config = self._config
        if config.transport != "udp":
            return ["-nic", "none"]
        model, mac = f"model={config.board.qemu_nic}", config.provision.mac.hex(":")
        if config.attachment is None:
            forward = f"udp:{LOOPBACK}:{config.port}-:{GUEST_UDP_PORT}"
            return ["-nic", f"user,{model},mac={mac},hostfwd={forward}"]
        port = config.attachment.port
        if isinstance(port, DatagramPort):
            ends = {"local": port.board, "remote": port.switch}
            lan = ",".join(
                f"{end}.type=inet,{end}.host={host},{end}.port={number}"
                for end, (host, number) in ends.items()
            )
            nic = f"nic,netdev=lan,{model},macaddr={mac}"
            return ["-netdev", f"dgram,id=lan,{lan}", "-net", nic]
        tap = f"tap,ifname={port.interface},script=no,downscript=no"
        return ["-nic", f"{tap},{model},mac={mac}"]

    def start(self) -> None:
        if self.running:
            raise VpError(f"{self.name} is running already")
        self._reap()
        self._write_block()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = spawn(
                    self.command(theirs.fileno()), log=self._log, pass_fds=[theirs.fileno()]
                )
            except FileNotFoundError:
                ours.close()
                raise VpError(
                    f"{PROGRAM} is not installed: install Debian package qemu-system-arm"
                ) from None
        try:
            self._qmp = QmpClient(ours)
        except QmpError as error:
            self._process.kill()
            status = self._process.wait()
            self._process = None
            raise self._start_error(str(error), status) from None

    def stop(self) -> None:
        if self.running and self._qmp is not None and self._process is not None:
            # QEMU may close the socket before its answer is through.
            with contextlib.suppress(QmpError):
                self._qmp.execute("quit")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
        self._reap()

    def pause(self) -> None:
        self._execute("stop")

    def resume(self) -> None:
        self._execute("cont")

    def reset(self) -> None:
        self._execute("system_reset")

    def write_memory(self, address: int, data: bytes) -> None:
        endpoint = (LOOPBACK, self._debug_port())
        try:
            write_memory(endpoint, address, data, _DEBUG_TIMEOUT_S)
        except (GdbError, OSError) as error:
            raise VpError(f"{self.name}: cannot write memory: {error}") from None
        finally:
            self._monitor("gdbserver none")

    def _debug_port(self) -> int:
        """Have QEMU open its GDB stub, which only the human monitor can do."""
        pool = PortPool()
        for _ in range(_PORT_ATTEMPTS):
            port = pool.take()
            if "Could not" not in self._monitor(f"gdbserver tcp:{LOOPBACK}:{port}"):
                return port
        raise VpError(f"{self.name}: no port for the GDB stub")

    def _monitor(self, line: str) -> str:
        return str(self._execute("human-monitor-command", **{"command-line": line}))

    def _execute(self, command: str, **arguments: Any) -> Any:
        if not self.running or self._qmp is None:
            raise VpError(f"{self.name} is not running{self._why_it_ended()}")
        try:
            return self._qmp.execute(command, **arguments)
        except QmpError as error:
            raise VpError(f"{self.name}: {PROGRAM} failed: {error}") from None

    def _reap(self) -> None:
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _start_error(self, error: str, status: int) -> VpError:
        text = last_line(self._log) or error
        kind = PortTakenError if any(mark in text for mark in _PORT_ERRORS) else VpError
        return kind(f"{self.name}: {PROGRAM} ended at its start (status {status}): {text}")

    def _why_it_ended(self) -> str:
        if self._process is None:
            return ""
        return (
            f": {PROGRAM} ended by itself (status {self._process.poll()}): {last_line(self._log)}"
        )


def _escaped(path: str) -> str:
    """A file name inside a comma-separated QEMU option."""
    return path.replace(",", ",,")
