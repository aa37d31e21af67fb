"""Who may call the gateway's HTTP API, and from which pages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from fleet_factory import make_fleet, make_image
from served_gateway import Served, at, serve
from variant_parallelism.client import AsyncClient, Client, GatewayError, find_gateway
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import GatewayTable, read_token
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.web import HttpServer

TOKEN = "a-token-of-this-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def write_token(folder: Path, text: str = TOKEN, mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_text(text + "\n", encoding="ascii")
    path.chmod(mode)
    return path.name


def test_with_a_token_everything_but_the_page_wants_it(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with httpx.AsyncClient(base_url=served.url) as client:
            for path in ("/v1/nodes", "/v1/openapi.json", "/metrics", "/v1/events", "/v1/none"):
                reply = await client.get(path)
                assert reply.status_code == 401
                assert reply.headers["WWW-Authenticate"] == "Bearer"
                assert "token_file" in reply.json()["error"]
            for wrong in ("Bearer a-token-of-this-tesT", "Bearer", "Basic eDp5", "Bearer é"):
                headers = {"Authorization": wrong.encode()}
                assert (await client.get("/v1/nodes", headers=headers)).status_code == 401
            assert (await client.get("/")).status_code == 200
            reply = await client.get("/v1/nodes", headers=BEARER)
            assert (reply.status_code, len(reply.json()["nodes"])) == (200, 2)
            counts = (await client.get("/v1/counters", headers=BEARER)).json()["http"]
            assert counts["unauthorized"] == 9

    serve(tmp_path, test, token_file=write_token(tmp_path))


def test_a_browser_logs_in_once(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with httpx.AsyncClient(base_url=served.url) as client:
            reply = await client.post("/v1/login", json={"token": TOKEN + "!"})
            assert (reply.status_code, reply.json()) == (
                401,
                {"error": "this is not the gateway's token"},
            )
            assert not client.cookies
            reply = await client.post("/v1/login", json={"token": TOKEN})
            assert reply.status_code == 204
            cookie = reply.headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
            assert TOKEN not in cookie
            assert (await client.get("/v1/nodes")).status_code == 200
            assert (await client.post("/v1/logout")).status_code == 204
            assert (await client.get("/v1/nodes")).status_code == 401
            reply = await client.post("/v1/login", content=b"token=x")
            assert (reply.status_code, list(reply.json())) == (400, ["error"])

    serve(tmp_path, test, token_file=write_token(tmp_path))


def test_a_new_token_ends_sessions(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with httpx.AsyncClient(base_url=served.url) as client:
            await client.post("/v1/login", json={"token": TOKEN})
            assert (await client.get("/v1/nodes")).status_code == 200
            write_token(tmp_path, "another-token-than-before")
            served.server.prepare(served.fleet)()
            assert (await client.get("/v1/nodes")).status_code == 401
            write_token(tmp_path, "short")
            with pytest.raises(VpError, match="one word of at least 16 characters"):
                served.server.prepare(served.fleet)
            good = {"Authorization": "Bearer another-token-than-before"}
            assert (await client.get("/v1/nodes", headers=good)).status_code == 200

    serve(tmp_path, test, token_file=write_token(tmp_path))


VISITORS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("GET", {"Host": "evil.example:8470"}, 403),
    ("GET", {"Host": "192.168.1.7:8470"}, 403),
    ("GET", {"Host": ""}, 403),
    ("GET", {"Host": "localhost.evil.example"}, 403),
    ("GET", {"Host": "LOCALHOST:8470"}, 200),
    ("GET", {"Host": "127.0.0.1"}, 200),
    ("GET", {"Host": "[::1]:8470"}, 200),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty"}, 403),
    ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"}, 403),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 200),
    ("GET", {"Sec-Fetch-Site": "same-origin"}, 200),
    ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 403),
    ("POST", {"Host": "127.0.0.1:8470", "Origin": "http://evil.example"}, 403),
    ("POST", {"Host": "127.0.0.1:8470", "Origin": "http://127.0.0.1:3000"}, 403),
    ("POST", {"Host": "127.0.0.1:8470", "Origin": "null"}, 403),
    ("POST", {"Host": "127.0.0.1:8470", "Origin": "http://127.0.0.1:8470"}, 405),
)


def test_pages_of_other_sites_get_nothing(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with httpx.AsyncClient(base_url=served.url) as client:
            for method, headers, status in VISITORS:
                reply = await client.request(method, "/v1/nodes", headers=headers)
                assert reply.status_code == status, (method, headers)
                assert ("nodes" in reply.json()) == (status == 200)
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
                assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
                assert "Access-Control-Allow-Origin" not in reply.headers

    serve(tmp_path, test)


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (TOKEN, 0o644, r"token file .*/token can be read by others: run chmod 600"),
        ("", 0o600, "does not hold one word of at least 16 characters"),
        ("two words of many letters", 0o600, "does not hold one word of at least 16 characters"),
    ],
)
def test_an_unfit_token_file_is_refused(tmp_path: Path, text: str, mode: int, message: str) -> None:
    table = GatewayTable(token_file=write_token(tmp_path, text, mode))
    fleet = at(tmp_path, make_fleet(gateway=table))
    with pytest.raises(VpError, match=message):
        HttpServer(Gateway(fleet), "127.0.0.1:0")
    with pytest.raises(VpError, match=message):
        Client(fleet)


def test_without_its_token_file_nothing_starts(tmp_path: Path) -> None:
    fleet = at(tmp_path, make_fleet(gateway=GatewayTable(token_file="none")))
    with pytest.raises(VpError, match=r"cannot read token file .*/none: No such file"):
        read_token(fleet)


def test_with_a_token_others_than_this_machine_are_served(tmp_path: Path) -> None:
    """On every address; the name that they call it by does not matter."""

    async def test(served: Served) -> None:
        server = HttpServer(served.gateway, "0.0.0.0:0")
        server.start()
        try:
            url = f"http://127.0.0.1:{server.port}"
            async with httpx.AsyncClient(base_url=url) as client:
                named = {"Host": "gateway.example.org"}
                assert (await client.get("/v1/nodes", headers=named)).status_code == 401
                assert (await client.get("/v1/nodes", headers=named | BEARER)).status_code == 200
        finally:
            await server.stop()

    serve(tmp_path, test, token_file=write_token(tmp_path))


@pytest.mark.parametrize("endpoint", ["[::1]:0", "localhost:0", "127.3.4.5:0"])
def test_every_loopback_address_is_served_without_a_token(tmp_path: Path, endpoint: str) -> None:
    async def test(served: Served) -> None:
        server = HttpServer(served.gateway, endpoint)
        server.start()
        try:
            place = f"{endpoint.removesuffix(':0')}:{server.port}"
            table = served.fleet.table.gateway.model_copy(update={"http": place})
            async with AsyncClient(served.fleet.with_nodes(served.fleet.nodes, table)) as client:
                assert client.base == f"http://{place}"
                assert (await client.fleet()).fleet == "simulated"
        finally:
            await server.stop()

    serve(tmp_path, test)


def test_clients_take_the_token_from_the_fleet_file_or_are_told(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with AsyncClient(served.fleet) as client:
            assert (await client.classify(make_image(served.fleet))).class_index is not None
        async with AsyncClient(served.url) as client:
            with pytest.raises(GatewayError, match="the gateway wants its token: ") as refusal:
                await client.nodes()
            assert (refusal.value.status, refusal.value.retry_after) == (401, None)
        write_token(tmp_path, "another-token-than-the-gateway-has")
        with pytest.raises(GatewayError, match="wants its token"):
            await asyncio.to_thread(find_gateway, served.fleet)
        table = served.fleet.table.gateway.model_copy(update={"token_file": None})
        stranger = served.fleet.with_nodes(served.fleet.nodes, table)
        assert await asyncio.to_thread(find_gateway, stranger) is None

    serve(tmp_path, test, token_file=write_token(tmp_path))
