"""Writes a fleet with concrete endpoints as a file that every command reads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.text_files import write_whole

MARK = "# Written by vp emulate, for as long as its boards run."
"""The first line of every fleet file that temporary_fleet writes."""


def key_file_of(path: Path) -> Path:
    """Where temporary_fleet keeps the key of a fleet file."""
    return path.with_name(path.name + ".key")


def check_replaceable(path: Path, source: Fleet) -> None:
    """VpError unless temporary_fleet may write `path` and its key file.

    It may if neither exists or `path` begins with MARK: then both are left from an earlier run.
    Never if one of them is a file of `source`.
    """
    if not path.parent.is_dir():
        raise VpError(f"cannot write {path}: no folder {path.parent}")
    if path.is_dir():
        raise VpError(f"cannot write {path}: it is a folder")
    marked = _is_marked(path)
    used = [source.path, source.manifest_path]
    if source.table.key_file is not None:
        used.append(source.path.parent / source.table.key_file)
    for file in (path, key_file_of(path)):
        if file.resolve() in [other.resolve() for other in used]:
            raise VpError(
                f"{file} belongs to fleet {source.table.name}: name another file with --out"
            )
        if os.path.lexists(file) and not marked:
            raise VpError(
                f"{file} exists and vp emulate did not write it: name another file with --out"
            )


def keep_changes(path: Path) -> Path | None:
    """Move a file of temporary_fleet that somebody has changed out of the way; where it is now.

    None if there is no such file. VpError if it cannot be moved.
    """
    if not _is_marked(path):
        return None
    _, seal, *rest = path.read_bytes().split(b"\n", 2)
    if rest and seal == _seal(rest[0]).encode():
        return None
    old = path.with_name(path.name + ".old")
    try:
        return path.replace(old)
    except OSError as error:
        raise VpError(f"cannot write {old}: {error.strerror}") from None


@contextmanager
def temporary_fleet(fleet: Fleet, path: Path) -> Iterator[None]:
    """Write `fleet` to `path`, and its key, if any, beside it with mode 600; remove both at exit.

    The manifest, and the token file if there is one, are named relative to the file. What others
    have changed meanwhile stays. VpError if the folder cannot be written to.
    """
    contents = _contents(fleet, path)
    written: dict[Path, tuple[int, int] | None] = {}
    try:
        for file, (text, mode) in contents.items():
            write_whole(file, text.encode(), mode)
            written[file] = _version(file)
        yield
    finally:
        for file, version in written.items():
            if _version(file) == version:
                file.unlink(missing_ok=True)


def _contents(fleet: Fleet, path: Path) -> dict[Path, tuple[str, int]]:
    """Text and mode of each file."""
    folder = path.resolve().parent
    update: dict[str, Any] = {
        "manifest": os.path.relpath(fleet.manifest_path.resolve(), folder),
        "key_file": None,
    }
    if fleet.table.gateway.token_file is not None:
        token = (fleet.path.parent / fleet.table.gateway.token_file).resolve()
        place = {"token_file": os.path.relpath(token, folder)}
        update["gateway"] = fleet.table.gateway.model_copy(update=place)
    contents: dict[Path, tuple[str, int]] = {}
    if fleet.key is not None:
        key_path = key_file_of(path)
        contents[key_path] = (fleet.key.hex() + "\n", 0o600)
        update["key_file"] = key_path.name
    text = fleet_toml(fleet.table.model_copy(update=update))
    contents[path] = (f"{MARK}\n{_seal(text.encode())}\n{text}", 0o644)
    return contents


def _seal(text: bytes) -> str:
    """A line by which a later run knows whether somebody changed the text below it."""
    return f"# {hashlib.blake2s(text, digest_size=8).hexdigest()}"


def _is_marked(path: Path) -> bool:
    try:
        return path.read_bytes().startswith(MARK.encode() + b"\n")
    except OSError:
        return False


def _version(path: Path) -> tuple[int, int] | None:
    """Differs once the file has been written or replaced; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def fleet_toml(table: BaseModel) -> str:
    """A table as TOML: plain keys first, then tables, then arrays of tables.

    What was not set is left out: a default in writing may mean more than one that is not.
    """
    values = table.model_dump(exclude_none=True, exclude_unset=True)
    return "\n".join(_table_lines(values, ())) + "\n"


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
