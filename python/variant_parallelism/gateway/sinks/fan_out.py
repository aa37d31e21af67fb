"""A gateway's events to all of its sinks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.sinks.json_lines import JsonLinesSink
from variant_parallelism.gateway.sinks.mqtt import MqttSink
from variant_parallelism.gateway.sinks.prometheus import Metrics
from variant_parallelism.gateway.sinks.records import variants_of
from variant_parallelism.gateway.sinks.sink import Sink, SinkStatus
from variant_parallelism.gateway.sinks.spool import Backlog, Record
from variant_parallelism.gateway.sinks.sqlite import SqliteSink
from variant_parallelism.gateway.types import Event, NodeChanged

FLUSH_S = 5.0
"""How long what is left may take at the end."""
_REFRESH_S = 1.0
"""How soon a new broker is told the state of everything."""
_BACKLOG = 10_000
"""Events that wait, at least, while a sink gives way to another."""
_TABLES = (JsonLinesSink.name, SqliteSink.name, MqttSink.name)

log = logging.getLogger("variant_parallelism.gateway")


class Sinks:
    """The sinks of one gateway, while they are open."""

    def __init__(self, gateway: Gateway, fleet: Fleet, sinks: Iterable[Sink] = ()) -> None:
        """`sinks` are open already; those of the fleet come with `open`."""
        self._gateway = gateway
        self._fleet = fleet
        self._variants = variants_of(fleet)
        self._sinks = {sink.name: sink for sink in sinks}
        self._backlogs: dict[str, Backlog] = {}
        """By name: what a sink that is to come will begin with."""
        self._metrics = Metrics(gateway, self.status)
        self._failed = False
        self._closed = False

    def status(self) -> list[SinkStatus]:
        """How each sink is doing."""
        return [sink.status() for sink in self._sinks.values()]

    async def render_metrics(self) -> tuple[bytes, str]:
        """What Prometheus is to read, and its content type."""
        return await self._metrics.render()

    def listen(self, event: Event) -> None:
        """Hand an event on; never waits, never raises."""
        if self._closed:
            return
        try:
            record = Record(time.time(), event)
            for backlog in self._backlogs.values():
                backlog.put(record)
            for name, sink in self._sinks.items():
                if name not in self._backlogs:
                    sink.put(record)
            self._metrics.observe(event)
        except Exception:
            if not self._failed:
                log.exception("the sinks missed an event")
            self._failed = True

    def refresh(self) -> float:
        """Have the broker told the state of everything; in how many seconds to do so again."""
        mqtt = self._sinks.get(MqttSink.name)
        if not isinstance(mqtt, MqttSink):
            return _REFRESH_S
        mqtt.refresh(self._gateway.counters.as_dict(), self._gateway.nodes(), time.time())
        return mqtt.refresh_s

    async def open(self) -> None:
        """Open every sink; VpError if one cannot be, and waiting would not help."""
        for name in _TABLES:
            await self._start(name, self._fleet)

    async def reload(self, fleet: Fleet) -> list[str]:
        """Change to the sinks of `fleet`; the names of those that were opened, closed or changed.

        The others go on. One that takes another's place begins with what that had not written, and
        with its counts. VpError if one cannot be opened; then all are as they were.
        """
        old = self._fleet
        changed = [
            name
            for name in _TABLES
            if _table(name, old) != _table(name, fleet) or name in self._backlogs
        ]
        # Those that only end come last: nothing can go wrong with them.
        changed.sort(key=lambda name: _table(name, fleet) is None)
        for node in fleet.nodes:
            self._variants.setdefault(node.id, node.variant)
        done: list[str] = []
        try:
            for name in changed:
                done.append(name)
                await self._replace(name, fleet)
        except VpError:
            self._variants.update({node.id: node.variant for node in old.nodes})
            for name in done:
                with contextlib.suppress(VpError):
                    await self._replace(name, old)
            raise
        self._fleet = fleet
        self._variants.update({node.id: node.variant for node in fleet.nodes})
        for name, sink in self._sinks.items():
            if name not in changed:
                sink.follow(fleet)
        return changed

    async def close(self, limit_s: float) -> None:
        """Write what waits, all sinks at once, for at most `limit_s`."""
        self._closed = True
        await asyncio.gather(*(sink.stop(limit_s) for sink in self._sinks.values()))

    async def _replace(self, name: str, fleet: Fleet) -> None:
        """Both may want the same file or client id, so the old sink ends before the new begins."""
        if _table(name, fleet) is None:
            if name in self._sinks:
                await self._sinks[name].stop(FLUSH_S)
                del self._sinks[name]
            self._backlogs.pop(name, None)
            return
        # Kept where the new sink cannot be opened: for the old one, or the next.
        backlog = self._backlogs.setdefault(name, Backlog(_BACKLOG))
        if name in self._sinks:
            backlog.follow(await self._sinks[name].hand_over(FLUSH_S))
            del self._sinks[name]
        await self._start(name, fleet)

    async def _start(self, name: str, fleet: Fleet) -> None:
        """Open a sink, if the fleet has it; it begins with what waits for it and what holds now."""
        sink = _make(name, fleet, self._variants)
        if sink is None:
            return
        try:
            await sink.start()
        except BaseException:
            await sink.stop(0.0)
            raise
        if name in self._backlogs:
            sink.adopt(self._backlogs.pop(name))
        for node in self._gateway.nodes():
            if node.state != "unknown":
                sink.put(Record(time.time(), NodeChanged(node.id, node.state, node.reason)))
        self._sinks[name] = sink


@asynccontextmanager
async def make_sinks(
    gateway: Gateway, fleet: Fleet, *, flush_s: float = FLUSH_S
) -> AsyncIterator[Sinks]:
    """Every event of an open gateway to the sinks of `[sinks]`, until the block ends.

    The nodes' states of this moment come first. What has not been written at the end is written
    for at most `flush_s`, in seconds, then given up and counted. VpError if a sink cannot be
    opened and waiting would not help.
    """
    sinks = Sinks(gateway, fleet)
    refreshing: asyncio.Task[None] | None = None
    stop_listening: Callable[[], None] | None = None
    try:
        await sinks.open()
        stop_listening = gateway.on_event(sinks.listen)
        refreshing = asyncio.create_task(_refresh(sinks))
        yield sinks
    finally:
        if stop_listening is not None:
            stop_listening()
        if refreshing is not None:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing
        await sinks.close(flush_s)


def _make(name: str, fleet: Fleet, variants: dict[int, str]) -> Sink | None:
    table, folder = fleet.table.sinks, fleet.path.parent
    if name == JsonLinesSink.name and table.jsonl is not None:
        return JsonLinesSink(table.jsonl, folder, variants)
    if name == SqliteSink.name and table.sqlite is not None:
        return SqliteSink(table.sqlite, folder, variants)
    if name == MqttSink.name and table.mqtt is not None:
        return MqttSink(table.mqtt, folder, fleet)
    return None


def _table(name: str, fleet: Fleet) -> object:
    """What a sink is made of, None for none: a change of it needs another sink."""
    return getattr(fleet.table.sinks, name)


async def _refresh(sinks: Sinks) -> None:
    while True:
        await asyncio.sleep(sinks.refresh())
