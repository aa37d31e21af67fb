"""Refusals: every error of the API is `{"error": one line}` with the status that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from variant_parallelism.api import HttpCounters
from variant_parallelism.errors import VpError

_COUNTED = {401: "unauthorized", 403: "forbidden", 408: "too_slow", 413: "too_large"} | {
    429: "busy",
    500: "failed",
    503: "busy",
}

RESTART_S = 5
"""When another gateway may run where this one stops."""

_QUOTED = 42
_NO_OBJECT = "the body is not the JSON object that is expected here"


class Problem(Exception):
    """A refusal with its status; `retry_s` tells the caller when to try again."""

    def __init__(self, status: int, text: str, retry_s: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_s = retry_s


def quoted(value: object) -> str:
    """What a caller sent, for a line that is not to be long."""
    text = repr(value[:_QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def takes_keys_once(request: Request) -> None:
    """VpError for a query in which a key comes twice: only one could count."""
    keys = [key for key, _ in request.query_params.multi_items()]
    for key in keys:
        if keys.count(key) > 1:
            raise VpError(f"query key {quoted(key)} comes more than once")


def refusal(problem: Problem) -> JSONResponse:
    headers = {} if problem.retry_s is None else {"Retry-After": str(problem.retry_s)}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    text = " ".join(str(problem).split())
    return JSONResponse({"error": text}, problem.status, headers)


def count_refusal(counters: HttpCounters, status: int) -> None:
    name = _COUNTED.get(status, "invalid")
    setattr(counters, name, getattr(counters, name) + 1)


def handle_errors(app: FastAPI, counters: HttpCounters, is_stopping: Callable[[], bool]) -> None:
    """Answer every error of the routes in this form, and count it."""

    def answered(status: int, text: str, retry_s: int | None = None) -> JSONResponse:
        count_refusal(counters, status)
        return refusal(Problem(status, text, retry_s))

    async def problem(_: Request, error: Problem) -> Response:
        return answered(error.status, str(error), error.retry_s)

    async def mistake(_: Request, error: VpError) -> Response:
        if is_stopping():
            # No mistake of the caller: another gateway may run here soon.
            return answered(503, "the gateway is stopping", RESTART_S)
        return answered(400, str(error))

    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return answered(400, _first(error.errors()))

    async def http(request: Request, error: HTTPException) -> Response:
        response = answered(error.status_code, _said(request, error))
        response.headers.update(error.headers or {})
        return response

    async def gone(_: Request, __: ClientDisconnect) -> Response:
        counters.abandoned += 1
        return Response(status_code=400)

    async def failed(_: Request, __: Exception) -> Response:
        return answered(500, "the gateway failed at this request: its log says why")

    for kind, handler in (
        (Problem, problem),
        (VpError, mistake),
        (RequestValidationError, invalid),
        (HTTPException, http),
        (ClientDisconnect, gone),
        (Exception, failed),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]


def _said(request: Request, error: HTTPException) -> str:
    """What Starlette and FastAPI refuse by themselves, in our words."""
    path = quoted(request.url.path)
    if error.status_code == 404:
        return f"there is no {path}: /v1/openapi.json lists what there is"
    if error.status_code == 405:
        return (
            f"{request.method} does not work with {path}: use {(error.headers or {}).get('Allow')}"
        )
    return _NO_OBJECT if error.status_code == 400 else str(error.detail)


def _first(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors about a request, in our words."""
    error = errors[0]
    place, name = error["loc"][0], error["loc"][-1]
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"unknown {'query' if place == 'query' else 'body'} key {quoted(name)}"
    if kind == "missing" and len(error["loc"]) == 1:
        return "the body is missing: a JSON object is expected here"
    if kind == "missing":
        return f"{name!r} is missing in the {place}"
    if kind == "json_invalid" or (place == "body" and len(error["loc"]) == 1):
        return _NO_OBJECT
    if kind in ("int_parsing", "float_parsing", "int_from_float"):
        what = "a whole number" if kind != "float_parsing" and _is_number(error) else "a number"
        return f"{name}={quoted(error['input'])} is not {what}"
    return f"{name}={quoted(error['input'])}: {error['msg']}"


def _is_number(error: Any) -> bool:
    try:
        float(error["input"])
    except (TypeError, ValueError):
        return False
    return True
