"""`vp gateway` as a process: its log, its signals, systemd, and what SIGHUP reloads."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import termios
from pathlib import Path

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, load_fleet
from variant_parallelism.gateway.event_log import start_log
from variant_parallelism.gateway.reloading import check_reload
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.sinks import Sinks, make_sinks
from variant_parallelism.gateway.systemd import Notifier, keep_notified, status_line
from variant_parallelism.gateway.texts import in_thread
from variant_parallelism.gateway.web import HttpServer
from variant_parallelism.workers.spread import make_spread

DRAIN_S = 5.0
"""How long requests in flight may take at the end."""

_TURN_S = 0.0005

log = logging.getLogger("variant_parallelism.gateway")


async def run_gateway(fleet: Fleet, state_dir: Path | None = None, as_json: bool = False) -> None:
    """Run a fleet's gateway and its HTTP API until SIGINT or SIGTERM; a second one ends it at once.

    Writes one line an event to standard output, for people or as JSON: `starting` first, `serving`
    when it is ready, `reloaded` or `not reloaded` after SIGHUP, for which the fleet file is read
    again, `stopped` at the end. VpError if it cannot start.
    """
    # Threads that encode for others hold the interpreter for as long as this, 5 ms by default.
    sys.setswitchinterval(_TURN_S)
    variants = {node.id: node.variant for node in fleet.nodes}
    lines = start_log(as_json, variants)
    notifier = Notifier()
    try:
        gateway = Gateway(fleet, state_dir=state_dir)
        gateway.on_event(lines.tell)
        server = HttpServer(gateway, fleet.table.gateway.http)
        name, nodes = fleet.table.name, len(fleet.nodes)
        starting = {"event": "starting", "fleet": name, "nodes": nodes}
        log.info("fleet %s: %s", name, _counted(nodes, "node"), extra={"fields": starting})
        signals = _Signals()
        async with (
            gateway,
            make_sinks(gateway, fleet) as sinks,
            make_spread(gateway, fleet),
        ):
            server.start(sinks.render_metrics)
            http = fleet.table.gateway.http
            serving = {"event": "serving", "fleet": name, "http": http}
            log.info("serving http://%s/v1/", http, extra={"fields": serving})
            notifier.status(status_line(gateway, 0.0))
            notifier.ready()
            telling = asyncio.create_task(keep_notified(notifier, gateway))
            try:
                while await signals.next() == signal.SIGHUP:
                    notifier.reloading()
                    await _reload(gateway, sinks, server, variants)
                    notifier.ready()
                notifier.stopping()
                await asyncio.gather(gateway.drain(DRAIN_S), server.stop())
            finally:
                telling.cancel()
        counts = gateway.counters
        log.info(
            "stopped: %s, %d answered",
            _counted(counts.requests, "request"),
            counts.answers,
            extra={"fields": {"event": "stopped", "counters": counts.as_dict()}},
        )
    finally:
        notifier.close()
        lines.close()


class _Signals:
    """SIGHUP, SIGINT and SIGTERM, one after the other."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._terminals = [file for file in range(3) if os.isatty(file)]
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._end, number)

    async def next(self) -> signal.Signals:
        return await self._came.get()

    def _end(self, number: signal.Signals) -> None:
        self._came.put_nowait(number)
        # From here on they do what they do to any program.
        for other in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(other)
            signal.signal(other, signal.SIG_DFL)

    def _hang_up(self) -> None:
        """A terminal that was closed sends the same signal as whoever wants a reload."""
        gone = self._terminals and not any(_is_there(file) for file in self._terminals)
        if gone:
            self._came.put_nowait(signal.SIGTERM)
        elif self._came.empty():
            self._came.put_nowait(signal.SIGHUP)


def _is_there(terminal: int) -> bool:
    try:
        termios.tcgetattr(terminal)
    except termios.error:
        return False
    return True


async def _reload(
    gateway: Gateway, sinks: Sinks, server: HttpServer, variants: dict[int, str]
) -> None:
    """Apply the fleet file as it is now; if that cannot be, nothing changes and a line says why."""
    path = gateway.fleet.path
    try:
        fleet = await in_thread(load_fleet, path)
        # Names of new nodes are wanted by then; of nodes that go, there may still be something.
        for node in fleet.nodes:
            variants.setdefault(node.id, node.variant)
        told = await apply(fleet, gateway, sinks, server)
        variants.update((node.id, node.variant) for node in fleet.nodes)
    except VpError as error:
        event = {"event": "not reloaded", "text": str(error)}
        log.error("not reloaded, the old settings stay: %s", error, extra={"fields": event})
        return
    log.info("reloaded %s: %s", path, told, extra={"fields": {"event": "reloaded", "text": told}})


async def apply(fleet: Fleet, gateway: Gateway, sinks: Sinks, server: HttpServer) -> str:
    """Go on by another version of the fleet file; what changed. VpError if that cannot be, and
    then all is as it was."""
    old = gateway.fleet
    check_reload(old, fleet)
    go_on = server.prepare(fleet)
    changed = await sinks.reload(fleet)
    try:
        nodes = await gateway.reload(fleet)
    except VpError:
        await sinks.reload(old)
        raise
    go_on()
    settings = [
        name
        for name in type(fleet.table).model_fields
        if name not in ("nodes", "sinks") and getattr(old.table, name) != getattr(fleet.table, name)
    ]
    return "; ".join(
        (
            str(nodes),
            *([f"sinks: {', '.join(changed)}"] if changed else ()),
            *([f"settings: {', '.join(settings)}"] if settings else ()),
        )
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
