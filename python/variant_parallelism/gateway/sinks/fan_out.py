"""A gateway's events to all of its sinks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.sinks.json_lines import JsonLinesSink
from variant_parallelism.gateway.sinks.mqtt import MqttSink
from variant_parallelism.gateway.sinks.prometheus import Metrics
from variant_parallelism.gateway.sinks.records import variants_of
from variant_parallelism.gateway.sinks.sink import Sink, SinkStatus
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.sinks.sqlite import SqliteSink
from variant_parallelism.gateway.types import Event, NodeChanged

FLUSH_S = 5.0
"""How long what is left may take at the end."""

log = logging.getLogger("variant_parallelism.gateway")


class Sinks:
    """The sinks of one gateway, while they are open."""

    def __init__(self, gateway: Gateway, sinks: list[Sink]) -> None:
        self._sinks = sinks
        self._metrics = Metrics(gateway, self.status)
        self._failed = False
        self._closed = False

    def status(self) -> list[SinkStatus]:
        """How each sink is doing."""
        return [sink.status() for sink in self._sinks]

    def render_metrics(self) -> tuple[bytes, str]:
        """What Prometheus is to read, and its content type. In the gateway's event loop."""
        return self._metrics.render()

    def listen(self, event: Event) -> None:
        """Hand an event on; never waits, never raises."""
        if self._closed:
            return
        try:
            record = Record(time.time(), event)
            for sink in self._sinks:
                sink.put(record)
            self._metrics.observe(event)
        except Exception:
            if not self._failed:
                log.exception("the sinks missed an event")
            self._failed = True

    async def close(self, limit_s: float) -> None:
        """Write what waits, all sinks at once, for at most `limit_s`."""
        self._closed = True
        await asyncio.gather(*(sink.stop(limit_s) for sink in self._sinks))


@asynccontextmanager
async def make_sinks(
    gateway: Gateway, fleet: Fleet, *, flush_s: float = FLUSH_S
) -> AsyncIterator[Sinks]:
    """Every event of an open gateway to the sinks of `[sinks]`, until the block ends.

    The nodes' states of this moment come first. What has not been written at the end is written
    for at most `flush_s`, in seconds, then given up and counted. VpError if a sink cannot be
    opened and waiting would not help.
    """
    made = _make(fleet)
    sinks = Sinks(gateway, made)
    refreshing: asyncio.Task[None] | None = None
    stop_listening: Callable[[], None] | None = None
    try:
        for sink in made:
            await sink.start()
        for node in gateway.nodes():
            if node.state != "unknown":
                sinks.listen(NodeChanged(node.id, node.state, node.reason))
        stop_listening = gateway.on_event(sinks.listen)
        mqtt = next((sink for sink in made if isinstance(sink, MqttSink)), None)
        if mqtt is not None:
            refreshing = asyncio.create_task(_refresh(gateway, mqtt))
        yield sinks
    finally:
        if stop_listening is not None:
            stop_listening()
        if refreshing is not None:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing
        await sinks.close(flush_s)


def _make(fleet: Fleet) -> list[Sink]:
    table, folder = fleet.table.sinks, fleet.path.parent
    variants = variants_of(fleet)
    sinks: list[Sink] = []
    if table.jsonl is not None:
        sinks.append(JsonLinesSink(table.jsonl, folder, variants))
    if table.sqlite is not None:
        sinks.append(SqliteSink(table.sqlite, folder, variants))
    if table.mqtt is not None:
        sinks.append(MqttSink(table.mqtt, folder, fleet))
    return sinks


async def _refresh(gateway: Gateway, mqtt: MqttSink) -> None:
    while True:
        mqtt.refresh(gateway.counters.as_dict(), gateway.nodes(), time.time())
        await asyncio.sleep(mqtt.refresh_s)
