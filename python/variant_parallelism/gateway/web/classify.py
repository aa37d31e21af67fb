"""POST /v1/classify and /v1/trigger: a request in, an answer out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from variant_parallelism.api import Answer
from variant_parallelism.errors import VpError
from variant_parallelism.gateway import types
from variant_parallelism.gateway.report import answer_json
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.decoders import LARGE_PIXELS
from variant_parallelism.gateway.web.errors import Problem, quoted, takes_keys_once
from variant_parallelism.gateway.web.openapi import IMAGE_BODY, errors, no_answer, parameters
from variant_parallelism.images import MAX_PIXELS, decode_image, fit_pixels, pixel_count
from variant_parallelism.manifest import InputInfo

T = TypeVar("T")
Query = TypeVar("Query", bound=BaseModel)

_TYPES = (
    "image/png",
    "image/jpeg",
    "application/octet-stream",
    # What curl and others say where they were not told.
    "application/x-www-form-urlencoded",
    "",
)

_MOST_DIGITS = 9


class TriggerQuery(BaseModel):
    """How to ask. k and the deadline default to the fleet's own."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[
        int | None, Field(description="Entries of each node's vote; by default the fleet's.")
    ] = None
    deadline_ms: Annotated[
        float | None,
        Field(description="Longest wait, in milliseconds; by default the fleet's. At most 600000."),
    ] = None
    label: Annotated[
        str | None,
        Field(description="The right class, by name or index, if known; comes back in the answer."),
    ] = None


class ClassifyQuery(TriggerQuery):
    """How to ask, and how large raw pixels are."""

    height: Annotated[
        int | None, Field(description="Of raw pixels. With it, the body is no PNG or JPEG.")
    ] = None
    width: Annotated[int | None, Field(description="Of raw pixels.")] = None
    channels: Annotated[
        int | None, Field(description="Of raw pixels, 1 to 4; by default those of the fleet.")
    ] = None


def classify_routes(web: Web) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/classify",
        summary="Ask the fleet about an image",
        response_model=Answer,
        responses=errors(400, 408, 413, 415, 429) | no_answer("No node answered, or busy."),
        openapi_extra={"requestBody": IMAGE_BODY, "parameters": parameters(ClassifyQuery)},
    )
    async def classify(request: Request) -> JSONResponse:
        """Send a PNG, a JPEG or raw pixels; comes back as soon as all live nodes have answered, at
        the deadline with what there is. Images of another size than the fleet's are cropped to the
        centred part of its aspect ratio and resized."""
        _check_type(request)
        query = _query(request, ClassifyQuery)
        label = _label(query.label, web.gateway.fleet.manifest.classes)
        # Before the body is there it takes no place: those who send slowly would take them all.
        web.limits.check_in_flight()
        body = await web.limits.body(request)
        with web.limits.in_flight():
            image = await _pixels(web, body, query)
            asked = web.gateway.classify(
                image, k=query.k, deadline_ms=query.deadline_ms, label=label
            )
            return _reply(await _unless_gone(request, asked))

    @router.post(
        "/v1/trigger",
        summary="Have the nodes capture what they see, and answer",
        response_model=Answer,
        responses=errors(400, 429) | no_answer("No node answered."),
        openapi_extra={"parameters": parameters(TriggerQuery)},
    )
    async def trigger(request: Request) -> JSONResponse:
        """One message makes every node that has an input source of its own capture, infer and
        answer. The votes are about what each node saw."""
        query = _query(request, TriggerQuery)
        label = _label(query.label, web.gateway.fleet.manifest.classes)
        with web.limits.in_flight():
            asked = web.gateway.trigger(k=query.k, deadline_ms=query.deadline_ms, label=label)
            return _reply(await _unless_gone(request, asked))

    return router


def _query(request: Request, kind: type[Query]) -> Query:
    """The query, in a tenth of the time that FastAPI takes for a model of parameters."""
    takes_keys_once(request)
    try:
        return kind.model_validate(dict(request.query_params))
    except ValidationError as problem:
        located = [{**error, "loc": ("query", *error["loc"])} for error in problem.errors()]
        raise RequestValidationError(located) from None


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Problem(
            415,
            f"the body is {kind}: send the image itself (a PNG or JPEG file, or raw pixels as "
            "application/octet-stream with height and width in the query)",
        )


def _label(text: str | None, classes: list[str]) -> int | None:
    if text is None:
        return None
    if text in classes:
        return classes.index(text)
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) >= len(classes):
        raise VpError(f"label {quoted(text)} is neither a class of the fleet nor its index")
    return int(text)


async def _pixels(web: Web, body: bytes, query: ClassifyQuery) -> NDArray[np.uint8]:
    """The image in the fleet's size. What takes long is done by the decoding threads."""
    wanted = web.gateway.fleet.manifest.input
    if query.height is None and query.width is None and query.channels is None:
        small = await web.decoders.run(_decode_small, body, wanted)
        if small is not None:
            return small
        return await web.decoders.run_large(decode_image, body, wanted, "the body")
    raw = _raw(body, query, wanted)
    if raw.shape == (wanted.height, wanted.width, wanted.channels):
        return raw
    is_large = raw.shape[0] * raw.shape[1] > LARGE_PIXELS
    return await (web.decoders.run_large if is_large else web.decoders.run)(fit_pixels, raw, wanted)


def _decode_small(body: bytes, wanted: InputInfo) -> NDArray[np.uint8] | None:
    """None if the image is large."""
    if pixel_count(body, "the body") > LARGE_PIXELS:
        return None
    return decode_image(body, wanted, "the body")


def _raw(body: bytes, query: ClassifyQuery, wanted: InputInfo) -> NDArray[np.uint8]:
    """Raw pixels: rows from the top, pixels from the left, a byte a channel."""
    channels = wanted.channels if query.channels is None else query.channels
    if query.height is None or query.width is None:
        raise VpError("raw pixels need both height and width in the query")
    height, width = query.height, query.width
    if height < 1 or width < 1 or height * width > MAX_PIXELS or not 1 <= channels <= 4:
        raise VpError(
            f"height={height}, width={width}, channels={channels}: raw pixels have 1 to 4 channels "
            f"and at most {MAX_PIXELS // 1_000_000} million pixels"
        )
    if len(body) != height * width * channels:
        raise VpError(
            f"the body has {len(body)} bytes, but {height} x {width} x {channels} raw pixels have "
            f"{height * width * channels}"
        )
    return np.frombuffer(body, np.uint8).reshape(height, width, channels)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which ends when the caller hangs up before."""

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(hang_up())
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            gone.result()
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


def _reply(answer: types.Answer) -> JSONResponse:
    value = answer_json(answer)
    if answer.class_index is None:
        return JSONResponse({"error": "no node answered", **value}, 503)
    return JSONResponse(value)
