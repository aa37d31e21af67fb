"""The OpenAPI document: valid, whole, and true of what the gateway really answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from fleet_factory import make_fleet, make_image
from served_gateway import Served, serve
from sink_events import one_of_each
from variant_parallelism import api
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.report import event_json
from variant_parallelism.gateway.web import HttpServer
from variant_parallelism.images import encode_png


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    server = HttpServer(Gateway(make_fleet()), "127.0.0.1:0")
    whole: dict[str, Any] = server.app.openapi()
    return whole


def complaints(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """What is wrong with a value, by a schema of the document."""
    validator = OAS31Validator({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(value)]


def test_the_document_is_valid_and_whole(document: dict[str, Any]) -> None:
    validate(document)
    operations = {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert operations.keys() == {
        "POST /v1/classify",
        "POST /v1/trigger",
        "GET /v1/fleet",
        "GET /v1/nodes",
        "POST /v1/nodes/{node}/quarantine",
        "GET /v1/counters",
        "GET /v1/events",
        "GET /v1/inputs/{request}.png",
        "GET /v1/history",
        "POST /v1/login",
        "POST /v1/logout",
        "GET /metrics",
    }
    for name, operation in operations.items():
        assert operation["summary"], name
        assert "422" not in operation["responses"], name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], name
    raw = operations["POST /v1/classify"]["requestBody"]["content"]
    assert raw.keys() == {"image/png", "image/jpeg", "application/octet-stream"}


def test_its_examples_are_of_their_schemas(document: dict[str, Any]) -> None:
    count = 0
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            assert not complaints(document, {"$ref": f"#/components/schemas/{name}"}, example)
            count += 1
    assert count >= 3


def test_events_are_as_documented(document: dict[str, Any]) -> None:
    for event in one_of_each():
        value = {"time": "2026-01-01T00:00:00+00:00"} | event_json(event, {1: "v1", 2: "v2"})
        assert not complaints(document, {"$ref": "#/components/schemas/Event"}, value)
        understood = api.EVENT.validate_python(value)
        assert understood.as_json() == value
    wrong = {"time": "now", "event": "node", "node": 1}
    assert complaints(document, {"$ref": "#/components/schemas/Event"}, wrong)


def test_replies_are_as_documented(tmp_path: Path, document: dict[str, Any]) -> None:
    """And every key of them reaches the clients' models."""
    models = {
        "/v1/classify": api.Answer,
        "/v1/trigger": api.Answer,
        "/v1/nodes": api.Nodes,
        "/v1/nodes/{node}/quarantine": api.Node,
        "/v1/fleet": api.FleetInfo,
    }

    async def test(served: Served) -> None:
        image = encode_png(make_image(served.fleet))
        async with httpx.AsyncClient(base_url=served.url) as client:
            for method, path, arguments in (
                ("POST", "/v1/classify", {"content": image}),
                ("POST", "/v1/classify", {"content": b"no image"}),
                ("POST", "/v1/classify", {"content": b"", "headers": {"Content-Type": "a/b"}}),
                ("POST", "/v1/trigger", {}),
                ("GET", "/v1/fleet", {}),
                ("POST", "/v1/nodes/{node}/quarantine", {"json": {"on": True}}),
                ("GET", "/v1/nodes", {}),
                ("GET", "/v1/counters", {}),
                ("GET", "/v1/history", {}),
                ("GET", "/v1/history", {"params": {"span": "year"}}),
                ("GET", "/v1/inputs/{request}.png", {}),
                ("POST", "/v1/login", {"json": {"tokn": ""}}),
            ):
                url = path.replace("{node}", "1").replace("{request}", "77777")
                reply = await client.request(method, url, **arguments)
                told = document["paths"][path][method.lower()]["responses"][str(reply.status_code)]
                schema = told["content"]["application/json"]["schema"]
                assert not complaints(document, schema, reply.json()), (path, reply.text)
                if reply.status_code == 200 and path in models:
                    value = models[path].model_validate(reply.json())
                    assert value.as_json() == reply.json()

    serve(tmp_path, test)


def test_an_answer_of_nobody_is_documented(tmp_path: Path, document: dict[str, Any]) -> None:
    async def test(served: Served) -> None:
        image = encode_png(make_image(served.fleet))
        async with httpx.AsyncClient(base_url=served.url) as client:
            reply = await client.post("/v1/classify?deadline_ms=20", content=image)
            assert reply.status_code == 503
            told = document["paths"]["/v1/classify"]["post"]["responses"]["503"]
            schema = told["content"]["application/json"]["schema"]
            assert not complaints(document, schema, reply.json())
            assert api.Answer.model_validate(reply.json()).class_index is None
            served_document = (await client.get("/v1/openapi.json")).json()
            assert served_document == document

    serve(tmp_path, test, alive=False)
