"""What the OpenAPI document says beyond the routes' own types."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from variant_parallelism.api import EVENT, Answer, Error

TITLE = "Variant Parallelism gateway"

SUMMARY = "Several microcontrollers answer together"

DESCRIPTION = (
    'Every error is `{"error": one line}`. Where the gateway has a token (`[gateway] token_file`), '
    "every call needs `Authorization: Bearer <token>`, or the cookie that `/v1/login` sets."
)

_WHY = {
    400: "A mistake in the request.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site, or under a foreign host name.",
    404: "There is no such thing.",
    408: "The body took too long.",
    413: "The body is too large ([gateway] max_body).",
    415: "The body is neither an image nor raw pixels.",
    429: "Too many requests in flight ([gateway] max_in_flight): try again after `Retry-After`.",
    503: "Busy: try again after `Retry-After`.",
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}

IMAGE_BODY: dict[str, Any] = {
    "required": True,
    "description": "The image file; or raw pixels, a byte a channel, rows from the top, with their "
    "`height` and `width` in the query.",
    "content": {
        "image/png": _BINARY,
        "image/jpeg": _BINARY,
        "application/octet-stream": _BINARY,
    },
}


EVENT_STREAM: dict[str, Any] = {
    "description": "Each `data` line is an `Event`, as its `event` line says.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses for a route: these, and those of every route."""
    retry = {
        "headers": {
            "Retry-After": {
                "description": "Seconds after which to try again.",
                "schema": {"type": "integer"},
            }
        }
    }
    return {
        status: {"model": Error, "description": _WHY[status]}
        | (retry if status in (429, 503) else {})
        for status in sorted({*statuses, 401, 403})
    }


class Unanswered(Answer):
    """No node answered: why each did not stands in `errors`."""

    error: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "no node answered",
                    "request": 4712,
                    "class": None,
                    "name": None,
                    "score": None,
                    "scores": [0.0] * 10,
                    "votes": [],
                    "missing": [1, 2, 3],
                    "errors": {"2": "capture failed"},
                    "latency_ms": 500.3,
                    "spared": [],
                    "label": None,
                    "triggered": True,
                    "uid": None,
                }
            ]
        }
    )


def parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    """A model of a query's keys, as the document lists them."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description"),
            "schema": schema,
        }
        for name, schema in query.model_json_schema()["properties"].items()
    ]


def no_answer(description: str) -> dict[int | str, dict[str, Any]]:
    """The 503 of a route whose question no node may answer."""
    return {503: {"model": Unanswered | Error, "description": description}}


def operation_id(route: APIRoute) -> str:
    """The name of a route's function, which is what generated clients call it."""
    return route.name


def document(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI document."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    whole = get_openapi(
        title=app.title,
        version=app.version,
        summary=SUMMARY,
        description=app.description,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "the gateway itself"}],
    )
    for path in whole["paths"].values():
        for operation in path.values():
            # FastAPI's own answer to mistakes, in place of which 400 comes.
            operation["responses"].pop("422", None)
    for path in ("/v1/login", "/v1/logout"):
        whole["paths"][path]["post"]["security"] = []
    schemas = whole["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (Answer, Unanswered):
        # FastAPI leaves nulls out of its document, but there they mean something.
        schemas[model.__name__]["examples"] = model.model_json_schema()["examples"]
    event = EVENT.json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(event.pop("$defs"))
    schemas["Event"] = {"title": "Event", **event}
    whole["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "What token_file holds."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "vp_session_<fleet id>",
            "description": "What /v1/login sets, for browsers.",
        },
    }
    # The empty one: a gateway on loopback may have no token.
    whole["security"] = [{"token": []}, {"session": []}, {}]
    app.openapi_schema = whole
    return whole
