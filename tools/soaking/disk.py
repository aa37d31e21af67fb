"""A disk that can be filled: a small tmpfs, or else a limit on what the gateway may write."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from pathlib import Path

_SIZE_MB = 256
_STEP = bytes(1 << 20)


class Disk:
    """The folder of sinks and state; a context manager.

    As root it is a tmpfs of 256 MB, which `fill` fills. Otherwise it is a plain folder, and `fill`
    takes from the gateway the right to write beyond what its files have (RLIMIT_FSIZE).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fills = 0
        self.is_full = False
        self.way = "RLIMIT_FSIZE of the gateway"
        self._ballast = folder / "ballast"
        self._limited: int | None = None

    def __enter__(self) -> Disk:
        self.folder.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "tmpfs", str(self.folder)]
        with contextlib.suppress(OSError):
            if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
                self.way = f"tmpfs of {_SIZE_MB} MB"
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True)

    @property
    def _is_mounted(self) -> bool:
        return self.way.startswith("tmpfs")

    def fill(self, gateway: int) -> None:
        """Nothing more fits; again and again while `is_full`, since the sinks free a little."""
        if not self.is_full:
            self.fills += 1
            self.is_full = True
        if not self._is_mounted:
            _, hard = resource.prlimit(gateway, resource.RLIMIT_FSIZE)
            resource.prlimit(gateway, resource.RLIMIT_FSIZE, (1, hard))
            self._limited = gateway
            return
        with self._ballast.open("ab", buffering=0) as file:
            step = _STEP
            while step:
                try:
                    file.write(step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step = step[: len(step) // 2]

    def free(self) -> None:
        """There is room again."""
        self.is_full = False
        self._ballast.unlink(missing_ok=True)
        if self._limited is not None:
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(self._limited, resource.RLIMIT_FSIZE)
                resource.prlimit(self._limited, resource.RLIMIT_FSIZE, (hard, hard))
            self._limited = None
