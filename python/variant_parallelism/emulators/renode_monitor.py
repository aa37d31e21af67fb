"""One Renode process and its monitor, driven over the XML-RPC of Renode's Robot server.

The server runs the keywords of Renode's Robot library; `ExecuteCommand` is a line of the monitor
(https://renode.readthedocs.io/en/latest/introduction/testing.html).
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import xmlrpc.client
from functools import cache
from pathlib import Path

from variant_parallelism.emulators.board import PortTakenError
from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.emulators.process import last_line, spawn
from variant_parallelism.errors import VpError

PROGRAM = "renode"
PATH_VARIABLE = "RENODE_PATH"
# Up to 1.15.3, SSUB8 sets wrong GE flags: networks with the dsp kernels answer wrongly.
SUPPORTED = (1, 16)
INSTALL = (
    "unpack renode-1.16.1.linux-portable-dotnet.tar.gz of "
    f"https://github.com/renode/renode/releases and set {PATH_VARIABLE} to its folder"
)

_VERSION_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 120.0
_COMMAND_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 3.0
_POLL_S = 0.05
_PORT_ATTEMPTS = 5
_PORT_ERROR = "Could not start the HTTP server"
# What ExecuteCommand puts around the reason.
_WRAPPING = re.compile(
    r"KeywordException: (?:Could not execute command '.*?': |There was an error when executing "
    r"command '.*?': )?(?:There was an error executing command '.*?')?",
    re.DOTALL,
)


class RenodeError(Exception):
    """Renode refused a command; the message is its reason, in one line."""


def find_renode() -> str:
    """The program: RENODE_PATH (itself or its folder), or else `renode` on PATH."""
    given = os.environ.get(PATH_VARIABLE)
    if not given:
        found = shutil.which(PROGRAM)
        if found is None:
            raise VpError(f"Renode is not installed: {INSTALL}")
        return found
    path = Path(given).expanduser()
    program = path / PROGRAM if path.is_dir() else path
    if not os.access(program, os.X_OK) or program.is_dir():
        raise VpError(f"{PATH_VARIABLE}={given}: no program there: {INSTALL}")
    return str(program.resolve())


@cache
def check_version(program: str) -> tuple[int, int]:
    """Renode's version; VpError if it is not one that the driver knows."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=_VERSION_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VpError(f"{program} --version: {_one_line(str(error))}") from None
    found = re.search(r"Renode v(\d+)\.(\d+)", answer.stdout)
    if found is None:
        said = last_line_of(answer.stdout + answer.stderr) or f"status {answer.returncode}"
        raise VpError(f"{program} is not Renode, or does not start: {said}")
    version = int(found[1]), int(found[2])
    if version != SUPPORTED:
        raise VpError(
            f"{program} is Renode {version[0]}.{version[1]}, but {SUPPORTED[0]}.{SUPPORTED[1]} is "
            f"needed: {INSTALL}"
        )
    return version


class RenodeMonitor:
    """Runs monitor commands in a Renode process of its own. Calls may come from any thread."""

    def __init__(self, program: str) -> None:
        """Start Renode and wait until it takes commands."""
        self.program = program
        descriptor, log = tempfile.mkstemp(prefix="vp-renode-", suffix=".log")
        os.close(descriptor)
        self._log = Path(log)
        self._lock = threading.Lock()
        self._included: set[Path] = set()
        pool = PortPool()
        for attempt in range(_PORT_ATTEMPTS):
            try:
                self._process, self._server = self._start(pool.take())
                break
            except VpError as error:
                if attempt == _PORT_ATTEMPTS - 1 or not isinstance(error, PortTakenError):
                    self._log.unlink()
                    raise

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of what was started."""
        return self._process.pid

    def command(self, line: str, machine: str | None = None) -> str:
        """Run a command, in the context of `machine` if given, and return what it prints.

        Raises RenodeError if Renode refuses it and VpError if Renode is gone.
        """
        arguments = [line] if machine is None else [line, f"machine={machine}"]
        return self._run("ExecuteCommand", arguments)

    def include(self, source: Path) -> None:
        """Compile a C# file into this Renode, once."""
        if source not in self._included:
            self.command(f"include {quoted_path(source)}")
            self._included.add(source)

    def clear(self) -> None:
        """Drop all machines and connections; what is compiled stays."""
        self._run("ResetEmulation", [])

    def _run(self, keyword: str, arguments: list[str]) -> str:
        with self._lock:
            try:
                answer = self._server.run_keyword(keyword, arguments)
            except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
                raise VpError(self.why_it_ended() or f"Renode: {_one_line(str(error))}") from None
        if not isinstance(answer, dict) or answer.get("status") not in ("PASS", "FAIL"):
            raise VpError(f"Renode: no answer of its Robot server: {_one_line(str(answer))}")
        if answer["status"] == "FAIL":
            raise RenodeError(_one_line(_WRAPPING.sub("", str(answer.get("error", "")), count=1)))
        return str(answer.get("return", "")).strip()

    def log(self) -> str:
        """What Renode has printed since it started."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def why_it_ended(self) -> str:
        """One line if the process has ended by itself, or else ''."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT_S)
        status = self._process.poll()
        if status is None:
            return ""
        return f"Renode ended by itself (status {status}): {last_line(self._log)}"

    def kill(self) -> None:
        """End Renode and whatever its start script has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.unlink(missing_ok=True)

    def _start(self, port: int) -> tuple[subprocess.Popen[bytes], xmlrpc.client.ServerProxy]:
        # Without --console, Renode polls a monitor that nobody sees with half a processor.
        options = ["--disable-gui", "--console", "--plain", "--robot-server-port", str(port)]
        process = spawn([self.program, *options], log=self._log, silent_input=True)
        server = xmlrpc.client.ServerProxy(
            f"http://{LOOPBACK}:{port}/", transport=_Transport(), allow_none=True
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                server.get_keyword_names()
                return process, server
            except (OSError, http.client.HTTPException, xmlrpc.client.Error):
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
                kind = PortTakenError if _PORT_ERROR in self.log() else VpError
                raise kind(
                    f"{self.program} ended at its start (status {status}): {last_line(self._log)}"
                )
            time.sleep(_POLL_S)


class RenodePool:
    """Keeps one idle Renode, since a warm one boots boards several times as fast as a new one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: RenodeMonitor | None = None
        atexit.register(self.close)

    def take(self) -> RenodeMonitor:
        """A Renode without machines."""
        program = find_renode()
        with self._lock:
            idle, self._idle = self._idle, None
        if idle is not None:
            if idle.program == program and idle.running:
                return idle
            idle.kill()
        return RenodeMonitor(program)

    def give_back(self, monitor: RenodeMonitor) -> None:
        """End its emulation, and all connections with it."""
        try:
            monitor.clear()
        except (RenodeError, VpError):
            monitor.kill()
            return
        with self._lock:
            surplus, self._idle = self._idle, monitor
        if surplus is not None:
            surplus.kill()

    def close(self) -> None:
        """End the idle one."""
        with self._lock:
            idle, self._idle = self._idle, None
        if idle is not None:
            idle.kill()


class _Transport(xmlrpc.client.Transport):
    """HTTP that gives up when Renode hangs."""

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        connection = super().make_connection(host)  # type: ignore[arg-type]
        connection.timeout = _COMMAND_TIMEOUT_S
        return connection


def quoted_path(path: Path) -> str:
    """A path as a monitor command takes it, or VpError if it cannot be said there."""
    text = str(path)
    if re.search(r"[^\S ]|[;\"\\]", text):
        raise VpError(f"{text}: Renode takes no path with such a character: choose another folder")
    return "@" + text.replace(" ", "\\ ")


def last_line_of(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
