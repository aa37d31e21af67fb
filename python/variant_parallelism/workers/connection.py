"""A connection to the broker for a program that lives in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variant_parallelism.fleet import Fleet
from variant_parallelism.mqtt_client import make_client, properties, why_not_connected
from variant_parallelism.workers.messages import MAX_MESSAGE
from variant_parallelism.workers.seal import PROPERTY, Seal
from variant_parallelism.workers_table import WorkersTable

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

_LONGEST_RETRY_S = 8
_WINDOW = 20
"""Unacknowledged messages: Mosquitto's own default for a client."""
_QUEUED = 10_000
"""Messages that may wait while the broker acknowledges none."""
_ENVELOPE = 4096
"""Bytes of a packet beside its message: topic and properties."""
_GOODBYE_S = 1.0
_SHORT_S = 5.0
_MOST_SHORT = 3
"""Connections in a row that lasted for less than `_SHORT_S`: somebody else has the same name."""

log = logging.getLogger("variant_parallelism.gateway")


@dataclass(frozen=True, slots=True)
class Retained:
    """A message that the broker keeps, and forgets when it was not said again."""

    topic: str
    payload: bytes


class Handler:
    """Who uses a connection. Everything is called in the event loop."""

    def on_up(self) -> None:
        """Connected: nothing is subscribed yet."""

    def on_down(self) -> None:
        """The connection is lost; it will be made again."""

    def on_message(self, topic: str, payload: bytes) -> None:
        """A genuine message came."""

    def on_forged(self) -> None:
        """A message came without the right tag."""


class Connection:
    """One client of the broker, which reconnects for ever."""

    def __init__(
        self,
        fleet: Fleet,
        table: WorkersTable,
        client_id: str,
        handler: Handler,
        *,
        will: Retained | None = None,
        session_s: int = 0,
    ) -> None:
        """`will` is what the broker says when it loses this client; it keeps subscriptions and what
        came for them for `session_s`. VpError if a file that the table names is no good."""
        self.is_up = False
        self.dropped = 0
        """Messages given up, since the broker acknowledged none for too long."""
        self._table = table
        self._handler = handler
        self._seal = Seal(fleet.key)
        self._expiry_s = math.ceil(table.away_s) + 1
        self._session_s = session_s
        self._loop = asyncio.get_running_loop()
        self._subscribed: dict[int, Callable[[], None]] = {}
        self.trouble: str | None = f"not connected to {table.place} yet"
        """Why it does not work now."""
        self._told = False
        self._up_at = 0.0
        self._short = 0
        """Connections that did not last, one after the other."""
        self._closing = False
        self._client = self._make(fleet.path.parent, client_id, will)

    def start(self) -> None:
        self._client.connect_async(
            self._table.host,
            self._table.port_used,
            self._table.keepalive_s,
            clean_start=self._session_s == 0,
            properties=properties(
                "CONNECT",
                SessionExpiryInterval=self._session_s,
                MaximumPacketSize=MAX_MESSAGE + _ENVELOPE,
            ),
        )
        self._client.loop_start()

    async def stop(self, goodbye: Retained | None = None) -> None:
        """Say goodbye, if connected, and end; waits a second or two at most."""
        self._closing = True
        ended = asyncio.Event()

        def end() -> None:
            if goodbye is not None and self.is_up:
                with contextlib.suppress(RuntimeError, ValueError):
                    self._say(goodbye).wait_for_publish(_GOODBYE_S)
            self._client.disconnect()
            self._client.loop_stop()
            with contextlib.suppress(RuntimeError):  # The loop has gone.
                self._loop.call_soon_threadsafe(ended.set)

        # A daemon of its own: a broker that hangs does not hold up the end of the program.
        threading.Thread(target=end, name="mqtt-goodbye", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * _GOODBYE_S):
                await ended.wait()
        self.is_up = False

    def subscribe(
        self,
        topics: Sequence[str],
        then: Callable[[], None] = lambda: None,
        *,
        own: bool = True,
    ) -> None:
        """Hear these topics; `then` is called once the broker has agreed. `own`: also what this
        client publishes there."""
        from paho.mqtt.subscribeoptions import SubscribeOptions

        if not topics:
            then()
            return
        options = SubscribeOptions(qos=1, noLocal=not own)
        _, number = self._client.subscribe([(topic, options) for topic in topics])
        if number is not None:
            self._subscribed[number] = then

    def unsubscribe(self, topics: Sequence[str]) -> None:
        if topics:
            self._client.unsubscribe(list(topics))

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        """Send a message, if connected: whether it is on its way. The broker gives it up after
        `expiry_s`. What exceeds `MAX_MESSAGE` is not sent."""
        if not self.is_up or len(payload) > MAX_MESSAGE:
            return False
        extra = {} if expiry_s is None else {"MessageExpiryInterval": expiry_s}
        info = self._client.publish(
            topic, payload, qos=1, properties=self._properties("PUBLISH", topic, payload, **extra)
        )
        if info.rc != 0:
            self.dropped += 1
        return info.rc == 0

    def retain(self, message: Retained) -> None:
        """Say something that the broker keeps for as long as it is said again and again."""
        if self.is_up:
            self._say(message)

    def _say(self, message: Retained) -> Any:
        return self._client.publish(
            message.topic,
            message.payload,
            qos=1,
            retain=True,
            properties=self._expiring("PUBLISH", message),
        )

    def _expiring(self, packet: str, message: Retained) -> Any:
        return self._properties(
            packet, message.topic, message.payload, MessageExpiryInterval=self._expiry_s
        )

    def _properties(self, packet: str, topic: str, payload: bytes, **more: Any) -> Any:
        tag = self._seal.tag(topic, payload)
        return properties(packet, **({"UserProperty": (PROPERTY, tag)} if tag else {}), **more)

    # In the event loop, told by paho's thread.

    def _up(self) -> None:
        self.is_up = True
        self._up_at = self._loop.time()
        if self._short < _MOST_SHORT:
            log.info("workers: connected to %s", self._table.place)
        self.trouble = None
        self._handler.on_up()

    def _down(self, why: str) -> None:
        was_up, self.is_up = self.is_up, False
        self._subscribed.clear()
        if was_up:
            self._handler.on_down()
            lasted = self._loop.time() - self._up_at >= _SHORT_S
            self._short = 0 if lasted else self._short + 1
            self._told = not lasted and self._told
        if self._short == _MOST_SHORT:
            self._told = False
            why += (
                f", again and again: if another gateway calls itself {self._table.gateway!r}, too, "
                "give each its own [workers] gateway"
            )
        if not self._closing:
            self._fail(why)

    def _fail(self, why: str) -> None:
        """Say once what is wrong, until it works again."""
        if not self._told:
            log.warning("workers: %s; trying again", why)
        self._told = True
        self.trouble = why

    def _agreed(self, number: int, refused: bool) -> None:
        then = self._subscribed.pop(number, None)
        if refused:
            self._fail(f"{self._table.place} forbids topics that are needed: see its access rules")
        elif then is not None:
            then()

    def _came(self, topic: str, payload: bytes, tag: str | None) -> None:
        if self._seal.is_genuine(topic, payload, tag):
            self._handler.on_message(topic, payload)
        else:
            self._handler.on_forged()

    # In paho's thread.

    def _make(self, folder: Path, client_id: str, will: Retained | None) -> Client:
        table, place = self._table, self._table.place
        client = make_client(
            table, folder, client_id, "[workers]", longest_retry_s=_LONGEST_RETRY_S
        )

        def tell(function: Callable[..., None], *values: Any) -> None:
            with contextlib.suppress(RuntimeError):  # The loop has gone.
                self._loop.call_soon_threadsafe(function, *values)

        def on_connect(_: Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
            if reason.is_failure:
                tell(self._fail, f"{place} refuses: {reason}")
            else:
                tell(self._up)

        def on_disconnect(_: Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
            tell(self._down, f"lost {place}: {reason}")

        def on_message(_: Client, __: Any, message: MQTTMessage) -> None:
            user = getattr(message.properties, "UserProperty", [])
            tag = next((value for name, value in user if name == PROPERTY), None)
            tell(self._came, message.topic, bytes(message.payload), tag)

        client.on_connect = on_connect
        client.on_connect_fail = lambda *_: tell(
            self._fail, f"cannot reach {place}: {why_not_connected()}"
        )
        client.on_disconnect = on_disconnect
        client.on_message = on_message
        client.on_publish = _confirm_at_once
        client.on_subscribe = lambda _, __, number, reasons, ___: tell(
            self._agreed, number, any(reason.is_failure for reason in reasons)
        )
        client.max_inflight_messages_set(_WINDOW)
        client.max_queued_messages_set(_QUEUED)
        if will is not None:
            client.will_set(
                will.topic,
                will.payload,
                qos=1,
                retain=True,
                properties=self._expiring("WILLMESSAGE", will),
            )
        return client


def _confirm_at_once(client: Client, *_: Any) -> None:
    """A broker that does not set TCP_NODELAY (Mosquitto, unless told to) holds its next message
    back until its acknowledgement of ours is confirmed, which the system would do 40 ms late."""
    opened: Any = client.socket()
    if opened is not None and hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
