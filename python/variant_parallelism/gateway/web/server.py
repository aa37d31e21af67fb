"""Serves the application: the listening socket, and uvicorn on it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from variant_parallelism.api import HttpCounters
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, parse_endpoint, read_token
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.web.app import make_app
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.events import MAX_SUBSCRIBERS, EventHub
from variant_parallelism.gateway.web.history import History
from variant_parallelism.gateway.web.inputs import Inputs
from variant_parallelism.gateway.web.limits import Limits
from variant_parallelism.gateway.web.protocol import limited_protocol
from variant_parallelism.gateway.web.security import Access

_LONGEST_END_S = 10.0
_SPARE_CONNECTIONS = 128
"""Besides those with a request in flight and the subscribers' to events."""
_SEND_BUFFER = 128 * 1024
"""Bytes that the kernel may hold for a caller who does not read."""


class HttpServer:
    """Serves the API on `host:port` until `stop`."""

    def __init__(self, gateway: Gateway, endpoint: str) -> None:
        """VpError if the address is taken, or is not loopback and there is no token."""
        table = gateway.fleet.table
        host, _ = parse_endpoint(endpoint)
        access = Access(read_token(gateway.fleet), table.id, host)
        _check_reach(endpoint, access.token)
        self._socket = _listen(endpoint)
        counters = HttpCounters()
        limits = Limits(table.gateway.max_in_flight, table.gateway.max_body, counters)
        self._web = Web(
            gateway=gateway,
            counters=counters,
            limits=limits,
            access=access,
            hub=EventHub(gateway, counters),
            inputs=Inputs(gateway),
            history=History(gateway),
        )
        self.max_connections = 2 * limits.max_in_flight + MAX_SUBSCRIBERS + _SPARE_CONNECTIONS
        self.app = make_app(self._web)
        config = uvicorn.Config(
            self.app,
            http=limited_protocol(counters, self.max_connections),
            log_config=None,
            log_level="error",
            access_log=False,
            ws="none",
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=int(min(_LONGEST_END_S, 2 + table.deadline_ms / 1000)),
        )
        self._server = _Server(config)
        self._endpoint = endpoint
        self._running = ExitStack()
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use (also when the endpoint had port 0)."""
        return int(self._socket.getsockname()[1])

    @property
    def counters(self) -> HttpCounters:
        """Of this API's requests and connections."""
        return self._web.counters

    def start(
        self, render_metrics: Callable[[], Awaitable[tuple[bytes, str]]] | None = None
    ) -> None:
        """Serve from here on; `/metrics` is what `render_metrics` gives, with its content type."""
        self._web.metrics = render_metrics
        self._web.hub.start()
        self._running.callback(self._web.hub.close)
        self._web.inputs.start()
        self._running.callback(self._web.inputs.close)
        self._running.enter_context(self._web.history)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    def prepare(self, fleet: Fleet) -> Callable[[], None]:
        """What goes on with the token and the limits of a fleet file that was read again.

        VpError if its token is unfit or missing; another address needs a new server.
        """
        token = read_token(fleet)
        _check_reach(self._endpoint, token)

        def go_on() -> None:
            if token != self._web.access.token:
                self._web.access.token = token
                self._web.hub.end_streams()
            self._web.limits.max_in_flight = fleet.table.gateway.max_in_flight
            self._web.limits.max_body = fleet.table.gateway.max_body

        return go_on

    async def stop(self) -> None:
        """Take no more requests; those in flight are answered within a few seconds."""
        self._web.stopping = True
        self._web.limits.stop()
        self._running.close()
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()
        self._web.decoders.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the program's business, not the server's."""
        yield


def _check_reach(endpoint: str, token: str | None) -> None:
    """VpError if others than this machine could call without a token."""
    host, _ = parse_endpoint(endpoint)
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and token is None:
        raise VpError(
            f"[gateway] http = {endpoint!r} is not a loopback address, so its callers need a "
            "token: set [gateway] token_file (make one with `openssl rand -hex 32`), or use "
            "127.0.0.1 to serve this machine only"
        )


def _listen(endpoint: str) -> socket.socket:
    host, port = parse_endpoint(endpoint)
    # Not looked up: the name may have an IPv6 address, too.
    host = "127.0.0.1" if host == "localhost" else host
    listening = None
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio turns off Nagle's algorithm only where the protocol is named: without that, the
        # last part of a reply waits 40 ms.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        if listening is not None:
            listening.close()
        if error.errno == errno.EADDRINUSE:
            why = "another program uses this port (a gateway that already runs?)"
        else:
            why = error.strerror or str(error)
        raise VpError(f"cannot listen on {endpoint}: {why}; see [gateway] http") from None
    listening.setblocking(False)
    return listening
