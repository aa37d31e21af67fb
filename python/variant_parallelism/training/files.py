"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` through a temporary file in the same folder."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
