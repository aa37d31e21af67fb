"""Events in an SQLite database that keeps itself within an age and a size."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.gateway.report import answer_json, fault_json
from variant_parallelism.gateway.sinks.json_lines import MISTAKES
from variant_parallelism.gateway.sinks.schema import PRUNED, open_database
from variant_parallelism.gateway.sinks.sink import Sink, Trouble
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.types import Answer, Answered, Faulted, NodeChanged
from variant_parallelism.sinks_table import SqliteTable

_BUSY_S = 2.0
_PIECE_ROWS = 200
_PIECES = 10
"""Pieces that go at once: more rows than a batch brings, so that pruning keeps up, and few enough
that it never stalls."""
_PIECE_PAGES = 1000
"""Pages given back to the file system at once."""
_SLACK = 8
"""Free pages stay in the file up to this part of its limit: they are soon used again."""
_DAY_S = 86400.0

_JSON = ("scores", "missing", "spared", "errors")
"""Columns of an answer that hold JSON."""

_MISTAKES = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""Of ours, in a row: it would be no better another time."""


class SqliteSink(Sink):
    """Each batch is one transaction: what was committed survives a kill and a loss of power."""

    name = "sqlite"

    def __init__(self, table: SqliteTable, folder: Path, variants: dict[int, str]) -> None:
        """`folder` is where the table's path starts; `variants` by node id."""
        super().__init__(table.queue)
        self.linger_s = table.commit_ms / 1000
        self._path = folder / table.path
        # So that a clock that is set, or jumps, while the gateway runs makes no row old.
        self._began = time.time() - time.monotonic()
        self._max_age_s = table.max_age_days * _DAY_S
        self._max_bytes = table.max_bytes
        self._variants = variants
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def open(self) -> None:
        try:
            self._check_path()
            self._open()
        except OSError as error:
            raise VpError(
                f"cannot write {self._path}: {error.strerror}; see [sinks.sqlite] path"
            ) from None
        except sqlite3.OperationalError as error:
            raise Trouble(self._failure(error)) from None
        except sqlite3.DatabaseError as error:
            raise VpError(f"{self._path}: {error}; see [sinks.sqlite] path") from None

    def write(self, batch: list[Record]) -> None:
        try:
            connection = self._current()
            with _transaction(connection):
                for record in batch:
                    self._insert(connection, record)
        except _MISTAKES:
            raise
        except (sqlite3.Error, OSError, VpError) as error:
            self.close()
            raise Trouble(self._failure(error)) from None

    def idle(self) -> None:
        """Remove some of what is too old or too much."""
        if self._connection is None or self.trouble is not None:
            return
        try:
            with _transaction(self._connection):
                self._prune(self._connection)
        except sqlite3.Error as error:
            self.close()
            self.failing(self._failure(error))

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _failure(self, error: Exception) -> str:
        return f"cannot write {self._path}: {error}"

    def _check_path(self) -> None:
        """OSError if waiting would not help; SQLite does not say why it cannot open a file."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        except OSError as error:
            if error.errno in MISTAKES:
                raise

    def _open(self) -> sqlite3.Connection:
        self._connection = open_database(self._path, _BUSY_S)
        self._file = _identity(self._path)
        return self._connection

    def _current(self) -> sqlite3.Connection:
        """The open database, or a new one if somebody moved it away or removed it."""
        if self._connection is not None and _identity(self._path) != self._file:
            self.close()
        return self._open() if self._connection is None else self._connection

    def _insert(self, connection: sqlite3.Connection, record: Record) -> None:
        event = record.event
        if isinstance(event, Answered):
            _insert_answer(connection, record.time, event.answer)
        elif isinstance(event, NodeChanged):
            connection.execute(
                "INSERT INTO node_states (time, node, variant, state, reason)"
                " VALUES (?, ?, ?, ?, ?)",
                (record.time, event.node, self._variants[event.node], event.state, event.reason),
            )
        elif isinstance(event, Faulted):
            connection.execute(
                "INSERT INTO faults (time, node, variant, board, fault, text)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record.time,
                    event.node,
                    self._variants[event.node],
                    event.board,
                    json.dumps(fault_json(event.fault)),
                    event.text,
                ),
            )
        else:
            connection.execute(
                "INSERT INTO warnings (time, text) VALUES (?, ?)", (record.time, event.text)
            )

    def _prune(self, connection: sqlite3.Connection) -> None:
        """A part at a time: a clock that jumped or a smaller limit empties nothing at a stroke."""
        oldest = self._began + time.monotonic() - self._max_age_s
        for table in PRUNED:
            connection.execute(
                f"DELETE FROM {table} WHERE id IN"
                f" (SELECT id FROM {table} WHERE time < ? ORDER BY time LIMIT ?)",
                (oldest, _PIECES * _PIECE_ROWS),
            )
        for _ in range(_PIECES):
            if self._used(connection) <= self._max_bytes:
                break
            table = max(PRUNED, key=lambda name: _span(connection, name))
            connection.execute(
                f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?)",
                (_PIECE_ROWS,),
            )
        if _free(connection) > self._max_bytes // _SLACK:
            # A row a page: it runs only as far as it is stepped.
            connection.execute(f"PRAGMA incremental_vacuum({_PIECE_PAGES})").fetchall()

    def _used(self, connection: sqlite3.Connection) -> int:
        """Bytes of the database that hold something."""
        pages = _number(connection, "PRAGMA page_count")
        return pages * _number(connection, "PRAGMA page_size") - _free(connection)


def _insert_answer(connection: sqlite3.Connection, seconds: float, answer: Answer) -> None:
    """A column a key of `answer_json`: what has parts as JSON, but for votes, in their table."""
    values: dict[str, Any] = answer_json(answer)
    votes = values["votes"]
    for name in _JSON:
        values[name] = json.dumps(values[name])
    values |= {"time": seconds, "votes": len(votes)}
    row = connection.execute(_statement("answers", values), values).lastrowid
    rows = [
        vote
        | {"answer": row, "class": vote["entries"][0][0], "entries": json.dumps(vote["entries"])}
        for vote in votes
    ]
    if rows:
        connection.executemany(_statement("votes", rows[0]), rows)


def _statement(table: str, values: dict[str, Any]) -> str:
    columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    return f"INSERT INTO {table} ({columns}) VALUES ({places})"


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _free(connection: sqlite3.Connection) -> int:
    """Bytes of the database that hold nothing."""
    pages = _number(connection, "PRAGMA freelist_count")
    return pages * _number(connection, "PRAGMA page_size")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _span(connection: sqlite3.Connection, table: str) -> int:
    """About how many rows a table has, without counting them."""
    query = f"SELECT coalesce((SELECT max(id) FROM {table}) - (SELECT min(id) FROM {table}), 0)"
    return _number(connection, query)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
