"""This process's memory, processor time and dropped datagrams."""

from __future__ import annotations

import resource
from pathlib import Path


def rss_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def dropped_datagrams(port: int) -> int:
    """Datagrams that did not fit the buffer of the UDP sockets at this port."""
    dropped = 0
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        columns = line.split()
        if int(columns[1].rpartition(":")[2], 16) == port:
            dropped += int(columns[-1])
    return dropped
