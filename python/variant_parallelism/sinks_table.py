"""`[sinks.*]` of `fleet.toml`: where every answer and every change of a node's state goes."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from variant_parallelism.toml_table import PathText, Table, is_host_name

_TOPIC_LIMIT = 200
"""MQTT allows 65535 bytes; what we append and every broker's own limit must fit, too."""


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    if text.replace(".", "").isdecimal() or not is_host_name(text):
        raise ValueError(f"{text!r} is neither a host name nor an address (the port has its key)")
    return text


def _topic(text: str) -> str:
    wild = any(sign in text for sign in "+#$")
    if not text or wild or not text.isprintable() or len(text.encode()) > _TOPIC_LIMIT:
        raise ValueError(f"{text!r} is no topic to publish below, such as home/fleet")
    if text.startswith("/") or text.endswith("/"):
        raise ValueError(f"{text!r} begins or ends with a slash: leave it out")
    return text


_Queue = Annotated[int, Field(ge=16, le=10_000_000)]
_Topic = Annotated[str, AfterValidator(_topic)]


class JsonLinesTable(Table):
    """`[sinks.jsonl]`: one JSON object a line, in files of at most `max_bytes`.

    `path` is the file written to, relative to the fleet file; full ones become `path.1`
    (the newest) to `path.N`, with `files` = N + 1 in all. `queue` is how many events may wait.
    """

    path: PathText = "events.jsonl"
    max_bytes: Annotated[int, Field(ge=4096)] = 16_000_000
    files: Annotated[int, Field(ge=1, le=10_000)] = 8
    queue: _Queue = 10_000


class SqliteTable(Table):
    """`[sinks.sqlite]`: a database of answers, votes, states and faults.

    `path` is relative to the fleet file. Rows older than `max_age_days` go, and the oldest ones
    when the database exceeds `max_bytes`. Events are committed together after at most `commit_ms`;
    up to `queue` of them wait while the database cannot be written.
    """

    path: PathText = "events.db"
    max_age_days: Annotated[float, Field(gt=0)] = 90.0
    max_bytes: Annotated[int, Field(ge=262_144)] = 1_000_000_000
    commit_ms: Annotated[int, Field(ge=1, le=60_000)] = 500
    queue: _Queue = 50_000


class MqttTable(Table):
    """`[sinks.mqtt]`: an MQTT 5 broker, and Home Assistant behind it.

    `port` is 8883 with `tls`, else 1883. `ca_file` replaces the system's certificates;
    `password_file` holds the password of `username`, readable by its owner alone. Topics lie below
    `topic` (default: vp/ and the fleet's name). `discovery` is Home Assistant's discovery prefix,
    empty for none. State is published again every `refresh_s`; an answer is unavailable in Home
    Assistant after `expire_after_s` without another. The broker keeps the session for
    `session_expiry_s`; up to `queue` events wait while it is away.
    """

    host: Annotated[str, AfterValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tls: bool = False
    ca_file: PathText | None = None
    username: Annotated[str, Field(min_length=1)] | None = None
    password_file: PathText | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    topic: _Topic | None = None
    discovery: str = "homeassistant"
    refresh_s: Annotated[int, Field(ge=1, le=3600)] = 30
    expire_after_s: Annotated[int, Field(ge=1)] = 3600
    session_expiry_s: Annotated[int, Field(ge=60, le=0xFFFFFFFF)] = 3600
    queue: _Queue = 10_000

    @model_validator(mode="after")
    def _possible(self) -> MqttTable:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file without tls = true: the connection would not be encrypted")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username")
        if self.discovery:
            _topic(self.discovery)
        return self

    @property
    def port_used(self) -> int:
        return self.port or (8883 if self.tls else 1883)


class SinksTable(Table):
    """`[sinks]`: each of its tables turns one sink on."""

    jsonl: JsonLinesTable | None = None
    sqlite: SqliteTable | None = None
    mqtt: MqttTable | None = None
