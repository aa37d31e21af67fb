"""Events and state to an MQTT 5 broker.

Events go out with QoS 1, at most `_WINDOW` of them unacknowledged; those stay in paho's hands over
any number of connections, the others wait in the spool. State (who is up, counters, the discovery
message) is retained and told anew with every connection, so it need not be acknowledged: a broker
that forgot everything has it back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.sinks.homeassistant import (
    OFFLINE,
    ONLINE,
    Topics,
    discovery_config,
    left_over,
)
from variant_parallelism.gateway.sinks.records import encode, iso_time, record_json, variants_of
from variant_parallelism.gateway.sinks.sink import Sink, Trouble, log
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.types import Answered, NodeChanged, NodeStatus
from variant_parallelism.mqtt_client import make_client, properties, why_not_connected
from variant_parallelism.sinks_table import MqttTable

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_WINDOW = 20
"""Unacknowledged messages: Mosquitto's own default for a client."""
_KEEPALIVE_S = 30
_WILL_DELAY_S = 5
"""A connection that is back by then was never lost, as far as others can see."""
_LONGEST_RETRY_S = 60
_GOODBYE_S = 1.0
_PATIENCE_S = 0.2
"""How soon the thread notices that the end has come, or that state is due."""


class MqttSink(Sink):
    """One client of one broker, which reconnects for ever."""

    name = "mqtt"

    def __init__(self, table: MqttTable, folder: Path, fleet: Fleet) -> None:
        """`folder` is where the table's paths start."""
        super().__init__(table.queue)
        self._table = table
        self._folder = folder
        self._fleet = fleet
        self._ids = {node.id for node in fleet.nodes}
        self._place = table.place
        self._topics = Topics(table.topic or f"vp/{fleet.gateway_name}", table.discovery)
        self._config_topic = self._topics.config(fleet)
        self._config = discovery_config(fleet, self._topics, table.refresh_s, table.expire_after_s)
        self._variants = variants_of(fleet)
        self._nodes: dict[int, dict[str, Any]] = {}
        """By id, of the fleet's nodes: what is retained."""
        self._former: dict[str, Any] | None = None
        """The discovery message before a change of the fleet that the broker was not told yet."""
        self._counters: dict[str, int] = {}
        self._stale = False
        self._client: Client | None = None
        self._connected = False
        self._connections = 0
        self._acknowledged = threading.Condition()
        self._answers: dict[int, bool] = {}
        """Message ids that the broker acknowledged lately, and whether it took them."""
        self._window = _WINDOW
        self._refused = False

    # In the event loop.

    @property
    def refresh_s(self) -> int:
        """How often `refresh` is wanted."""
        return self._table.refresh_s

    def put(self, record: Record) -> None:
        event = record.event
        if isinstance(event, NodeChanged):
            self._keep(record.time, event.node, event.state, event.reason)
        super().put(record)

    def follow(self, fleet: Fleet) -> None:
        config = discovery_config(
            fleet, self._topics, self._table.refresh_s, self._table.expire_after_s
        )
        # Of nodes that go, there may still be something: their names stay.
        self._variants.update(variants_of(fleet))
        self._fleet = fleet
        self._ids = {node.id for node in fleet.nodes}
        for gone in self._nodes.keys() - self._ids:
            del self._nodes[gone]
        if config != self._config:
            former = self._former or self._config
            self._config, self._former = config, former

    def _keep(self, seconds: float, node: int, state: str, reason: str) -> None:
        if node in self._ids:
            self._nodes[node] = {
                "time": iso_time(seconds),
                "node": node,
                "variant": self._variants[node],
                "state": state,
                "reason": reason,
            }

    def refresh(self, counters: dict[str, int], nodes: Sequence[NodeStatus], now: float) -> None:
        """Publish the state of everything, soon; `now` is in seconds since 1970, UTC."""
        self._counters = counters
        for node in nodes:
            self._keep(now, node.id, node.state, node.reason)
        self._stale = True

    # In the sink's thread.

    def open(self) -> None:
        self._client = self._make_client()
        self._client.loop_start()

    def write(self, batch: list[Record]) -> None:
        client = self._opened_client()
        following = iter(batch)
        outstanding: set[int] = set()
        again: set[int] = set()
        connection = self._connections
        left = len(batch)
        ends: float | None = None
        while left and not self.spool.abandoned:
            if connection != self._connections:
                # paho sends these once more: what is newer comes after them.
                connection, again = self._connections, set(outstanding)
            again &= outstanding
            may_go = self._connected and not again and not self.spool.leaving
            room = self._window - len(outstanding) if may_go else 0
            for record in islice(following, max(0, room)):
                outstanding.add(self._publish(client, record))
            for message, taken in self._wait_for_acknowledgements().items():
                if message in outstanding:
                    outstanding.remove(message)
                    left -= 1
                    self._acknowledge(taken)
            self._publish_what_changed()
            if left and self.spool.leaving:
                # What was sent and is not acknowledged soon is sent again by the next sink.
                ends = ends or time.monotonic() + _GOODBYE_S
                if not outstanding or not self._connected or time.monotonic() > ends:
                    raise Trouble(f"{self._place} has not acknowledged all")

    def idle(self) -> None:
        self._publish_what_changed()

    def close(self) -> None:
        client = self._opened_client()
        if self._connected:
            # The will is for those who do not say goodbye.
            goodbye = client.publish(self._topics.status, OFFLINE, qos=1, retain=True)
            try:
                goodbye.wait_for_publish(_GOODBYE_S)
            except (RuntimeError, ValueError):
                log.warning("mqtt: %s went away before the end", self._place)
        client.disconnect()
        client.loop_stop()

    def _wait_for_acknowledgements(self) -> dict[int, bool]:
        """Those that came since the last time, of any message; sometimes none."""
        with self._acknowledged:
            if not self._answers:
                self._acknowledged.wait(_PATIENCE_S)
            answers, self._answers = self._answers, {}
        return answers

    def _acknowledge(self, taken: bool) -> None:
        self.settle(written=taken, refused=not taken)
        if not taken and not self._refused:
            log.warning("mqtt: %s refuses to take some events; see its access rules", self._place)
        self._refused = not taken

    def _opened_client(self) -> Client:
        assert self._client is not None
        return self._client

    def _publish(self, client: Client, record: Record) -> int:
        answered = isinstance(record.event, Answered)
        topic = self._topics.answer if answered else self._topics.event
        message = encode(record_json(record, self._variants))
        if isinstance(record.event, NodeChanged):
            self._publish_node(client, record.event.node)
        return client.publish(topic, message, qos=1).mid

    def _publish_node(self, client: Client, node: int) -> None:
        """Its state now: what it was meanwhile is told by the events."""
        state = self._nodes.get(node)
        if state is not None:
            client.publish(self._topics.node(node), encode(state), retain=True)

    def _publish_what_changed(self) -> None:
        if not self._connected:
            return
        client = self._opened_client()
        former, self._former = self._former, None
        if former is not None:
            self._publish_config(client)
            self._remove(client, left_over(encode(former), self._config))
        if self._stale:
            self._stale = False
            self._publish_state(client)

    def _publish_config(self, client: Client) -> None:
        if self._table.discovery:
            client.publish(self._config_topic, encode(self._config), retain=True)

    def _publish_state(self, client: Client) -> None:
        for node in list(self._nodes):
            self._publish_node(client, node)
        if self._counters:
            client.publish(self._topics.counters, encode(self._counters), retain=True)

    # In paho's thread.

    def _on_connect(
        self,
        client: Client,
        _: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        if reason.is_failure:
            self.failing(f"{self._place} refuses: {reason}")
            return
        limit = getattr(properties, "ReceiveMaximum", _WINDOW)
        self._window = min(_WINDOW, limit)
        self._connections += 1
        self._connected = True
        if self._table.discovery:
            # Its own discovery message as the broker kept it comes before the one sent next.
            client.subscribe(self._topics.hub_status, qos=1)
            client.subscribe(self._config_topic, options=SubscribeOptions(noLocal=True))
        self._announce(client)
        if self.trouble is None:
            log.info("mqtt: connected to %s", self._place)
        self.working()

    def _announce(self, client: Client) -> None:
        """Everything that is retained, and then that it holds."""
        self._publish_config(client)
        self._publish_state(client)
        client.publish(self._topics.status, ONLINE, retain=True)

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        if message.topic == self._topics.hub_status and message.payload == ONLINE.encode():
            self._announce(client)
        elif message.topic == self._config_topic and message.retain:
            self._remove(client, left_over(message.payload, self._config))

    def _remove(self, client: Client, entities: dict[str, Any]) -> None:
        """Entities of nodes that the fleet has no more."""
        if not entities:
            return
        components = self._config["components"] | entities
        if self._table.discovery:
            leaving = self._config | {"components": components}
            client.publish(self._config_topic, encode(leaving), retain=True)
        self._publish_config(client)
        for key in entities:
            topic = self._topics.entity(key)
            if topic is not None:
                client.publish(topic, b"", retain=True)

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        self.failing(f"cannot reach {self._place}: {why_not_connected()}")

    def _on_disconnect(
        self,
        client: Client,
        _: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        was_connected, self._connected = self._connected, False
        if was_connected and not self.spool.closing:
            self.failing(f"lost {self._place}: {reason}")

    def _on_publish(
        self, client: Client, _: Any, message: int, reason: ReasonCode, props: Properties
    ) -> None:
        with self._acknowledged:
            self._answers[message] = not reason.is_failure
            self._acknowledged.notify()

    def _make_client(self) -> Client:
        table, fleet = self._table, self._fleet
        client = make_client(
            table,
            self._folder,
            table.client_id or f"vp-{fleet.gateway_name}-{fleet.table.id}",
            "[sinks.mqtt]",
            longest_retry_s=_LONGEST_RETRY_S,
        )
        client.max_inflight_messages_set(_WINDOW)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        will = properties("WILLMESSAGE", WillDelayInterval=_WILL_DELAY_S)
        client.will_set(self._topics.status, OFFLINE, qos=1, retain=True, properties=will)
        session = properties("CONNECT", SessionExpiryInterval=table.session_expiry_s)
        client.connect_async(
            table.host, table.port_used, _KEEPALIVE_S, clean_start=False, properties=session
        )
        return client
