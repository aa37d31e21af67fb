"""The files of the gateway's page over HTTP, without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from importlib.resources import files

import pytest

from page_fleet import PageFleet

STATIC = files("variant_parallelism.gateway.web").joinpath("static")
NAMES = sorted(file.name for file in STATIC.iterdir())


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with PageFleet(tmp_path_factory.mktemp("files"), 1) as fleet:
        yield fleet.port


def get(port: int, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        "GET", path, headers={key.replace("_", "-"): headers[key] for key in headers}
    )
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply, body


def test_a_browser_may_run_the_page_and_nothing_else(port: int) -> None:
    reply, body = get(port, "/")
    assert (reply.status, reply.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    policy = reply.getheader("Content-Security-Policy") or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert reply.getheader("X-Content-Type-Options") == "nosniff"
    assert b"<style" not in body and b" style=" not in body and b" onclick=" not in body


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_served_and_not_twice(port: int, name: str) -> None:
    reply, body = get(port, f"/static/{name}")
    assert (reply.status, body) == (200, STATIC.joinpath(name).read_bytes())
    assert reply.getheader("Cache-Control") == "no-cache"
    again, nothing = get(port, f"/static/{name}", If_None_Match=reply.getheader("ETag") or "")
    assert (again.status, nothing) == (304, b"")


@pytest.mark.parametrize("path", ["/static/", "/static/none.js", "/static/..%2fpage.py", "/static"])
def test_nothing_else_is_served(port: int, path: str) -> None:
    assert get(port, path)[0].status == 404


def test_files_name_each_other_and_no_other_host() -> None:
    for name in NAMES:
        text = STATIC.joinpath(name).read_text(encoding="utf-8")
        hosts = set(re.findall(r"https?://[^\s\"'`]+|[\"'(]//[a-z]", text))
        assert hosts <= {"http://www.w3.org/2000/svg"}
        named = re.findall(r'(?:"/static/|from "\./)([\w.]+)"', text)
        assert set(named) <= set(NAMES)
    index = STATIC.joinpath("index.html").read_text(encoding="utf-8")
    identifiers = set(re.findall(r'\bid="([\w-]+)"', index))
    for name in NAMES:
        used = re.findall(r'byId\("([\w-]+)"\)', STATIC.joinpath(name).read_text(encoding="utf-8"))
        assert set(used) <= identifiers, name
