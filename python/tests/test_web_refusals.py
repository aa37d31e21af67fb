"""What callers do wrong in other ways than by their images, and what goes on during a reply."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from fleet_factory import make_image
from served_gateway import Served, serve
from variant_parallelism.gateway.web import classify, limits
from variant_parallelism.images import decode_image, encode_png
from variant_parallelism.manifest import InputInfo

ASK = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n1"
QUARANTINE = "/v1/nodes/1/quarantine"
LONG = "1" * 5000


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


MISTAKES: tuple[tuple[str, str, bytes, int, str], ...] = (
    ("POST", f"/v1/classify?label={LONG}", b"", 400, "label '1111"),
    ("POST", f"/v1/trigger?label={LONG}", b"", 400, "label '1111"),
    ("POST", f"/v1/classify?k={LONG}", b"", 400, "k='1111"),
    ("POST", f"/v1/trigger?{LONG}=1", b"", 400, "unknown query key '1111"),
    ("GET", f"/v1/nodes?{LONG}=1", b"", 400, "unknown query key '1111"),
    ("POST", "/v1/trigger?k=1&k=2", b"", 400, "query key 'k' comes more than once"),
    ("GET", "/v1/history?node=0&node=1", b"", 400, "query key 'node' comes more than once"),
    ("GET", "/v1/history?node=77", b"", 404, "the fleet has no node 77"),
    ("POST", QUARANTINE, b"", 400, "the body is missing: a JSON object is expected here"),
    ("POST", QUARANTINE, b"{", 400, "the body is not the JSON object that is expected here"),
    ("POST", QUARANTINE, b'{"on":' + LONG.encode() + b"}", 400, "the body is not the JSON ob"),
    ("POST", QUARANTINE, b'{"on": "\xff"}', 400, "the body is not the JSON object that is ex"),
    ("GET", "/v2", b"", 404, "there is no '/v2': /v1/openapi.json lists what there is"),
    ("PUT", "/v1/nodes", b"", 405, "PUT does not work with '/v1/nodes': use GET"),
)


def test_a_mistake_gets_a_short_line_that_names_it(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            for method, path, body, status, error in MISTAKES:
                headers = {"Content-Type": "application/json"} if path == QUARANTINE else {}
                reply = await client.request(method, path, content=body, headers=headers)
                assert reply.status_code == status, path
                assert reply.json()["error"].startswith(error)
                assert len(reply.text) < 150
            assert served.server.counters.invalid == len(MISTAKES)

    serve(tmp_path, test)


def test_probes_may_ask_for_the_head_alone(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            for path in ("/", "/v1/nodes", "/v1/fleet", "/v1/openapi.json"):
                head, whole = await client.head(path), await client.get(path)
                assert (head.status_code, head.content) == (200, b"")
                assert head.headers["Content-Type"] == whole.headers["Content-Type"]
            assert (await client.head("/v1/events")).status_code == 405

    serve(tmp_path, test)


def test_slow_senders_take_nobodys_place(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        slow = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(4)]
        for _, writer in slow:
            writer.write(ASK)
        await until(lambda: served.server._web.limits._buffered == 4)
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            body = encode_png(make_image(served.fleet))
            assert (await client.post("/v1/classify", content=body)).status_code == 200
        for _, writer in slow:
            writer.close()

    serve(tmp_path, test, max_in_flight=2)


def test_large_images_keep_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(classify, "LARGE_PIXELS", 10_000)

    def decode(body: bytes, wanted: InputInfo, name: str) -> NDArray[np.uint8]:
        assert len(body) < 1000 or may_end.wait(60)
        return decode_image(body, wanted, name)

    monkeypatch.setattr(classify, "decode_image", decode)

    async def test(served: Served) -> None:
        chance = np.random.default_rng(0)
        large = encode_png(chance.integers(0, 256, (101, 100, 1), dtype=np.uint8))
        small = encode_png(np.zeros((64, 64, 1), np.uint8))
        raw = {"height": 101, "width": 100, "channels": 1}
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            going = [
                asyncio.create_task(client.post("/v1/classify", content=large)) for _ in range(6)
            ]
            # Four wait or are decoded, the others are told so; and both kinds count.
            while sum(task.done() for task in going) < 2:
                await asyncio.sleep(0.01)
            busy = await client.post("/v1/classify", content=bytes(10_100), params=raw)
            assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
            assert "try again, or shrink them" in busy.json()["error"]
            for _ in range(3):
                reply = await client.post("/v1/classify", content=small)
                assert reply.status_code == 200
            may_end.set()
            replies = await asyncio.gather(*going)
            assert sorted(reply.status_code for reply in replies) == [200] * 4 + [503] * 2
            assert (await client.post("/v1/classify", content=large)).status_code == 200

    try:
        serve(tmp_path, test)
    finally:
        may_end.set()


def test_an_upload_ends_when_the_gateway_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    login = b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"

    async def test(served: Served) -> None:
        both = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        for (_, writer), sent in zip(both, (ASK, login), strict=True):
            writer.write(sent)
        await until(lambda: len(served.server._web.limits._reading) == 2)
        await served.server.stop()
        for reader, writer in both:
            said = await reader.read()
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5\r\n" in said.lower()
            assert b'{"error":"the gateway is stopping"}' in said
            writer.close()

    serve(tmp_path, test)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_body_that_does_not_come_is_no_trouble_for_who_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "BODY_TIMEOUT_S", 0.2)

    async def test(served: Served) -> None:
        ask = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        slow = await asyncio.open_connection("127.0.0.1", served.port)
        slow[1].write(ask % 10)
        large = await asyncio.open_connection("127.0.0.1", served.port)
        large[1].write(ask % 200_000 + bytes(200_000))
        await until(lambda: served.server.counters.subscribers == 2)
        await asyncio.sleep(0.5)
        await served.gateway.classify(make_image(served.fleet))
        for reader, writer in (slow, large):
            assert b"200 OK" in await reader.readuntil(b"event: answer")
            writer.close()
        await until(lambda: served.server.counters.subscribers == 0)

    serve(tmp_path, test)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_who_watches_needs_the_new_token_too(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    token.chmod(0o600)

    async def test(served: Served) -> None:
        async with (
            httpx.AsyncClient(base_url=served.url, timeout=60) as client,
            client.stream("GET", "/v1/events") as stream,
        ):
            await until(lambda: served.server.counters.subscribers == 1)
            table = served.fleet.table
            gateway = table.gateway.model_copy(update={"token_file": "token"})
            changed = replace(served.fleet, table=table.model_copy(update={"gateway": gateway}))
            served.server.prepare(served.fleet)()
            assert served.server.counters.subscribers == 1
            served.server.prepare(changed)()
            async for _ in stream.aiter_bytes():
                pass
            assert (await client.get("/v1/events")).status_code == 401

    serve(tmp_path, test)
