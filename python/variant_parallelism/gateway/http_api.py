"""The gateway's local HTTP API: classify an image, look at nodes and counters."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import parse_endpoint
from variant_parallelism.gateway.report import answer_json, node_json
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.images import decode_image

Number = TypeVar("Number", int, float)

MAX_BODY = 16 * 1024 * 1024
"""Bytes of the largest image file that a request may carry."""


class _BodyTooLarge(Exception):
    pass


def make_app(gateway: Gateway) -> Starlette:
    """The API as an ASGI application. Errors are `{"error": one line}`."""

    async def classify(request: Request) -> JSONResponse:
        try:
            k = _number(request, "k", int)
            deadline_ms = _number(request, "deadline_ms", float)
            body = await _body(request)
            wanted = gateway.fleet.manifest.input
            image = await asyncio.to_thread(decode_image, body, wanted, "the body")
            answer = await gateway.classify(image, k=k, deadline_ms=deadline_ms)
        except _BodyTooLarge:
            return _error(413, f"the body exceeds {MAX_BODY} bytes")
        except VpError as error:
            return _error(400, str(error))
        if answer.class_index is None:
            return JSONResponse({"error": "no node answered", **answer_json(answer)}, 503)
        return JSONResponse(answer_json(answer))

    async def nodes(_: Request) -> JSONResponse:
        return JSONResponse(
            {
                "fleet": gateway.fleet.table.name,
                "nodes": [node_json(node) for node in gateway.nodes()],
            }
        )

    async def counters(_: Request) -> JSONResponse:
        return JSONResponse(gateway.counters.as_dict())

    async def failed(_: Request, error: Exception) -> JSONResponse:
        status = getattr(error, "status_code", 500)
        return _error(status, str(getattr(error, "detail", "internal error")))

    return Starlette(
        routes=[
            Route("/v1/classify", classify, methods=["POST"]),
            Route("/v1/nodes", nodes),
            Route("/v1/counters", counters),
        ],
        exception_handlers={404: failed, 405: failed, 500: failed},
    )


class HttpServer:
    """Serves the API on `host:port` until `stop`."""

    def __init__(self, gateway: Gateway, endpoint: str) -> None:
        """VpError if the address is not this machine's loopback, or taken."""
        self._socket = _listen(endpoint)
        self._app = make_app(gateway)
        config = uvicorn.Config(
            self._app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use (also when the endpoint had port 0)."""
        return int(self._socket.getsockname()[1])

    def start(self, render_metrics: Callable[[], tuple[bytes, str]] | None = None) -> None:
        """Serve from here on; `/metrics` is what `render_metrics` gives, with its content type."""

        async def metrics(_: Request) -> Response:
            assert render_metrics is not None
            body, content_type = render_metrics()
            return Response(body, headers={"Content-Type": content_type})

        if render_metrics is not None:
            self._app.router.routes.append(Route("/metrics", metrics))
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


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


def _number(request: Request, name: str, kind: Callable[[str], Number]) -> Number | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise VpError(f"{name}={text!r} is not a number") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise _BodyTooLarge
    return bytes(body)


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)
