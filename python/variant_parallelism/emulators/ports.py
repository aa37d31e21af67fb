"""Free local ports for emulated boards."""

from __future__ import annotations

import random
import socket

from variant_parallelism.errors import VpError

# Below the range (32768 and up on Linux) that the kernel hands to outgoing connections: a board
# that is off then cannot lose its port to one, nor can a client that retries connect to itself.
_RANGE = range(20000, 32000)
_ATTEMPTS = 500

LOOPBACK = "127.0.0.1"


class PortPool:
    """Ports that were free for TCP and UDP when they were handed out; none is given twice."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._given: set[int] = set()

    def take(self) -> int:
        """A free port on the loopback interface; VpError if none is found."""
        for _ in range(_ATTEMPTS):
            port = self._random.choice(_RANGE)
            if port not in self._given and _is_free(port):
                self._given.add(port)
                return port
        raise VpError(f"no free port found in {_RANGE.start}..{_RANGE.stop - 1}")

    def keep(self, port: int) -> int:
        """`port` if it is free, or else another."""
        if port == 0 or port in self._given or not _is_free(port):
            return self.take()
        self._given.add(port)
        return port


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True
