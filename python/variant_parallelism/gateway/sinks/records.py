"""A record as a JSON object: what lines of a file and messages of a broker hold."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.report import event_json
from variant_parallelism.gateway.sinks.spool import Record


def iso_time(seconds: float) -> str:
    """UTC, with milliseconds: 2026-03-01T12:00:00.125+00:00."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def variants_of(fleet: Fleet) -> dict[int, str]:
    """By node id; empty for a node that joined the gateway later."""
    return defaultdict(str, {node.id: node.variant for node in fleet.nodes})


def record_json(record: Record, variants: dict[int, str]) -> dict[str, Any]:
    """`report.event_json` with the time; `variants` by node id."""
    return {"time": iso_time(record.time), **event_json(record.event, variants)}


def encode(value: dict[str, Any]) -> bytes:
    """One line of JSON, without its end."""
    return json.dumps(value, separators=(",", ":")).encode()
