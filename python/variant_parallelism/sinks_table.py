"""`[sinks.*]` of `fleet.toml`: where every answer and every change of a node's state goes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from variant_parallelism.broker_table import BrokerTable, Topic, check_topic
from variant_parallelism.toml_table import PathText, Table

_Queue = Annotated[int, Field(ge=16, le=10_000_000)]


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


class MqttTable(BrokerTable):
    """`[sinks.mqtt]`: an MQTT 5 broker, and Home Assistant behind it.

    Topics lie below `topic` (default: vp/ and the fleet's name). `discovery` is Home Assistant's
    discovery prefix, empty for none. State is published again every `refresh_s`; an answer is
    unavailable in Home Assistant after `expire_after_s` without another. The broker keeps the
    session for `session_expiry_s`; up to `queue` events wait while it is away.
    """

    client_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    topic: Topic | None = None
    discovery: str = "homeassistant"
    refresh_s: Annotated[int, Field(ge=1, le=3600)] = 30
    expire_after_s: Annotated[int, Field(ge=1)] = 3600
    session_expiry_s: Annotated[int, Field(ge=60, le=0xFFFFFFFF)] = 3600
    queue: _Queue = 10_000

    @model_validator(mode="after")
    def _discovery_topic(self) -> MqttTable:
        if self.discovery:
            check_topic(self.discovery)
        return self


class SinksTable(Table):
    """`[sinks]`: each of its tables turns one sink on."""

    jsonl: JsonLinesTable | None = None
    sqlite: SqliteTable | None = None
    mqtt: MqttTable | None = None
