"""Writing so that nobody ever sees half a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes ``texts`` (path within the folder -> content) under ``folder``.

    Everything is written into a temporary folder beside the target first. A file whose content is
    already right keeps its time stamp, so that a build system does not rebuild it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vp-", dir=folder) as temporary:
        staged: list[tuple[Path, Path]] = []
        for name, text in texts.items():
            target = folder / name
            if target.is_file() and target.read_bytes() == text.encode():
                continue
            source = Path(temporary) / name
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(text, encoding="utf-8", newline="\n")
            staged.append((source, target))
        for source, target in staged:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
