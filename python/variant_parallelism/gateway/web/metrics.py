"""The API's own counters for Prometheus."""

from __future__ import annotations

from variant_parallelism.api import HttpCounters
from variant_parallelism.gateway.sinks.exposition import one

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


def http_metrics(counters: HttpCounters) -> bytes:
    """The exposition, to be put after that of the gateway: no name is in both."""
    counts = counters.as_dict()
    lines = [one(f"vp_http_{name}_total", "counter", _TEXTS[name], counts[name]) for name in _TEXTS]
    lines += [one(f"vp_http_{name}", "gauge", text, counts[name]) for name, text in _GAUGES.items()]
    return "".join(lines).encode()
