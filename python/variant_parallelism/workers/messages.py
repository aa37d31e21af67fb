"""What gateways, workers and those who ask tell each other: JSON, strictly checked.

Times are in milliseconds and relative, so that nobody's clock matters. Unknown keys are ignored, so
that machines can be brought to another version one by one.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.types import Answer, Vote
from variant_parallelism.workers_table import GATEWAY_NAME

MAX_MESSAGE = 24 * 1024 * 1024
"""Bytes of the largest message: an image of 16 MiB in base64, and some."""

_MOST_NODES = 65_535

Uid = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{8,64}$")]
"""A request's id over all gateways: hard to guess twice, such as `uuid.uuid4().hex`."""
GatewayName = Annotated[str, Field(pattern=GATEWAY_NAME)]
WorkerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$")]
NodeId = Annotated[int, Field(ge=0, le=65_534)]
ClassIndex = Annotated[int, Field(ge=0, le=65_534)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
Text = Annotated[str, Field(max_length=200)]
Errors = Annotated[tuple[tuple[NodeId, Text], ...], Field(max_length=_MOST_NODES)]
NodeIds = Annotated[tuple[NodeId, ...], Field(max_length=_MOST_NODES)]


class Message(BaseModel):
    """Version 1."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    version: Literal[1] = 1

    def encode(self) -> bytes:
        return self.model_dump_json().encode()


class RequestMessage(Message):
    """A question to every gateway. `image` are the bytes of a uint8 image of `shape` (H, W, C);
    neither of the two for a trigger: every node captures an image of its own. Without a deadline
    each gateway takes its own."""

    uid: Uid
    k: Annotated[int, Field(ge=1, le=255)]
    deadline_ms: Annotated[float, Field(gt=0, le=600_000)] | None = None
    label: ClassIndex | None = None
    shape: tuple[int, int, int] | None = None
    image: bytes | None = None

    @model_validator(mode="after")
    def _whole(self) -> RequestMessage:
        if (self.shape is None) != (self.image is None):
            raise ValueError("an image and its shape belong together")
        if self.shape is not None and self.image is not None:
            height, width, channels = self.shape
            if min(self.shape) < 1 or height * width * channels != len(self.image):
                raise ValueError("an image of another size than its shape")
        return self


class VoteMessage(Message):
    """A node's decoded prediction: `gateway.types.Vote`."""

    version: Literal[1] = Field(default=1, exclude=True)
    node: NodeId
    variant: Annotated[str, Field(max_length=31)]
    entries: Annotated[
        tuple[tuple[ClassIndex, Annotated[int, Field(ge=-128, le=127)]], ...],
        Field(min_length=1, max_length=255),
    ]
    latency_ms: Milliseconds
    inference_ms: Milliseconds
    wire_bytes: Annotated[int, Field(ge=0, le=1_000_000)]
    counted: bool = True

    @classmethod
    def of(cls, vote: Vote, counted: bool) -> VoteMessage:
        return cls(
            node=vote.node,
            variant=vote.variant,
            entries=vote.entries,
            latency_ms=max(0.0, vote.latency_ms),
            inference_ms=max(0.0, vote.inference_ms),
            wire_bytes=vote.wire_bytes,
            counted=counted,
        )

    def vote(self) -> Vote:
        return Vote(
            self.node,
            self.variant,
            self.entries,
            self.latency_ms,
            self.inference_ms,
            self.wire_bytes,
            self.counted,
        )


class ReportMessage(Message):
    """What one gateway's nodes answered. It says the request's deadline again, and the time since
    the gateway heard of it (`age_ms`), for a worker that never saw the request itself; and which
    gateways it knows of, for a worker that has just come. `attempt` counts from 1."""

    uid: Uid
    gateway: GatewayName
    attempt: Annotated[int, Field(ge=1)]
    age_ms: Milliseconds
    deadline_ms: Annotated[float, Field(gt=0, le=600_000)]
    k: Annotated[int, Field(ge=1, le=255)]
    label: ClassIndex | None
    triggered: bool
    votes: Annotated[tuple[VoteMessage, ...], Field(max_length=_MOST_NODES)]
    errors: Errors
    spared: NodeIds
    gateways: Annotated[tuple[GatewayName, ...], Field(max_length=1024)]
    shared: bool = True
    """Whether other gateways may have been asked."""

    @model_validator(mode="after")
    def _consistent(self) -> ReportMessage:
        if len({vote.node for vote in self.votes}) != len(self.votes):
            raise ValueError("two votes of one node")
        for vote in self.votes:
            if len({index for index, _ in vote.entries}) != self.k or len(vote.entries) != self.k:
                raise ValueError(f"node {vote.node} did not vote for {self.k} classes")
        return self


class AnswerMessage(Message):
    """The answer to a request, once or (rarely) more often: the first of a `uid` counts.

    As `gateway.types.Answer`, besides: `time` (UTC, ISO 8601), the `worker` that combined it,
    whose `gateways`' votes are in it, and which gateways are `absent`.
    """

    uid: Uid
    time: Annotated[str, Field(max_length=40)]
    worker: WorkerName
    gateways: Annotated[tuple[GatewayName, ...], Field(max_length=1024)]
    absent: Annotated[tuple[GatewayName, ...], Field(max_length=1024)]
    class_index: Annotated[ClassIndex | None, Field(alias="class")]
    name: Annotated[str, Field(max_length=1000)] | None
    score: float | None
    scores: Annotated[tuple[float, ...], Field(max_length=65_535)]
    votes: Annotated[tuple[VoteMessage, ...], Field(max_length=_MOST_NODES)]
    missing: NodeIds
    errors: Errors
    spared: NodeIds
    latency_ms: Milliseconds
    label: ClassIndex | None
    triggered: bool

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode()

    def answer(self, number: int, latency_ms: float) -> Answer:
        """The same for who knows the request by `number`, and had it after `latency_ms`."""
        return Answer(
            number,
            self.class_index,
            self.name,
            self.score,
            np.array(self.scores, dtype=np.float64),
            tuple(vote.vote() for vote in self.votes),
            self.missing,
            dict(self.errors),
            latency_ms,
            spared=self.spared,
            label=self.label,
            triggered=self.triggered,
            uid=self.uid,
        )


class GatewayMessage(Message):
    """A gateway is there, or takes its leave, or the broker has lost it; `fleet` is
    `fleet_digest`."""

    gateway: GatewayName
    state: Literal["here", "left", "lost"]
    fleet: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    nodes: Annotated[
        tuple[tuple[NodeId, Annotated[str, Field(max_length=31)]], ...],
        Field(max_length=_MOST_NODES),
    ]
    """Ids and variants."""


class WorkerMessage(Message):
    """A worker is there, with these partitions as 64 hexadecimal digits, or takes its leave."""

    worker: WorkerName
    here: bool
    partitions: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Kind = TypeVar("Kind", bound=Message)


def decode(kind: type[Kind], payload: bytes | bytearray) -> Kind | None:
    """A message that came, None if it is no good."""
    if len(payload) > MAX_MESSAGE:
        return None
    try:
        return kind.model_validate_json(payload)
    except ValidationError:
        return None


def fleet_digest(fleet: Fleet) -> str:
    """Equal where fleets ask the same question: name, id, classes, models and their weights."""
    manifest = fleet.manifest
    text = repr(
        (
            fleet.table.name,
            fleet.table.id,
            manifest.classes,
            manifest.input,
            fleet.combination,
            sorted((variant.name, variant.hash, variant.weight) for variant in manifest.variants),
        )
    )
    return hashlib.blake2s(text.encode(), digest_size=16).hexdigest()
