"""What Prometheus reads at /metrics.

Counts are read off the gateway when it asks; only latencies are gathered, by bisection into
buckets, since an answer must not wait for them.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.sinks.exposition import CONTENT_TYPE, Sample, family, labels, one
from variant_parallelism.gateway.sinks.sink import SinkStatus
from variant_parallelism.gateway.texts import in_thread
from variant_parallelism.gateway.types import Answered, Event, NodeStatus, Vote
from variant_parallelism.gateway.votes import Votes

_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_BUCKETS = tuple(labels(le=str(bound)) for bound in (*_BOUNDS_S, "+Inf"))

_SINK_COUNTERS = {
    "taken": "Events that a sink was told",
    "written": "Events that a sink has written",
    "dropped": "Events that a sink was too slow or away for too long for",
    "refused": "Events that a sink could not write at all",
}


_ESTIMATES = {
    "agreement": "Recent votes of a node whose first class was that of most others",
    "reliability": "Recent requests that a node answered in time",
    "accuracy": "Recent votes of a node whose first class was right, where that is known",
}


class Histogram:
    """Observations by bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self._sum += seconds

    def copy(self) -> Histogram:
        """As it is now."""
        other = Histogram()
        other._counts, other._sum = self._counts.copy(), self._sum
        return other

    def samples(self, of: str = "") -> Iterable[Sample]:
        """What Prometheus wants: of each bucket, the observations up to its upper bound."""
        total = 0
        for bucket, count in zip(_BUCKETS, self._counts, strict=True):
            total += count
            yield "_bucket", f"{of},{bucket}" if of else bucket, total
        yield "_count", of, total
        yield "_sum", of, self._sum


@dataclass(frozen=True, slots=True)
class Numbers:
    """All that is to be told, of one moment."""

    fleet: dict[str, int]
    shared: dict[str, int]
    nodes: Sequence[NodeStatus]
    answers: Histogram
    votes: dict[int, Histogram]
    """By node; one that never answered has none."""
    sinks: Sequence[SinkStatus]

    def text(self) -> bytes:
        """The exposition. In any thread."""
        named = [(labels(node=str(node.id), variant=node.variant), node) for node in self.nodes]
        return "".join(
            (
                *_counters("vp_", "Of the whole fleet", self.fleet),
                *_counters("vp_shared_", "With other gateways", self.shared),
                *_node_counters(named),
                *_node_states(named),
                *_node_estimates(named),
                family(
                    "vp_answer_latency_seconds",
                    "histogram",
                    "From the request to its answer",
                    self.answers.samples(),
                ),
                family(
                    "vp_node_latency_seconds",
                    "histogram",
                    "From the first chunk sent to a node to its vote",
                    (
                        sample
                        for name, node in named
                        for sample in self.votes.get(node.id, _NOTHING).samples(name)
                    ),
                ),
                *_sink_metrics(self.sinks),
            )
        ).encode()


class Metrics:
    """One gateway's metrics."""

    def __init__(self, gateway: Gateway, sinks: Callable[[], Sequence[SinkStatus]]) -> None:
        self._gateway = gateway
        self._sinks = sinks
        self._answers = Histogram()
        self._votes: defaultdict[int, Histogram] = defaultdict(Histogram)
        self._rendering: asyncio.Task[bytes] | None = None

    def observe(self, event: Event) -> None:
        """Take an event's latencies."""
        if isinstance(event, Answered):
            self._answers.observe(event.answer.latency_ms / 1000)
            for node, latency_ms in _latencies_of(event.answer.votes):
                self._votes[node].observe(latency_ms / 1000)

    def numbers(self) -> Numbers:
        """As they are now. In the gateway's event loop."""
        return Numbers(
            self._gateway.counters.as_dict(),
            self._gateway.shared_counts(),
            self._gateway.nodes(),
            self._answers.copy(),
            {node: histogram.copy() for node, histogram in self._votes.items()},
            self._sinks(),
        )

    async def render(self) -> tuple[bytes, str]:
        """The exposition and its content type. Those who ask at one time get the same."""
        if self._rendering is None or self._rendering.done():
            # Answers wait for the numbers alone: the text of hundreds of nodes is long.
            self._rendering = asyncio.create_task(in_thread(self.numbers().text))
        return await asyncio.shield(self._rendering), CONTENT_TYPE


def _latencies_of(votes: Sequence[Vote]) -> Iterable[tuple[int, float]]:
    """Node and milliseconds of each vote, without making a `Vote` where there are arrays."""
    if isinstance(votes, Votes):
        return zip(votes.nodes.tolist(), votes.latencies_ms.tolist(), strict=True)
    return ((vote.node, vote.latency_ms) for vote in votes)


def _counters(prefix: str, what: str, counts: dict[str, int]) -> Iterable[str]:
    for name, count in counts.items():
        text = f"{what}: {name.replace('_', ' ')}"
        yield one(f"{prefix}{name}_total", "counter", text, count)


def _node_counters(named: Sequence[tuple[str, NodeStatus]]) -> Iterable[str]:
    """One metric a counter, with a sample a node."""
    counts = [(name, node.counters.as_dict()) for name, node in named]
    for counter in counts[0][1] if counts else ():
        yield family(
            f"vp_node_{counter}_total",
            "counter",
            f"Of one node: {counter.replace('_', ' ')}",
            [("", name, of_node[counter]) for name, of_node in counts],
        )


def _node_states(named: Sequence[tuple[str, NodeStatus]]) -> Iterable[str]:
    boards = [(f"{name},{labels(board=node.board)}", node.state) for name, node in named]
    for metric, text, states in (
        ("up", "1 where the node is up, in quarantine or not", ("up", "quarantined")),
        ("quarantined", "1 where the node is up, but its votes do not count", ("quarantined",)),
    ):
        samples = [("", name, int(state in states)) for name, state in boards]
        yield family(f"vp_node_{metric}", "gauge", text, samples)


def _node_estimates(named: Sequence[tuple[str, NodeStatus]]) -> Iterable[str]:
    """Shares of 0 to 1; a node of which nothing is known yet has no sample."""
    for metric, text in _ESTIMATES.items():
        known = [
            ("", name, getattr(node.estimate, metric))
            for name, node in named
            if node.estimate is not None
        ]
        samples = [sample for sample in known if sample[2] is not None]
        yield family(f"vp_node_{metric}_ratio", "gauge", text, samples)


def _sink_metrics(sinks: Sequence[SinkStatus]) -> Iterable[str]:
    named = [(labels(sink=sink.name), sink) for sink in sinks]
    for counter, text in _SINK_COUNTERS.items():
        samples = [("", name, getattr(sink, counter)) for name, sink in named]
        yield family(f"vp_sink_{counter}_total", "counter", text, samples)
    yield family(
        "vp_sink_waiting",
        "gauge",
        "Events that a sink has not written yet",
        [("", name, sink.waiting) for name, sink in named],
    )
    yield family(
        "vp_sink_failing",
        "gauge",
        "1 where a sink cannot be written now",
        [("", name, int(sink.trouble is not None)) for name, sink in named],
    )


_NOTHING = Histogram()
