"""C identifiers from file names."""

from __future__ import annotations

import re
from pathlib import Path

from vp_converters.errors import ConversionError

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")

# Keywords of C and C++, and names of the C library, which compilers treat as functions.
_RESERVED = frozenset(
    Path(__file__).with_name("reserved_words.txt").read_text(encoding="ascii").split()
)


def identifier_from(stem: str) -> str:
    """A C identifier for any file name stem: lower case, not reserved, outside vp_'s namespace."""
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower().encode("ascii", "replace").decode()).strip("_")
    name = name[:48].rstrip("_")
    if not name:
        return "model"
    if name[0].isdigit() or name.startswith("vp_"):
        name = f"model_{name}"
    if not _usable(name):
        name = f"{name}_model"
    return name


def check_identifier(name: str) -> str:
    """``name`` itself.

    Raises:
        ConversionError: it cannot name a C object.
    """
    if not _IDENTIFIER.fullmatch(name) or not _usable(name) or name.startswith("vp_"):
        raise ConversionError(f"{name!r} cannot be the name of a C object: choose another --name")
    return name


def _usable(name: str) -> bool:
    return name not in _RESERVED and not name.endswith("_t")
