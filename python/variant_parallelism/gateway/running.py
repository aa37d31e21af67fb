"""`vp gateway` as a process: its log, its signals, systemd, and what SIGHUP reloads."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import termios
from pathlib import Path

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.event_log import start_log
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.sinks import make_sinks
from variant_parallelism.gateway.systemd import Notifier, keep_notified, status_line
from variant_parallelism.gateway.web import HttpServer
from variant_parallelism.workers.spread import make_spread

DRAIN_S = 5.0
"""How long requests in flight may take at the end."""

log = logging.getLogger("variant_parallelism.gateway")


async def run_gateway(fleet: Fleet, state_dir: Path | None = None, as_json: bool = False) -> None:
    """Run a fleet's gateway and its HTTP API until SIGINT or SIGTERM; a second one ends it at once.

    Writes one line an event to standard output, for people or as JSON: `starting` first, `serving`
    when it is ready, `stopped` at the end. VpError if it cannot start.
    """
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
                    log.warning("the fleet file is read at the start only: restart to apply it")
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


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
