"""The values of the gateway's HTTP API: what it answers, and what `vp.Client` returns.

Times in milliseconds where a name ends in `_ms`, scores between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.config import JsonDict

from variant_parallelism.gateway.types import Counters, NodeEstimate, State, Transport


class Value(BaseModel):
    """Keys of a newer gateway are left out."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """What the gateway said, under its names."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Vote(Value):
    """One node's part in an answer. `entries` are (class, int8 score), best first.

    A score s stands for (s + 128) / 256. `counted` is false where the vote had no part in the
    answer.
    """

    node: int
    variant: str
    entries: list[tuple[int, int]]
    latency_ms: float
    inference_ms: float
    wire_bytes: int
    counted: bool = True


_ANSWER: JsonDict = {
    "request": 4711,
    "class": 3,
    "name": "3",
    "score": 0.993164,
    "scores": [0.0, 0.001953, 0.0, 0.993164, 0.0, 0.0, 0.0, 0.0, 0.0, 0.001953],
    "votes": [
        {
            "node": 1,
            "variant": "d8",
            "entries": [[3, 126], [9, -127]],
            "latency_ms": 27.81,
            "inference_ms": 11.2,
            "wire_bytes": 27,
            "counted": True,
        },
        {
            "node": 2,
            "variant": "d12",
            "entries": [[3, 127], [1, -127]],
            "latency_ms": 16.03,
            "inference_ms": 9.9,
            "wire_bytes": 25,
            "counted": True,
        },
    ],
    "missing": [3],
    "errors": {},
    "latency_ms": 28.4,
    "spared": [],
    "label": None,
    "triggered": False,
    "uid": None,
}


class Answer(Value):
    """The fleet's answer to an image, or to what its nodes captured at a trigger.

    `class` (`class_index` in Python) is an index into the fleet's classes, `name` its name,
    `score` the winner's of `scores` (one for each class); all null if no node answered. `missing`
    are nodes without a vote, `errors` says why some have none, by node; `spared` were not asked,
    since the others agreed. `label` is the right class, if known. `uid` is the request's id over
    all gateways of the fleet that answered it, null where this one did by itself.
    """

    request: int
    class_index: Annotated[int | None, Field(alias="class")]
    name: str | None
    score: float | None
    scores: list[float]
    votes: list[Vote]
    missing: list[int]
    errors: dict[str, str]
    latency_ms: float
    spared: list[int] = []
    label: int | None = None
    triggered: bool = False
    uid: str | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [_ANSWER]})


class Hello(Value):
    """What a node said of itself when it started. `input` is [height, width, channels]."""

    board: str
    model_hash: str
    classes: int
    input: tuple[int, int, int]
    capacity: int
    firmware: str
    reset_cause: str
    uptime_ms: int
    damaged: int
    rejected: int
    multicast: bool
    sensor: bool = False


class Fault(Value):
    """Registers (hexadecimal) at the fault that reset a node; `bits` are those set, by name."""

    pc: str
    lr: str
    psr: str
    cfsr: str
    hfsr: str
    address: str
    bits: list[str]


class Node(Value):
    """One node as the gateway sees it; `reason` says why it is not up."""

    id: int
    variant: str
    board: str
    transport: Transport
    address: str
    state: State
    reason: str
    boot: int | None
    hello: Hello | None
    fault: Fault | None
    estimate: NodeEstimate | None = None
    counters: Counters


class Nodes(Value):
    """Every node, in the fleet file's order."""

    fleet: str
    nodes: list[Node]


class FleetInfo(Value):
    """What the gateway serves. `input` is [height, width, channels] of the fleet's images.

    `started` is when this gateway began to serve, in seconds since 1970.
    """

    fleet: str
    classes: list[str]
    input: tuple[int, int, int]
    k: int
    deadline_ms: int
    started: float


@dataclass(slots=True)
class HttpCounters:
    """HTTP requests since the gateway started, and what is going on now."""

    requests: int = 0
    invalid: int = 0
    """Answered 400, 404, 405, 411 or 415."""
    too_large: int = 0
    """Bodies over the limit: 413."""
    too_slow: int = 0
    """Bodies and request heads that did not arrive, and replies that were not read, in time."""
    busy: int = 0
    """Over max_in_flight: 429; over the memory for bodies or the event subscribers: 503."""
    unauthorized: int = 0
    """Without the token: 401."""
    forbidden: int = 0
    """From another site, or under a foreign name: 403."""
    failed: int = 0
    """500: a defect of ours, which the log tells of."""
    abandoned: int = 0
    """Callers that hung up before their answer."""
    connections_refused: int = 0
    events_skipped: int = 0
    """Events that were not sent to a subscriber, since it or they came too fast."""
    in_flight: int = 0
    connections: int = 0
    subscribers: int = 0

    def as_dict(self) -> dict[str, int]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


@dataclass(slots=True)
class FleetCounters(Counters):
    """Counts of the whole fleet, and under `http` those of this API."""

    http: HttpCounters = field(default_factory=HttpCounters)


class _Told(Value):
    time: str
    """UTC, ISO 8601."""


class AnswerEvent(Answer, _Told):
    """A request ended."""

    event: Literal["answer"]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"time": "2026-03-01T12:00:00.125+00:00", "event": "answer", **_ANSWER},
            ]
        }
    )


class NodeEvent(_Told):
    """A node's state changed."""

    event: Literal["node"]
    node: int
    variant: str
    state: State
    reason: str


class FaultEvent(_Told):
    """A node that was reset by a fault says which."""

    event: Literal["fault"]
    node: int
    variant: str
    fault: Fault
    text: str


class WarningEvent(_Told):
    """Something that people should look at; the gateway goes on."""

    event: Literal["warning"]
    text: str


class SkippedEvent(_Told):
    """`count` events came too fast for this subscriber and are left out here."""

    event: Literal["skipped"]
    count: int


Event: TypeAlias = Annotated[
    AnswerEvent | NodeEvent | FaultEvent | WarningEvent | SkippedEvent,
    Field(discriminator="event"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
COUNTERS: TypeAdapter[FleetCounters] = TypeAdapter(FleetCounters)


class Quarantine(BaseModel):
    """Whether a node's votes are to be left out, and why (a line for people)."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"on": True, "reason": "lens is dirty"}]}
    )

    on: bool
    reason: Annotated[str, Field(max_length=200)] = ""


class Login(BaseModel):
    """The gateway's token, for a browser."""

    model_config = ConfigDict(extra="forbid")

    token: str


class Error(Value):
    """What went wrong, in one line."""

    error: str

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": "the body is neither PNG nor JPEG"}]}
    )
