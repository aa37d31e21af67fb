"""Ports for servers of tests, where no outgoing connection takes them away meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_tried = itertools.count(random.Random(os.getpid()).randrange(1 << 16))


def free_ports(kind: socket.SocketKind, count: int) -> list[int]:
    """Different free ports of the loopback interface, below those that the system hands out.

    Processes begin at random places, and one never gets a port twice.
    """
    limit = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32768
    ports: list[int] = []
    while len(ports) < count:
        port = _LOWEST + next(_tried) % (limit - _LOWEST)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports
