"""The C sources of the kernels, and which files a compiled model needs of them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from vp_converters.errors import ConversionError

INSTRUCTION_SETS = ("dsp", "mve")
"""Kernels whose names begin with one of these stand in a folder of that name."""

_SHARED = tuple(f"nn/{name}/" for name in INSTRUCTION_SETS)
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
        kernels: names such as "conv_2d" or "dsp_conv".

    Returns:
        "nn/<file>" for kernel sources and their private headers, "vp/<file>" for public headers. A
        private header in an instruction set's folder brings the source of the same name with it.
    """
    root = firmware_root()
    files: dict[str, Path] = {}

    def add(target: str) -> None:
        if target in files:
            return
        files[target] = root / ("include" if target.startswith("vp/") else "") / target
        for included in _INCLUDE.findall(files[target].read_text(encoding="utf-8")):
            folder = "" if included.startswith("vp/") else target.rpartition("/")[0]
            add(posixpath.normpath(posixpath.join(folder, included)))
        source = target.removesuffix(".h") + ".c"
        if target.startswith(_SHARED) and (root / source).is_file():
            add(source)

    add("nn/model.c")
    add("vp/nn.h")
    for kernel in sorted(set(kernels)):
        folder, _, name = kernel.partition("_")
        add(f"nn/{folder}/{name}.c" if folder in INSTRUCTION_SETS else f"nn/{kernel}.c")
    return files
