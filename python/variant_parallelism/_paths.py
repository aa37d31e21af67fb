"""Where the package finds the C sources that it builds."""

from __future__ import annotations

from pathlib import Path

from variant_parallelism.errors import VpError

_PACKAGE = Path(__file__).resolve().parent


def firmware_dir() -> Path:
    """The firmware's sources: those of the checkout that runs, else the installed ones."""
    for folder in (_PACKAGE.parents[1] / "firmware", _PACKAGE / "_share" / "firmware"):
        if (folder / "CMakeLists.txt").is_file() and (folder / "boards").is_dir():
            return folder
    raise VpError("the firmware sources are missing: reinstall variant-parallelism")
