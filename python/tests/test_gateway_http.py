"""The gateway's HTTP API over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib import error, request

import numpy as np
import pytest
from PIL import Image

from fleet_factory import make_fleet, make_image
from served_gateway import NODES, Served, serve
from simulated_fleet import entries_of
from variant_parallelism.client import Client, find_gateway
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import GatewayTable
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.web import HttpServer

MAX_BODY = GatewayTable().max_body


def call(
    port: int, path: str, body: bytes | None = None, method: str | None = None
) -> tuple[int, Any]:
    """Status and JSON of a request; run it in a thread, the server is in this process."""
    asking = request.Request(f"http://127.0.0.1:{port}{path}", data=body, method=method)
    try:
        with request.urlopen(asking, timeout=30) as reply:
            return reply.status, json.load(reply)
    except error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels[:, :, 0]).save(out, "PNG")
    return out.getvalue()


def test_an_image_is_classified(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        port, fleet = served.port, served.fleet
        image = make_image(fleet)
        status, answer = await asyncio.to_thread(call, port, "/v1/classify?k=3", png(image))
        assert status == 200
        votes = {vote["node"]: vote for vote in answer["votes"]}
        for node in range(NODES):
            expected = entries_of(node, image.tobytes(), 3, 10)
            assert votes[node]["entries"] == [list(entry) for entry in expected]
            assert votes[node]["wire_bytes"] == 27
        assert answer["name"] == f"c{answer['class']}"
        assert answer["score"] == max(answer["scores"])
        assert (answer["missing"], answer["errors"]) == ([], {})

    serve(tmp_path, test)


def test_nodes_and_counters(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        port, fleet = served.port, served.fleet
        await asyncio.to_thread(call, port, "/v1/classify", png(make_image(fleet)))
        status, answer = await asyncio.to_thread(call, port, "/v1/nodes")
        assert (status, answer["fleet"]) == (200, "simulated")
        first = answer["nodes"][0]
        assert (first["id"], first["state"], first["transport"]) == (0, "up", "udp")
        assert first["hello"]["firmware"] == "0.1.0"
        assert first["hello"]["model_hash"] == fleet.manifest.variants[0].hash
        status, counters = await asyncio.to_thread(call, port, "/v1/counters")
        assert (status, counters["requests"], counters["answers"]) == (200, 1, 1)
        assert first["counters"].keys() | {"http"} == counters.keys()

    serve(tmp_path, test)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/classify", b"no image", 400, "the body is neither PNG nor JPEG"),
        ("/v1/classify", b"", 400, "the body is neither PNG nor JPEG"),
        ("/v1/classify", b"\x89PNG\r\n\x1a\n" + bytes(40), 400, "the body is "),
        ("/v1/classify?k=0", None, 400, "k must be 1 to 10, not 0"),
        ("/v1/classify?k=two", None, 400, "k='two' is not a number"),
        ("/v1/classify?deadline_ms=-1", None, 400, "the deadline must be over 0"),
        ("/v1/classify?deadline_ms=nan", None, 400, "the deadline must be over 0"),
        ("/v1/classify", bytes(MAX_BODY + 1), 413, "the body exceeds"),
        ("/v1/nothing", b"", 404, "there is no '/v1/nothing'"),
        ("/v1/nodes", b"", 405, "POST does not work with '/v1/nodes'"),
    ],
)
def test_bad_requests_get_one_line(
    tmp_path: Path, path: str, body: bytes | None, status: int, message: str
) -> None:
    async def test(served: Served) -> None:
        port, fleet = served.port, served.fleet
        sent = png(make_image(fleet)) if body is None else body
        got, answer = await asyncio.to_thread(call, port, path, sent, "POST")
        assert got == status
        assert answer.keys() == {"error"}
        assert answer["error"].startswith(message)
        assert "\n" not in answer["error"]
        assert (await asyncio.to_thread(call, port, "/v1/counters"))[1]["requests"] == 0

    serve(tmp_path, test)


def test_with_no_node_it_says_so(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        port, fleet = served.port, served.fleet
        body = png(make_image(fleet))
        status, answer = await asyncio.to_thread(call, port, "/v1/classify?deadline_ms=50", body)
        assert (status, answer["error"]) == (503, "no node answered")
        assert (answer["class"], answer["missing"]) == (None, [0, 1])

    serve(tmp_path, test, alive=False)


def test_the_client_finds_the_gateway_of_its_fleet_only(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        fleet = served.fleet
        image = make_image(fleet)
        client = await asyncio.to_thread(find_gateway, fleet)
        assert client is not None
        answer = await asyncio.to_thread(client.classify, image, k=2, deadline_ms=20_000)
        assert [vote.entries for vote in answer.votes] == [
            list(entries_of(node, image.tobytes(), 2, 10)) for node in range(NODES)
        ]
        nodes = await asyncio.to_thread(client.nodes)
        assert [node.state for node in nodes] == ["up"] * NODES
        with pytest.raises(VpError, match="the gateway refuses: k must be 1 to 10, not 99"):
            await asyncio.to_thread(client.classify, image, k=99, deadline_ms=1000)
        other = make_fleet(fleet.nodes, gateway=fleet.table.gateway, name="another")
        assert await asyncio.to_thread(find_gateway, other) is None

    serve(tmp_path, test)


def test_without_a_gateway_the_client_finds_none() -> None:
    fleet = make_fleet(gateway=GatewayTable(http="127.0.0.1:1"))
    assert find_gateway(fleet) is None
    with pytest.raises(VpError, match="does not answer"):
        Client("http://127.0.0.1:1").nodes()


@contextlib.contextmanager
def stranger(reply: bytes) -> Iterator[str]:
    """A server that says `reply` to everybody and hangs up; yields its host:port."""

    class Rude(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(reply)

    with socketserver.TCPServer(("127.0.0.1", 0), Rude) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
REFUSED = HEAD.replace(b"200 OK", b"500 Oops")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it stopped, or is no gateway"),
        (b"\x00\xff\n\n", "it stopped, or is no gateway"),
        (b"", "does not answer"),
        (HEAD + b'{"fleet": "simul', "it stopped, or is no gateway"),
        (HEAD.replace(b"500", b"2") + b"{]", "it stopped, or is no gateway"),
        (REFUSED + b'{"error', "the gateway answers 500 Oops"),
        (REFUSED.replace(b": 500", b": 2") + b"[]", "the gateway answers 500 Oops"),
    ],
    ids=["ssh", "binary", "nothing", "cut off", "no json", "refusal cut off", "odd refusal"],
)
def test_what_is_no_gateway_or_stops_midway_is_one_line(reply: bytes, message: str) -> None:
    with stranger(reply) as endpoint:
        assert find_gateway(make_fleet(gateway=GatewayTable(http=endpoint))) is None
        with pytest.raises(VpError, match=message) as problem:
            Client(f"http://{endpoint}").nodes()
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "endpoint", ["0.0.0.0:8470", "192.168.1.2:80", "[::]:80", "example.org:80"]
)
def test_only_loopback_is_served_without_a_token(endpoint: str) -> None:
    with pytest.raises(VpError, match=r"is not a loopback address.* set \[gateway\] token_file"):
        HttpServer(Gateway(make_fleet()), endpoint)


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(VpError, match=rf"cannot listen on {endpoint}: another program uses"):
            HttpServer(Gateway(make_fleet()), endpoint)
