"""Client of the QEMU Machine Protocol: one command at a time over a connected socket."""

from __future__ import annotations

import json
import socket
from typing import Any


class QmpError(Exception):
    """QEMU refused a command, or is gone."""


class QmpClient:
    """Speaks QMP on `connection`, which it owns from here on.

    The constructor waits for QEMU's greeting and until QEMU executes commands, which it does once
    all devices and ports are set up. Raises QmpError if that does not happen in `timeout_s`.
    """

    def __init__(self, connection: socket.socket, timeout_s: float = 10.0) -> None:
        self._connection = connection
        self._connection.settimeout(timeout_s)
        self._lines = connection.makefile("rb")
        self.events: list[dict[str, Any]] = []
        try:
            if "QMP" not in self._receive():
                raise QmpError("no QMP greeting")
            self.execute("qmp_capabilities")
            self.execute("query-status")
        except QmpError:
            self.close()
            raise

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its result; events that come before it are kept."""
        request = (
            {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        )
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"{command}: {error}") from None
        while True:
            reply = self._receive()
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise QmpError(f"{command}: {reply['error'].get('desc', 'refused')}")
            self.events.append(reply)

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise QmpError(f"no answer: {error}") from None
        if not line:
            raise QmpError("connection closed")
        try:
            reply = json.loads(line)
        except ValueError:
            raise QmpError(f"not JSON: {line[:80]!r}") from None
        if not isinstance(reply, dict):
            raise QmpError(f"not an object: {line[:80]!r}")
        return reply
