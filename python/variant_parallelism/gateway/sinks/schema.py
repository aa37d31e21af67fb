"""The SQLite database's tables, and how it comes to be (docs/gateway-sinks.md explains them)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from variant_parallelism.errors import VpError

VERSION = 1
"""`PRAGMA user_version`. A later one comes with the steps that bring this one there."""

APPLICATION = 0x76705F67
"""`PRAGMA application_id`: "vp_g"."""

_TABLES = """
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    request INTEGER NOT NULL,
    class INTEGER,
    name TEXT,
    label INTEGER,
    score REAL,
    scores TEXT NOT NULL,
    latency_ms REAL NOT NULL,
    votes INTEGER NOT NULL,
    missing TEXT NOT NULL,
    spared TEXT NOT NULL,
    errors TEXT NOT NULL,
    triggered INTEGER NOT NULL,
    uid TEXT
);
CREATE INDEX answers_time ON answers (time);
CREATE TABLE votes (
    answer INTEGER NOT NULL REFERENCES answers (id) ON DELETE CASCADE,
    node INTEGER NOT NULL,
    variant TEXT NOT NULL,
    class INTEGER NOT NULL,
    entries TEXT NOT NULL,
    latency_ms REAL NOT NULL,
    inference_ms REAL NOT NULL,
    wire_bytes INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    PRIMARY KEY (answer, node)
) WITHOUT ROWID;
CREATE TABLE node_states (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    node INTEGER NOT NULL,
    variant TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX node_states_time ON node_states (time);
CREATE TABLE faults (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    node INTEGER NOT NULL,
    variant TEXT NOT NULL,
    board TEXT NOT NULL,
    fault TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX faults_time ON faults (time);
CREATE TABLE warnings (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX warnings_time ON warnings (time);
"""

PRUNED = ("answers", "node_states", "faults", "warnings")
"""Tables with an id that rises and a time; votes go with their answer."""


def open_database(path: Path, busy_s: float) -> sqlite3.Connection:
    """The database at `path`, made or brought to `VERSION` if need be.

    VpError if it is another program's or a newer version's; sqlite3.Error if it cannot be had.
    """
    connection = sqlite3.connect(
        path, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if objects and _pragma(connection, "application_id") != APPLICATION:
        raise VpError(f"{path} is another program's database; see [sinks.sqlite] path")
    if version > VERSION:
        raise VpError(
            f"{path} has schema {version}, this version knows {VERSION}: "
            "use a newer gateway, or another [sinks.sqlite] path"
        )
    if not objects:
        # Before the first table, or it takes a VACUUM of the whole file.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, so that a commit also survives a loss of power; commits are few.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    if version == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION}; "
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
