"""The programs that build an image: found, run, and their failures in one line."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from variant_parallelism.errors import VpError

PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi and libnewlib-arm-none-eabi",
    "cmake": "cmake",
    "ninja": "ninja-build",
}
_COMPLAINTS = [
    re.compile(pattern) for pattern in (r"(?:fatal )?error: .*", r"CMake Error.*", r"FAILED: .*")
]


class BuildError(VpError):
    """A tool failed; `output` is all it said."""

    def __init__(self, text: str, output: str) -> None:
        super().__init__(text)
        self.output = output


def check_tools() -> None:
    """VpError that names the Debian package of the first tool that is missing."""
    for program, package in PACKAGES.items():
        if shutil.which(program) is None:
            raise VpError(f"{program} is not installed: install Debian package {package}")


def run(command: Sequence[str | Path], log: Path) -> str:
    """Run a tool and return its output, which `log` keeps; BuildError with its first complaint."""
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    log.write_text(result.stdout, encoding="utf-8")
    if result.returncode != 0:
        found = [match.group(0) for p in _COMPLAINTS if (match := p.search(result.stdout))]
        what = found[0] if found else f"status {result.returncode}"
        raise BuildError(f"{Path(command[0]).name} failed: {what} (see {log})", result.stdout)
    return result.stdout
