"""Boot counters of emulated nodes: what a real board keeps in its flash."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from variant_parallelism.errors import VpError

# A node adds one at each reset of its own, and QEMU starts it afresh from the block: leave room.
STEP = 256
_LIMIT = 1 << 24


class BootCounters:
    """Counters in one file of the work directory, raised by STEP at each start of a node."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counters = self._read()

    def next(self, node: int) -> int:
        """The counter for a start of `node` now; on disk before it is returned."""
        with self._lock:
            boot = self._counters.get(node, 0) + STEP
            if boot + STEP > _LIMIT:
                raise VpError(
                    f"node {node} has used up its boot counters in {self._path}: "
                    "start with a new work directory, which also makes a new key"
                )
            self._counters[node] = boot
            partial = self._path.with_name(self._path.name + ".part")
            partial.write_text(json.dumps(self._counters), encoding="ascii")
            os.replace(partial, self._path)
            return boot

    def _read(self) -> dict[int, int]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise VpError(f"cannot read {self._path}: {error.strerror}") from None
        try:
            data = json.loads(text)
            return {int(node): int(boot) for node, boot in data.items()}
        except (ValueError, TypeError, AttributeError):
            raise VpError(
                f"{self._path} is damaged: delete the whole work directory {self._path.parent}"
            ) from None
