"""What Prometheus reads at /metrics.

Counts are read off the gateway when it asks; only latencies are gathered, by bisection into
buckets, since an answer must not wait for them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.sinks.sink import SinkStatus
from variant_parallelism.gateway.types import Answered, Event, NodeStatus, Vote
from variant_parallelism.gateway.votes import Votes

_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

_SINK_COUNTERS = {
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

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), as Prometheus wants them."""
        total, rising = 0, []
        for bound, count in zip([*map(str, _BOUNDS_S), "+Inf"], self._counts, strict=True):
            total += count
            rising.append((bound, float(total)))
        return rising

    @property
    def sum(self) -> float:
        """Of all observations, in seconds."""
        return self._sum


class Metrics(Collector):
    """One gateway's metrics, in a registry of their own."""

    def __init__(self, gateway: Gateway, sinks: Callable[[], Sequence[SinkStatus]]) -> None:
        self._gateway = gateway
        self._sinks = sinks
        self._answers = Histogram()
        self._votes: defaultdict[int, Histogram] = defaultdict(Histogram)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def observe(self, event: Event) -> None:
        """Take an event's latencies."""
        if isinstance(event, Answered):
            self._answers.observe(event.answer.latency_ms / 1000)
            for node, latency_ms in _latencies_of(event.answer.votes):
                self._votes[node].observe(latency_ms / 1000)

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type. In the gateway's event loop."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        nodes = self._gateway.nodes()
        yield from self._fleet_counters()
        yield from self._shared_counters()
        yield from _node_counters(nodes)
        yield from _node_states(nodes)
        yield from _node_estimates(nodes)
        yield from self._latencies(nodes)
        yield from self._sink_metrics()

    def describe(self) -> Iterable[Metric]:
        """Nothing: the gateway may not be open yet."""
        return []

    def _fleet_counters(self) -> Iterable[Metric]:
        for name, count in self._gateway.counters.as_dict().items():
            yield CounterMetricFamily(
                f"vp_{name}", f"Of the whole fleet: {name.replace('_', ' ')}", value=count
            )

    def _shared_counters(self) -> Iterable[Metric]:
        for name, count in self._gateway.shared_counts().items():
            yield CounterMetricFamily(
                f"vp_shared_{name}", f"With other gateways: {name.replace('_', ' ')}", value=count
            )

    def _latencies(self, nodes: Sequence[NodeStatus]) -> Iterable[Metric]:
        yield HistogramMetricFamily(
            "vp_answer_latency_seconds",
            "From the request to its answer",
            buckets=self._answers.buckets(),
            sum_value=self._answers.sum,
        )
        votes = HistogramMetricFamily(
            "vp_node_latency_seconds",
            "From the first chunk sent to a node to its vote",
            labels=["node", "variant"],
        )
        for node in nodes:
            histogram = self._votes[node.id]
            votes.add_metric(
                [str(node.id), node.variant],
                buckets=histogram.buckets(),
                sum_value=histogram.sum,
            )
        yield votes

    def _sink_metrics(self) -> Iterable[Metric]:
        sinks = self._sinks()
        for name, text in _SINK_COUNTERS.items():
            counter = CounterMetricFamily(f"vp_sink_{name}", text, labels=["sink"])
            for sink in sinks:
                counter.add_metric([sink.name], getattr(sink, name))
            yield counter
        for name, text in (
            ("waiting", "Events that a sink has not written yet"),
            ("failing", "1 where a sink cannot be written now"),
        ):
            gauge = GaugeMetricFamily(f"vp_sink_{name}", text, labels=["sink"])
            for sink in sinks:
                value = sink.waiting if name == "waiting" else sink.trouble is not None
                gauge.add_metric([sink.name], value)
            yield gauge


def _latencies_of(votes: Sequence[Vote]) -> Iterable[tuple[int, float]]:
    """Node and milliseconds of each vote, without making a `Vote` where there are arrays."""
    if isinstance(votes, Votes):
        return zip(votes.nodes.tolist(), votes.latencies_ms.tolist(), strict=True)
    return ((vote.node, vote.latency_ms) for vote in votes)


def _node_counters(nodes: Sequence[NodeStatus]) -> Iterable[Metric]:
    """One metric a counter, with a sample a node."""
    if not nodes:
        return
    counts = {node.id: node.counters.as_dict() for node in nodes}
    for name in counts[nodes[0].id]:
        counter = CounterMetricFamily(
            f"vp_node_{name}",
            f"Of one node: {name.replace('_', ' ')}",
            labels=["node", "variant"],
        )
        for node in nodes:
            counter.add_metric([str(node.id), node.variant], counts[node.id][name])
        yield counter


def _node_states(nodes: Sequence[NodeStatus]) -> Iterable[Metric]:
    for name, text, states in (
        ("up", "1 where the node is up, in quarantine or not", ("up", "quarantined")),
        ("quarantined", "1 where the node is up, but its votes do not count", ("quarantined",)),
    ):
        gauge = GaugeMetricFamily(f"vp_node_{name}", text, labels=["node", "variant", "board"])
        for node in nodes:
            gauge.add_metric([str(node.id), node.variant, node.board], node.state in states)
        yield gauge


def _node_estimates(nodes: Sequence[NodeStatus]) -> Iterable[Metric]:
    """Shares of 0 to 1; a node of which nothing is known yet has no sample."""
    for name, text in _ESTIMATES.items():
        gauge = GaugeMetricFamily(f"vp_node_{name}_ratio", text, labels=["node", "variant"])
        for node in nodes:
            value = None if node.estimate is None else getattr(node.estimate, name)
            if value is not None:
                gauge.add_metric([str(node.id), node.variant], value)
        yield gauge
