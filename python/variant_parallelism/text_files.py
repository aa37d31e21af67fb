"""Reading the text files that users write, and writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from variant_parallelism.errors import VpError


def read_text(path: Path, what: str = "") -> str:
    """The text of a UTF-8 file, with or without a byte order mark, that is not empty.

    VpError names the file, after the word for `what` it is, if it cannot be read.
    """
    name = f"{what} {path}".strip()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise VpError(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise VpError(f"{name} is not UTF-8 text") from None
    except ValueError as error:  # A NUL in the path, which must not reach the terminal.
        raise VpError(f"cannot read {f'{what} {str(path)!r}'.strip()}: {error}") from None
    if not text.strip():
        raise VpError(f"{name} is empty")
    return text


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file with this mode, whatever stood there, whole or not at all.

    It is private to its owner until it is complete. VpError if it cannot be written, or if `path`
    is something else than a file.
    """
    if path.exists() and not path.is_file():
        raise VpError(f"cannot write {path}: it is no file")
    partial = None
    try:
        descriptor, partial = tempfile.mkstemp(".part", ".", path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            with contextlib.suppress(OSError):
                os.unlink(partial)
        raise VpError(f"cannot write {path}: {error.strerror}") from None
