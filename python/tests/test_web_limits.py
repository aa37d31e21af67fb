"""Callers that want too much, too slowly or in the wrong way: refused in one line, counted."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from fleet_factory import make_image
from served_gateway import Served, serve
from variant_parallelism.client import AsyncClient
from variant_parallelism.gateway.types import Answer
from variant_parallelism.gateway.web import draining, limits, protocol
from variant_parallelism.images import encode_png

BIG = 8 * 1024 * 1024
ASK = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
LOGIN = b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TIMEOUTS = (
    (limits, "BODY_TIMEOUT_S"),
    (draining, "DRAIN_TIMEOUT_S"),
    (protocol, "HEAD_TIMEOUT_S"),
    (protocol, "READ_TIMEOUT_S"),
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow callers are slow after half a second."""
    for module, name in TIMEOUTS:
        monkeypatch.setattr(module, name, 0.5)


async def raw(served: Served, *parts: bytes) -> bytes:
    """Everything that the server says to bytes on a connection of their own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for part in parts:
        writer.write(part)
    said = await reader.read()
    writer.close()
    return said


async def http_counters(served: Served) -> dict[str, int]:
    async with httpx.AsyncClient(base_url=served.url) as client:
        counts: dict[str, int] = (await client.get("/v1/counters")).json()["http"]
        return counts


async def still_answers(served: Served) -> None:
    async with AsyncClient(served.fleet) as client:
        assert (await client.classify(make_image(served.fleet))).class_index is not None


def hold(served: Served, release: asyncio.Event) -> None:
    """Have requests reach the nodes only when `release` is set."""
    ask: Callable[..., Awaitable[Answer]] = served.gateway.classify

    async def held(*arguments: Any, **named: Any) -> Answer:
        await release.wait()
        return await ask(*arguments, **named)

    served.gateway.classify = held  # type: ignore[method-assign]


def test_what_exceeds_max_in_flight_is_refused_at_once(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        release = asyncio.Event()
        hold(served, release)
        body = encode_png(make_image(served.fleet))
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            going = [
                asyncio.create_task(client.post("/v1/classify", content=body)) for _ in range(40)
            ]
            while sum(task.done() for task in going) < 37:
                await asyncio.sleep(0.01)
            assert (await http_counters(served))["in_flight"] == 3
            refused = [task.result() for task in going if task.done()]
            release.set()
            replies = await asyncio.gather(*going)
        assert all(reply.status_code == 429 for reply in refused)
        assert all(reply.headers["Retry-After"] == "1" for reply in refused)
        assert "[gateway] max_in_flight" in refused[0].json()["error"]
        assert sorted(reply.status_code for reply in replies) == [200] * 3 + [429] * 37
        counts = await http_counters(served)
        assert (counts["busy"], counts["in_flight"]) == (37, 0)

    serve(tmp_path, test, max_in_flight=3)


def test_a_caller_who_hangs_up_gives_its_place_back(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        hold(served, asyncio.Event())
        image = make_image(served.fleet)
        head = (
            "POST /v1/classify?height=64&width=64 HTTP/1.1\r\n"
            f"Host: 127.0.0.1\r\nContent-Length: {image.nbytes}\r\n\r\n"
        )
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode() + image.tobytes())
        while (await http_counters(served))["in_flight"] == 0:
            await asyncio.sleep(0.01)
        writer.close()
        while (await http_counters(served))["in_flight"] != 0:
            await asyncio.sleep(0.01)
        assert (await http_counters(served))["abandoned"] == 1

    serve(tmp_path, test)


def test_large_bodies_are_refused_before_and_while_they_come(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async def pieces() -> Any:
            for _ in range(BIG // 65536):
                yield bytes(65536)

        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            announced = await client.post("/v1/classify", content=bytes(BIG))
            streamed = await client.post("/v1/classify", content=pieces())
            for reply in (announced, streamed):
                assert reply.status_code == 413
                assert reply.json()["error"] == (
                    "the body exceeds 100000 bytes ([gateway] max_body)"
                )
        assert (await http_counters(served))["too_large"] == 2
        await still_answers(served)

    serve(tmp_path, test, max_body=100_000)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (ASK + b"X-Slow: ", 408),
        (ASK + b"Content-Length: 5000\r\n\r\n123", 408),
        (ASK + b"Content-Length: 9999999999\r\n\r\n", 413),
        (LOGIN + b"Content-Length: 20\r\n\r\n{", 408),
        (LOGIN + b"Content-Length: 9999999999\r\n\r\n" + bytes(100_000), 413),
        (b"GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/nodes HTTP/1.1\r\nContent-Length: many\r\nHost: localhost\r\n\r\n", 400),
        (b"", 0),
    ],
    ids=[
        "slow head",
        "slow body",
        "boast",
        "slow login",
        "large login",
        "in time",
        "TLS",
        "endless head",
        "bad length",
        "silent",
    ],
)
@pytest.mark.usefixtures("impatient")
def test_slow_and_broken_requests_end(tmp_path: Path, sent: bytes, status: int) -> None:
    async def test(served: Served) -> None:
        said = await raw(served, sent)
        assert said[:13] == (f"HTTP/1.1 {status} ".encode() if status else b"")
        counts = await http_counters(served)
        assert counts["too_slow"] == (status == 408)
        assert counts["invalid"] == (status == 400)
        await still_answers(served)

    serve(tmp_path, test)


@pytest.mark.usefixtures("impatient")
def test_callers_who_do_not_read_are_cut_off(tmp_path: Path) -> None:
    """They ask for far more than the kernel keeps for them, and take none of it."""

    async def test(served: Served) -> None:
        ask = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        for _ in range(2000):
            writer.write(ask)
        while (await http_counters(served))["too_slow"] == 0:
            await asyncio.sleep(0.05)
        writer.close()
        while (await http_counters(served))["connections"] > 1:
            await asyncio.sleep(0.05)
        await still_answers(served)

    serve(tmp_path, test)


def test_connections_have_a_limit(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        most = served.server.max_connections
        open_ones = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(most)]
        said = await raw(served, b"GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in said
        assert said.endswith(b'{"error": "too many connections: try again"}')
        for _, writer in open_ones:
            writer.close()
        while (await http_counters(served))["connections"] > 1:
            await asyncio.sleep(0.01)
        assert (await http_counters(served))["connections_refused"] >= 1
        await still_answers(served)

    serve(tmp_path, test, max_in_flight=1)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


NO_TYPE: dict[str, str] = {}


MISTAKES: tuple[tuple[str, dict[str, str], bytes, int, str], ...] = (
    ("", NO_TYPE, bomb(100_000, 100_000), 400, "the body has 100000 x 100000 pixels: shrink"),
    ("", NO_TYPE, bomb(7000, 7000), 400, "the body is damaged: "),
    ("?size=9", NO_TYPE, b"", 400, "unknown query key 'size'"),
    ("?k=1.5", NO_TYPE, b"", 400, "k='1.5' is not a whole number"),
    ("?label=cat", NO_TYPE, b"", 400, "label 'cat' is neither a class of the fleet nor its"),
    ("?label=10", NO_TYPE, b"", 400, "label '10' is neither a class of the fleet nor its"),
    ("?height=64", NO_TYPE, b"", 400, "raw pixels need both height and width in the query"),
    ("?height=64&width=64", NO_TYPE, bytes(100), 400, "the body has 100 bytes, but 64 x 64 x "),
    ("?height=0&width=64", NO_TYPE, b"", 400, "height=0, width=64, channels=1: raw pixels "),
    ("?height=9999999&width=9999999", NO_TYPE, b"", 400, "height=9999999, width=9999999, cha"),
    ("?height=1&width=1&channels=5", NO_TYPE, bytes(5), 400, "height=1, width=1, channels=5"),
    ("", {"Content-Type": "text/html; charset=utf-8"}, b"<p>", 415, "the body is text/html: s"),
    ("", {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415, "the body is mul"),
    ("?label=%00%0a", NO_TYPE, b"", 400, "label '\\x00\\n' is neither"),
)


def test_mistaken_images_get_one_line(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with httpx.AsyncClient(base_url=served.url) as client:
            for query, headers, body, status, error in MISTAKES:
                reply = await client.post(f"/v1/classify{query}", content=body, headers=headers)
                assert reply.status_code == status, (query, headers)
                assert reply.json()["error"].startswith(error)
                assert "\n" not in reply.json()["error"]
        counts = await http_counters(served)
        assert (counts["invalid"], counts["in_flight"]) == (len(MISTAKES), 0)
        assert served.gateway.counters.requests == 0

    serve(tmp_path, test)


def test_raw_pixels_are_what_an_image_file_of_them_is(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        chance = np.random.default_rng(0)
        async with httpx.AsyncClient(base_url=served.url) as client:
            for shape in ((64, 64, 1), (128, 128, 1), (64, 64, 3), (64, 100, 4)):
                pixels = chance.integers(0, 256, shape, dtype=np.uint8)
                sizes = dict(zip(("height", "width", "channels"), shape, strict=True))
                file = await client.post("/v1/classify", content=encode_png(pixels))
                raw = await client.post("/v1/classify", params=sizes, content=pixels.tobytes())
                assert raw.status_code == 200
                assert [vote["entries"] for vote in raw.json()["votes"]] == [
                    vote["entries"] for vote in file.json()["votes"]
                ]

    serve(tmp_path, test)


def test_labels_come_back(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        body = encode_png(make_image(served.fleet))
        async with httpx.AsyncClient(base_url=served.url) as client:
            for label in ("c4", "4"):
                reply = await client.post(f"/v1/classify?label={label}", content=body)
                assert reply.json()["label"] == 4

    serve(tmp_path, test)


def test_who_asks_while_the_gateway_stops_is_told_so(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        release = asyncio.Event()
        hold(served, release)
        body = encode_png(make_image(served.fleet))
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            going = asyncio.create_task(client.post("/v1/classify", content=body))
            while served.server.counters.in_flight == 0:
                await asyncio.sleep(0.01)
            stopping = asyncio.gather(served.gateway.drain(1), served.server.stop())
            await asyncio.sleep(0)
            release.set()
            reply = await going
            await stopping
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
        assert reply.json() == {"error": "the gateway is stopping"}

    serve(tmp_path, test)


@pytest.mark.usefixtures("impatient")
def test_no_garbage_stops_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests with bytes changed, left out and put in, from a fixed seed; some end too early."""

    async def test(served: Served) -> None:
        chance = random.Random(6)
        image = make_image(served.fleet).tobytes()
        whole = (
            b"POST /v1/classify?height=64&width=64&k=2&deadline_ms=100 HTTP/1.1\r\n"
            b"Host: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Length: 4096\r\nAuthorization: Bearer x\r\nCookie: a=b\r\n\r\n"
        )

        async def one(garbled: bytes) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(garbled)
            if writer.can_write_eof() and chance.random() < 0.5:
                writer.write_eof()
            with contextlib.suppress(ConnectionError):
                said = await reader.read()
                assert not said or said.startswith(b"HTTP/1.1 ")
                assert b" 500 " not in said[:20]
            writer.close()

        for _ in range(4):
            batch = []
            for _ in range(50):
                garbled = bytearray(whole + image)
                for _ in range(chance.randrange(1, 6)):
                    at = chance.randrange(len(whole))
                    garbled[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
                batch.append(one(bytes(garbled[: chance.randrange(1, len(garbled))])))
            await asyncio.gather(*batch)
        counts = await http_counters(served)
        assert (counts["failed"], counts["in_flight"]) == (0, 0)
        assert counts["invalid"] > 20
        await still_answers(served)

    serve(tmp_path, test)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
