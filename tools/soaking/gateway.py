"""`vp gateway` as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from variant_parallelism.gateway_bench.meters import rss_bytes

_STOP_S = 30


class GatewayProcess:
    """Runs `vp gateway`, its log in a file; a context manager."""

    def __init__(self, fleet: Path, state: Path, log: Path) -> None:
        self.log = log
        self._command = [sys.executable, "-m", "variant_parallelism.cli", "gateway", str(fleet)]
        self._command += ["--state-dir", str(state)]

    def __enter__(self) -> GatewayProcess:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def rss(self) -> int:
        """Resident bytes; 0 once it has ended."""
        try:
            return rss_bytes(self.pid)
        except (OSError, IndexError):
            return 0

    def reload(self) -> None:
        """SIGHUP."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """SIGTERM; its exit status, -9 if it had to be killed."""
        self._process.terminate()
        try:
            return self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def tracebacks(self) -> list[str]:
        """Unexpected errors in its log, by their last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = []
        for number, line in enumerate(lines):
            if line.startswith("Traceback"):
                rest = (text for text in lines[number + 1 :] if not text.startswith(" "))
                found.append(next(rest, line))
        return found
