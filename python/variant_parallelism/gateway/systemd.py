"""What systemd is told (sd_notify(3)): ready, reloading, stopping, alive; and the unit file.

Nothing happens where no systemd started the program: NOTIFY_SOCKET is unset then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from variant_parallelism.gateway.service import Gateway

_STATUS_S = 5.0
_OVERDUE_S = 5.0
"""How late the core may be driven before the watchdog counts the gateway as hung."""


class Notifier:
    """Sends to the socket that systemd gave; drops what cannot be sent."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of Linux' abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        """Within which time systemd wants to hear `alive`; None: never."""

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        """`ready` is to follow, also if nothing was reloaded."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), self._address)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """WATCHDOG_USEC, if it is meant for this process."""
    try:
        period_us = int(environment.get("WATCHDOG_USEC", ""))
        process = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return period_us / 1e6 if period_us > 0 and process == os.getpid() else None


async def keep_notified(notifier: Notifier, gateway: Gateway) -> None:
    """Tell systemd that the gateway is alive and how it does, until cancelled.

    It is alive while the event loop gets here and the core was driven when it was due.
    """
    period_s = min(_STATUS_S, notifier.watchdog_s / 3 if notifier.watchdog_s else _STATUS_S)
    before, at = gateway.counters.answers, time.monotonic()
    while True:
        await asyncio.sleep(period_s)
        if gateway.overdue_s() < _OVERDUE_S:
            notifier.alive()
        answers, now = gateway.counters.answers, time.monotonic()
        rate = (answers - before) / max(now - at, 1e-3)
        before, at = answers, now
        notifier.status(status_line(gateway, rate))


def status_line(gateway: Gateway, answers_per_s: float) -> str:
    """ "4 of 5 nodes up, 12 answers/s"."""
    nodes = gateway.nodes()
    up = sum(node.state == "up" for node in nodes)
    rate = f"{answers_per_s:.0f}" if answers_per_s >= 10 else f"{answers_per_s:.2g}"
    return f"{up} of {len(nodes)} nodes up, {rate} answers/s"


def unit_file() -> str:
    """The unit `vp-gateway@.service`, for the program that this process runs."""
    text = resources.files(__package__).joinpath("vp-gateway@.service").read_text("utf-8")
    program = Path(sys.argv[0]).resolve()
    if program.name == "vp" and os.access(program, os.X_OK):
        command = [str(program)]
    else:
        command = [sys.executable, "-m", "variant_parallelism.cli"]
    return text.replace("/opt/vp/bin/vp", shlex.join(command))
