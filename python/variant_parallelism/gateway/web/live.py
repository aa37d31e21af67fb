"""GET /v1/events, /v1/inputs/{request}.png and /v1/history: what there is to look at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from variant_parallelism.gateway.texts import in_thread
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.errors import Problem, takes_keys_once
from variant_parallelism.gateway.web.openapi import EVENT_STREAM, errors
from variant_parallelism.images import encode_png

_REQUEST = "Its number, as in its answer."


class EventsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answers_per_s: Annotated[
        float | None,
        Field(
            gt=0,
            le=1000,
            description="At most this many answers a second, the newest; others are skipped.",
        ),
    ] = None


class HistoryQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    span: Annotated[str, Field(description="10min, hour or day.")] = "hour"
    node: Annotated[int | None, Field(description="A node whose votes to add.")] = None


def live_routes(web: Web) -> APIRouter:
    router = APIRouter(dependencies=[Depends(takes_keys_once)])

    @router.get(
        "/v1/events",
        summary="What happens, as server-sent events",
        response_class=StreamingResponse,
        responses={200: EVENT_STREAM, **errors(400, 503)},
    )
    async def events(query: Annotated[EventsQuery, Query()]) -> StreamingResponse:
        """Every answer and every change of a node's state from now on, `event` being `answer`,
        `node`, `fault` or `warning`. `skipped` tells how many came too fast and are left out
        before the next one. A comment comes every 10 seconds where nothing happens."""
        subscriber = web.hub.subscribe(query.answers_per_s)
        return StreamingResponse(web.hub.stream(subscriber), media_type="text/event-stream")

    @router.get(
        "/v1/inputs/{request}.png",
        summary="The image of a recent request",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}, **errors(400, 404)},
    )
    async def inputs(request: Annotated[int, Path(description=_REQUEST)]) -> Response:
        """Of the latest 256 requests, or 32 MiB of images. Numbers of requests wrap around, so
        ask for it soon."""
        image = web.inputs.get(request)
        if image is None:
            raise Problem(404, f"the image of request {request} is not kept, or there was none")
        png = await web.decoders.run(encode_png, image)
        return Response(png, media_type="image/png")

    @router.get(
        "/v1/history",
        summary="Answers, latencies and availability over time",
        response_model=dict[str, Any],
        responses=errors(400, 404),
    )
    async def history(query: Annotated[HistoryQuery, Query()]) -> JSONResponse:
        """Lists of equal length, an item a point, the oldest first; kept in memory since the
        gateway's start. `time` is in seconds since 1970."""
        window = web.history.window(query.span, query.node)
        return JSONResponse(await in_thread(window.json))

    return router
