"""Serves the application: the listening socket, and uvicorn on it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from variant_parallelism.api import HttpCounters
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import parse_endpoint
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.web.app import make_app
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.limits import Limits

_LONGEST_END_S = 10.0


class HttpServer:
    """Serves the API on `host:port` until `stop`."""

    def __init__(self, gateway: Gateway, endpoint: str) -> None:
        """VpError if the address is not this machine's loopback, or taken."""
        table = gateway.fleet.table
        self._socket = _listen(endpoint)
        counters = HttpCounters()
        limits = Limits(table.gateway.max_in_flight, table.gateway.max_body, counters)
        self._web = Web(gateway, counters, limits)
        config = uvicorn.Config(
            make_app(self._web),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(min(_LONGEST_END_S, 2 + table.deadline_ms / 1000)),
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use (also when the endpoint had port 0)."""
        return int(self._socket.getsockname()[1])

    def start(self, render_metrics: Callable[[], tuple[bytes, str]] | None = None) -> None:
        """Serve from here on; `/metrics` is what `render_metrics` gives, with its content type."""
        self._web.metrics = render_metrics
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Take no more requests; those in flight are answered within a few seconds."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()
        self._web.decoders.shutdown(wait=False, cancel_futures=True)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the program's business, not the server's."""
        yield


def _listen(endpoint: str) -> socket.socket:
    host, port = parse_endpoint(endpoint)
    loopback = "127.0.0.1" if host == "localhost" else host
    try:
        local = ipaddress.ip_address(loopback).is_loopback
    except ValueError:
        local = False
    if not local:
        raise VpError(
            f"[gateway] http = {endpoint!r} is not a loopback address: the API has no access "
            "control, so it serves this machine only; use 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in loopback else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((loopback, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            why = "another program uses this port (a gateway that already runs?)"
        else:
            why = error.strerror or str(error)
        raise VpError(f"cannot listen on {endpoint}: {why}; see [gateway] http") from None
    listening.setblocking(False)
    return listening
