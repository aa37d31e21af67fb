"""Events and state to an MQTT 5 broker.

Events go out with QoS 1, at most `_WINDOW` of them unacknowledged; those stay in paho's hands over
any number of connections, the others wait in the spool. State (who is up, counters, the discovery
message) is retained and told anew with every connection, so it need not be acknowledged: a broker
that forgot everything has it back.
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.sinks.homeassistant import (
    OFFLINE,
    ONLINE,
    Topics,
    discovery_config,
)
from variant_parallelism.gateway.sinks.records import encode, iso_time, record_json
from variant_parallelism.gateway.sinks.sink import Sink, log
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.types import Answered, NodeChanged, NodeStatus
from variant_parallelism.secret_file import read_secret
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


class MqttSink(Sink):
    """One client of one broker, which reconnects for ever."""

    name = "mqtt"
    batch = _WINDOW

    def __init__(self, table: MqttTable, folder: Path, fleet: Fleet) -> None:
        """`folder` is where the table's paths start."""
        super().__init__(table.queue)
        self._table = table
        self._folder = folder
        self._fleet = fleet
        self._place = f"{table.host}:{table.port_used}"
        self._topics = Topics(table.topic or f"vp/{fleet.table.name}", table.discovery)
        self._config = encode(
            discovery_config(fleet, self._topics, table.refresh_s, table.expire_after_s)
        )
        self._variants = {node.id: node.variant for node in fleet.nodes}
        self._nodes: dict[int, dict[str, Any]] = {}
        self._counters: dict[str, int] = {}
        self._stale = False
        self._client: Client | None = None
        self._connected = False
        self._acknowledged = threading.Condition()
        self._answers: dict[int, bool] = {}
        """Message ids that the broker acknowledged lately, and whether it took them."""

    # In the event loop.

    @property
    def refresh_s(self) -> int:
        """How often `refresh` is wanted."""
        return self._table.refresh_s

    def put(self, record: Record) -> None:
        event = record.event
        if isinstance(event, NodeChanged):
            self._nodes[event.node] = {
                "time": iso_time(record.time),
                "node": event.node,
                "variant": self._variants[event.node],
                "state": event.state,
                "reason": event.reason,
            }
        super().put(record)

    def refresh(self, counters: dict[str, int], nodes: Sequence[NodeStatus], now: float) -> None:
        """Publish the state of everything, soon; `now` is in seconds since 1970, UTC."""
        self._counters = counters
        for node in nodes:
            self._nodes[node.id] = {
                "time": iso_time(now),
                "node": node.id,
                "variant": node.variant,
                "state": node.state,
                "reason": node.reason,
            }
        self._stale = True

    # In the sink's thread.

    def open(self) -> None:
        self._client = self._make_client()
        self._client.loop_start()

    def write(self, batch: list[Record]) -> int:
        client = self._opened_client()
        waiting = {self._publish(client, record) for record in batch}
        with self._acknowledged:
            while not (self.spool.abandoned or waiting <= self._answers.keys()):
                self._acknowledged.wait(0.2)
                self._publish_state_if_stale()
            refused = sum(not self._answers.get(message, True) for message in waiting)
            self._answers.clear()
        if refused:
            log.warning("mqtt: %s refused %d events", self._place, refused)
        return refused

    def idle(self) -> None:
        self._publish_state_if_stale()

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
        client.publish(self._topics.node(node), encode(self._nodes[node]), retain=True)

    def _publish_state_if_stale(self) -> None:
        if self._stale and self._connected:
            self._stale = False
            self._publish_state(self._opened_client())

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
        if reason.is_failure:
            self.failing(f"{self._place} refuses: {reason}")
            return
        self._connected = True
        if self._table.discovery:
            client.subscribe(self._topics.hub_status, qos=1)
        self._announce(client)
        if self.trouble is None:
            log.info("mqtt: connected to %s", self._place)
        self.working()

    def _announce(self, client: Client) -> None:
        """Everything that is retained, and then that it holds."""
        if self._table.discovery:
            client.publish(self._topics.config(self._fleet), self._config, retain=True)
        self._publish_state(client)
        client.publish(self._topics.status, ONLINE, retain=True)

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        if message.topic == self._topics.hub_status and message.payload == ONLINE.encode():
            self._announce(client)

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        # paho calls this where it caught the error, and does not pass it on.
        error = sys.exc_info()[1]
        why = getattr(error, "strerror", None) or str(error)
        self.failing(f"cannot reach {self._place}: {why}")

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
        try:
            from paho.mqtt.client import Client, MQTTv5
            from paho.mqtt.enums import CallbackAPIVersion
            from paho.mqtt.packettypes import PacketTypes
            from paho.mqtt.properties import Properties
        except ImportError:
            raise VpError(
                "[sinks.mqtt] needs paho-mqtt: run pip install 'variant-parallelism[mqtt]'"
            ) from None
        table, fleet = self._table, self._fleet.table
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=table.client_id or f"vp-{fleet.name}-{fleet.id}",
            protocol=MQTTv5,
        )
        if table.username is not None:
            client.username_pw_set(table.username, self._password())
        if table.tls:
            client.tls_set_context(self._tls())
        # A mistake in a callback would end paho's thread.
        client.suppress_exceptions = True
        client.enable_logger(log.getChild("mqtt"))
        client.max_inflight_messages_set(_WINDOW)
        client.reconnect_delay_set(1, _LONGEST_RETRY_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        will = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
        will.WillDelayInterval = _WILL_DELAY_S
        client.will_set(self._topics.status, OFFLINE, qos=1, retain=True, properties=will)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = table.session_expiry_s
        client.connect_async(
            table.host, table.port_used, _KEEPALIVE_S, clean_start=False, properties=session
        )
        return client

    def _password(self) -> str | None:
        if self._table.password_file is None:
            return None
        path = self._folder / self._table.password_file
        password = read_secret(path, "password file")
        if not password:
            raise VpError(f"password file {path} holds no password in ASCII")
        return password

    def _tls(self) -> ssl.SSLContext:
        file = self._table.ca_file
        path = None if file is None else self._folder / file
        try:
            return ssl.create_default_context(cafile=path)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise VpError(f"cannot use {path}: {why}; see [sinks.mqtt] ca_file") from None
