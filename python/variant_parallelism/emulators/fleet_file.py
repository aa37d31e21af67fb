"""Writes a fleet with concrete endpoints as a file that every command reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet


def key_file_of(path: Path) -> Path:
    """Where write_fleet keeps the key of a fleet file."""
    return path.with_name(path.name + ".key")


def write_fleet(fleet: Fleet, path: Path) -> None:
    """Write `fleet` to `path`, and its key, if any, beside it with mode 600.

    The manifest is named relative to the file, so both may move together. Whole or not at all;
    VpError if the folder cannot be written to.
    """
    folder = path.resolve().parent
    update: dict[str, Any] = {
        "manifest": os.path.relpath(fleet.manifest_path.resolve(), folder),
        "key_file": None,
    }
    if fleet.key is not None:
        key_path = key_file_of(path)
        write_private(key_path, fleet.key.hex() + "\n")
        update["key_file"] = key_path.name
    _write(path, fleet_toml(fleet.table.model_copy(update=update)), 0o644)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    _write(path, text, 0o600)


def fleet_toml(table: BaseModel) -> str:
    """A table as TOML: plain keys first, then tables, then arrays of tables; None is left out."""
    return "\n".join(_table_lines(table.model_dump(exclude_none=True), ())) + "\n"


def _table_lines(table: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    lines = [
        f"{key} = {_value(value)}"
        for key, value in table.items()
        if not isinstance(value, (dict, list))
    ]
    for key, value in table.items():
        name = (*names, key)
        if isinstance(value, dict):
            lines += ["", f"[{'.'.join(name)}]", *_table_lines(value, name)]
        elif isinstance(value, list):
            for element in value:
                lines += ["", f"[[{'.'.join(name)}]]", *_table_lines(element, name)]
    return lines


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    # JSON strings are TOML basic strings, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(path: Path, text: str, mode: int) -> None:
    partial = path.with_name(path.name + ".part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)
    except OSError as error:
        raise VpError(f"cannot write {path}: {error.strerror}") from None
