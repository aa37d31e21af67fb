"""The C sources of the kernels, and which files a compiled model needs of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from vp_converters.errors import ConversionError

_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
_PACKAGES = Path(__file__).resolve().parents[1]
_ROOTS = (
    _PACKAGES / "variant_parallelism" / "_share" / "firmware",
    _PACKAGES.parent / "firmware",
)


def firmware_root() -> Path:
    """The folder with include/vp and nn: the installed one, else that of the source tree.

    Raises:
        ConversionError: neither is there.
    """
    for root in _ROOTS:
        if (root / "include" / "vp" / "nn.h").is_file():
            return root
    raise ConversionError("the kernel sources are missing: reinstall variant-parallelism")


def kernel_files(kernels: Iterable[str]) -> dict[str, Path]:
    """Every file that the kernels need, by its path in a generated folder.

    Args:
        kernels: names such as "conv_2d".

    Returns:
        "nn/<file>" for kernel sources and their private headers, "vp/<file>" for public headers.
    """
    root = firmware_root()
    files: dict[str, Path] = {"vp/model.h": root / "include/vp/model.h"}

    def add(name: str) -> None:
        public = name.startswith("vp/")
        target = name if public else f"nn/{name}"
        if target in files:
            return
        path = root / ("include" if public else "nn") / name
        files[target] = path
        for included in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            add(included)

    add("vp/nn.h")
    for kernel in sorted(set(kernels)):
        add(f"{kernel}.c")
    return files
