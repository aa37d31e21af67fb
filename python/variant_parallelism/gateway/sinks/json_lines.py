"""Events as lines of JSON, in files that are rotated by size."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from pathlib import Path

from variant_parallelism.errors import VpError
from variant_parallelism.gateway.sinks.records import encode, record_json
from variant_parallelism.gateway.sinks.sink import Sink, Trouble
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.sinks_table import JsonLinesTable

MISTAKES = {
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""Why a file cannot be opened at first, where waiting does not help."""

_TAIL = 65536


class JsonLinesSink(Sink):
    """One object a line. A file holds whole lines only, also after a full disk or a crash."""

    name = "jsonl"
    linger_s = 0.1

    def __init__(self, table: JsonLinesTable, folder: Path, variants: dict[int, str]) -> None:
        """`folder` is where the table's path starts; `variants` by node id."""
        super().__init__(table.queue)
        self._path = folder / table.path
        self._max_bytes = table.max_bytes
        self._files = table.files
        self._variants = variants
        self._file: int | None = None
        self._size = 0
        self._batch: list[Record] | None = None
        self._lines: deque[bytes] = deque()

    def open(self) -> None:
        try:
            self._open()
        except OSError as error:
            if error.errno in MISTAKES:
                raise VpError(
                    f"cannot write {self._path}: {error.strerror}; see [sinks.jsonl] path"
                ) from None
            raise Trouble(self._failure(error)) from None

    def write(self, batch: list[Record]) -> None:
        if batch is not self._batch:
            self._batch = batch
            lines = (encode(record_json(record, self._variants)) + b"\n" for record in batch)
            self._lines = deque(lines)
        try:
            while self._lines:
                self._write_some()
        except OSError as error:
            self.close()
            raise Trouble(self._failure(error)) from None

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None

    def _failure(self, error: OSError) -> str:
        return f"cannot write {self._path}: {error.strerror or error}"

    def _write_some(self) -> None:
        """Write as many lines as the file still takes, all or none of them."""
        file = self._current()
        chunk: list[bytes] = []
        size = self._size
        for line in self._lines:
            if size + len(line) > self._max_bytes and (chunk or self._size):
                break
            chunk.append(line)
            size += len(line)
        if not chunk:
            self._rotate()
            return
        self._append(file, b"".join(chunk))
        for _ in chunk:
            self._lines.popleft()
        self.settle(written=len(chunk))

    def _append(self, file: int, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._size)
            raise
        self._size += len(data)

    def _current(self) -> int:
        """The open file, or a new one if somebody moved it away or removed it."""
        if self._file is not None:
            mine = os.fstat(self._file)
            try:
                there = os.stat(self._path)
            except FileNotFoundError:
                there = None
            if there is None or (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
                self.close()
        return self._open() if self._file is None else self._file

    def _open(self) -> int:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = _whole_lines(self._file)
        return self._file

    def _rotate(self) -> None:
        self.close()
        if self._files == 1:
            self._path.unlink(missing_ok=True)
            return
        for number in range(self._files - 1, 0, -1):
            older = self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def _whole_lines(file: int) -> int:
    """Cut off the beginning of a line that a crash left at the end; the size that remains."""
    end = size = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _TAIL)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end
