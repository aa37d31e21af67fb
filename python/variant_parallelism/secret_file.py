"""Files that hold a secret: keys, passwords, tokens."""

from __future__ import annotations

import stat
from pathlib import Path

from variant_parallelism.errors import VpError


def read_secret(path: Path, what: str) -> str:
    """The text of a file that only its owner can read, without white space around it.

    `what` names it in errors: "key file". VpError if it cannot be read, or others can read it;
    what is no ASCII text counts as empty.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise VpError(f"cannot read {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    except ValueError as error:
        raise VpError(f"cannot read {what} {str(path)!r}: {error}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise VpError(f"{what} {path} can be read by others: run chmod 600 {path}")
    return text
