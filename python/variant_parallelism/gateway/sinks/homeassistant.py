"""A fleet as a device of Home Assistant, by MQTT discovery.

One retained message describes the device and all its entities ("device discovery", since Home
Assistant 2024.11): https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from variant_parallelism import __version__
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.types import State

ONLINE, OFFLINE = "online", "offline"

_COUNTERS = {
    "requests": "Requests",
    "answers": "Answers",
    "lost": "Requests lost",
    "late": "Late answers",
    "duplicate": "Duplicate answers",
    "forged": "Forged messages",
    "replayed": "Replayed messages",
    "damaged": "Damaged messages",
}
_REFRESHES = 3
"""Refreshes that may fail to come before state is unavailable."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Where a fleet publishes. All but `answer` and `event` is retained."""

    base: str
    discovery: str

    @property
    def status(self) -> str:
        """`online` or `offline`: the gateway's birth message and its last will."""
        return f"{self.base}/status"

    @property
    def answer(self) -> str:
        return f"{self.base}/answer"

    @property
    def event(self) -> str:
        """Changes of nodes' states, faults and warnings."""
        return f"{self.base}/event"

    @property
    def counters(self) -> str:
        return f"{self.base}/counters"

    @property
    def hub_status(self) -> str:
        """Where Home Assistant says that it is there."""
        return f"{self.discovery}/status"

    def node(self, node: int) -> str:
        return f"{self.base}/node/{node}"

    def entity(self, key: str) -> str | None:
        """The retained topic that one entity had for itself."""
        node = re.fullmatch(r"node_(\d+)", key)
        return None if node is None else self.node(int(node.group(1)))

    def config(self, fleet: Fleet) -> str:
        return f"{self.discovery}/device/{device_id(fleet)}/config"


def device_id(fleet: Fleet) -> str:
    """The same for as long as the fleet keeps its name and its id."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", fleet.gateway_name)
    return f"vp_{plain}_{fleet.table.id}"


def discovery_config(
    fleet: Fleet, topics: Topics, refresh_s: int, expire_after_s: int
) -> dict[str, Any]:
    """The device and its entities: class, confidence, latency, each node, counters.

    State is published every `refresh_s`; answers expire after `expire_after_s`.
    """
    device = device_id(fleet)
    components = {
        key: {"unique_id": f"{device}_{key}", **entity}
        for key, entity in {
            **_answer_entities(fleet.manifest.classes, topics, expire_after_s),
            **_node_entities(fleet, topics, _REFRESHES * refresh_s),
            **_counter_entities(topics, _REFRESHES * refresh_s),
        }.items()
    }
    return {
        "device": {
            "identifiers": [device],
            "name": fleet.gateway_name,
            "manufacturer": "Variant Parallelism",
            "model": f"{fleet.manifest.name}, {len(fleet.nodes)} nodes",
            "sw_version": __version__,
        },
        "origin": {"name": "variant-parallelism", "sw_version": __version__},
        "availability_topic": topics.status,
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
        "qos": 1,
        "components": components,
    }


def left_over(kept: bytes | bytearray, config: dict[str, Any]) -> dict[str, Any]:
    """The entities of a discovery message that the broker kept and `config` has no more, as they
    are announced to be removed: with their platform alone. Nothing if the message is not ours."""
    try:
        components = json.loads(kept)["components"]
        return {
            key: {"platform": component["platform"]}
            for key, component in components.items()
            if key not in config["components"]
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def _answer_entities(
    classes: Sequence[str], topics: Topics, expire_after_s: int
) -> dict[str, dict[str, Any]]:
    answer = {"platform": "sensor", "state_topic": topics.answer, "expire_after": expire_after_s}
    attributes = (
        "{{ {'votes': value_json.votes | length, 'missing': value_json.missing, "
        "'latency_ms': value_json.latency_ms, 'time': value_json.time} | tojson }}"
    )
    return {
        "class": {
            **answer,
            "name": "Class",
            "icon": "mdi:shape",
            "device_class": "enum",
            "options": list(classes),
            "value_template": "{{ value_json.name }}",
        },
        "confidence": {
            **answer,
            "name": "Confidence",
            "icon": "mdi:gauge",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "suggested_display_precision": 1,
            "value_template": "{{ None if value_json.score is none"
            " else (value_json.score * 100) | round(2) }}",
            "json_attributes_topic": topics.answer,
            "json_attributes_template": attributes,
        },
        "latency": {
            **answer,
            "name": "Latency",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
            "suggested_display_precision": 0,
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.latency_ms }}",
        },
    }


def _node_entities(fleet: Fleet, topics: Topics, expire_after_s: int) -> dict[str, dict[str, Any]]:
    """Of each node whether it is reachable, and its state: one in quarantine is reachable, too."""
    entities: dict[str, dict[str, Any]] = {}
    for node in fleet.nodes:
        name, topic = f"Node {node.id} ({node.variant})", topics.node(node.id)
        common = {
            "entity_category": "diagnostic",
            "state_topic": topic,
            "json_attributes_topic": topic,
            "expire_after": expire_after_s,
        }
        entities[f"node_{node.id}"] = {
            "platform": "binary_sensor",
            "name": name,
            "device_class": "connectivity",
            "value_template": "{{ 'ON' if value_json.state in ('up', 'quarantined') else 'OFF' }}",
            **common,
        }
        entities[f"node_{node.id}_state"] = {
            "platform": "sensor",
            "name": f"{name} state",
            "device_class": "enum",
            "options": list(get_args(State)),
            "value_template": "{{ value_json.state }}",
            **common,
        }
    return entities


def _counter_entities(topics: Topics, expire_after_s: int) -> dict[str, dict[str, Any]]:
    return {
        f"count_{counter}": {
            "platform": "sensor",
            "name": name,
            "icon": "mdi:counter",
            "state_class": "total_increasing",
            "entity_category": "diagnostic",
            "state_topic": topics.counters,
            "value_template": f"{{{{ value_json.{counter} }}}}",
            "expire_after": expire_after_s,
        }
        for counter, name in _COUNTERS.items()
    }
