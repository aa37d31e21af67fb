"""Reading the text files that users write."""

from __future__ import annotations

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
