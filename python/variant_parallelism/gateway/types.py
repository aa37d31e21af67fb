"""What the gateway tells its callers: answers, votes, the state of nodes, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway.faults import describe_fault
from variant_parallelism.wire import Fault, Hello

Entries: TypeAlias = tuple[tuple[int, int], ...]
Transport: TypeAlias = Literal["serial", "udp"]
State: TypeAlias = Literal["up", "dead", "unknown", "refused", "quarantined"]
"""`quarantined`: alive, but its votes do not count and nobody waits for them."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One node's top-k: (class, int8 score), best first.

    `latency_ms` runs from the first chunk sent to the answer, `inference_ms` is the node's own
    time for resize, inference and top-k. `wire_bytes` counts the answer with its framing.
    `counted` is false for a vote that had no part in the answer: its node was quarantined.
    """

    node: int
    variant: str
    entries: Entries
    latency_ms: float
    inference_ms: float
    wire_bytes: int
    counted: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The combined answer to one image, or to what the nodes captured at one trigger.

    `scores` are float64 (C,), 0 to 1: by the papers' methods shares of the total weight of the
    nodes that answered (`aggregate.Combiner` for the others); `score` is the winner's.
    `class_index`, `class_name` and `score` are None if no node answered. `spared` are nodes that
    were not asked, because those that were agreed; `missing` are the fleet's other nodes without a
    vote, and `errors` says why some of them have none. `label` is the class that the caller says is
    right, if known. `uid` is the request's id over all gateways that answered it, None where this
    one did by itself.
    """

    request: int
    class_index: int | None
    class_name: str | None
    score: float | None
    scores: NDArray[np.float64]
    votes: Sequence[Vote]
    missing: tuple[int, ...]
    errors: dict[int, str]
    latency_ms: float
    spared: tuple[int, ...] = ()
    label: int | None = None
    triggered: bool = False
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class NodeEstimate:
    """Running estimates of one node, over its recent requests. None where nothing is known yet.

    `agreement` is the share of its votes whose first class was the fleet's, `reliability` the
    share of requests that it was asked and answered in time; latencies in milliseconds.
    """

    agreement: float | None = None
    reliability: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    samples: int = 0
    accuracy: float | None = None
    """The share of its votes whose first class was right, where callers said what is."""


@dataclass(slots=True)
class Counters:
    """Counts since the gateway started, of the whole fleet or of one node.

    The dropped messages are `foreign` (another fleet, an unknown node or source, not a node's
    message, or about a request that this gateway never made), `forged`, `damaged` and `replayed`.
    """

    requests: int = 0
    answers: int = 0
    """Requests that at least one node answered; of a node: its votes."""
    lost: int = 0
    """Requests that no node answered; of a node: requests that it was asked and did not answer."""
    late: int = 0
    duplicate: int = 0
    refused: int = 0
    """Predictions of a node whose model the fleet does not know."""
    errors: int = 0
    foreign: int = 0
    forged: int = 0
    damaged: int = 0
    replayed: int = 0
    chunks: int = 0
    retransmitted: int = 0
    multicast: int = 0
    """Chunks sent to the group: one for the fleet, and one for each node that it was meant for."""
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    early: int = 0
    """Requests that the nodes asked first answered alone."""
    spared: int = 0
    """Questions that were not put to nodes, because those asked first agreed."""
    uncounted: int = 0
    """Votes that had no part in an answer, because their node was quarantined."""

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node as the gateway sees it. `reason` says why it is not up.

    `boot` is the boot counter of its last HELLO, None before it. `fault` is what reset the
    node before its present run, None if nothing is known of one.
    """

    id: int
    variant: str
    board: str
    transport: Transport
    address: str
    state: State
    reason: str
    hello: Hello | None
    boot: int | None
    counters: Counters
    fault: Fault | None = None
    estimate: NodeEstimate | None = None


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node's state changed; `reason` is a line for people."""

    node: int
    state: State
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A request ended, with or without an answer. `image` is what was asked about (H, W, C)."""

    answer: Answer
    image: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that people should look at; the gateway goes on."""

    text: str


@dataclass(frozen=True, slots=True)
class Faulted:
    """A node that was reset by a fault says which; told once for each reset."""

    node: int
    board: str
    fault: Fault

    @property
    def text(self) -> str:
        """One line for people."""
        return f"node {self.node} ({self.board}) {describe_fault(self.fault)}"


Event: TypeAlias = NodeChanged | Answered | Warned | Faulted
