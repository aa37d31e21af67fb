"""The API's own counters for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from variant_parallelism.api import HttpCounters

_GAUGES = {
    "in_flight": "Images and triggers being answered",
    "connections": "Open connections",
    "subscribers": "Clients that watch events",
}
_TEXTS = {
    "requests": "HTTP requests",
    "invalid": "Mistaken requests (400, 404, 405, 415)",
    "too_large": "Bodies over the limit (413)",
    "too_slow": "Requests that did not arrive, or replies that were not read, in time",
    "busy": "Requests over a limit of what goes on at a time (429, 503)",
    "unauthorized": "Requests without the token (401)",
    "forbidden": "Requests of other sites' pages (403)",
    "failed": "Requests at which the gateway failed (500)",
    "abandoned": "Callers that hung up before their answer",
    "connections_refused": "Connections over the limit",
    "events_skipped": "Events that came too fast for a subscriber",
}


class _Counts(Collector):
    def __init__(self, counters: HttpCounters) -> None:
        self._counts = counters.as_dict()

    def collect(self) -> Iterable[Metric]:
        for name, text in _TEXTS.items():
            yield CounterMetricFamily(f"vp_http_{name}", text, value=self._counts[name])
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"vp_http_{name}", text, value=self._counts[name])


def http_metrics(counters: HttpCounters) -> bytes:
    """The exposition, to be put after that of the gateway: no name is in both."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(counters))
    return generate_latest(registry)
