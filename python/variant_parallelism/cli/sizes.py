"""Amounts of memory on the command line."""

from __future__ import annotations

import re

from variant_parallelism.errors import VpError

_UNITS = {"": 1, "K": 1024, "M": 1024 * 1024}


def parse_bytes(option: str, text: str) -> int:
    """Bytes: a whole number, by itself or with K (1024) or M (1024 * 1024) behind it.

    Raises:
        VpError: ``text`` is something else; names the option.
    """
    match = re.fullmatch(r"([0-9]{1,12})([KM]?)", text.strip().upper())
    if match is None:
        raise VpError(f"{option} {text}: a number of bytes is wanted, such as 65536, 64K or 1M")
    return int(match[1]) * _UNITS[match[2]]
