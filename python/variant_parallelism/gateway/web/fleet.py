"""GET /v1/fleet, /v1/nodes, /v1/counters and /metrics; POST /v1/nodes/{id}/quarantine."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, Response

from variant_parallelism.api import FleetCounters, FleetInfo, Node, Nodes, Quarantine
from variant_parallelism.errors import VpError
from variant_parallelism.gateway.report import node_json
from variant_parallelism.gateway.texts import in_thread
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.errors import Problem, quoted
from variant_parallelism.gateway.web.metrics import http_metrics
from variant_parallelism.gateway.web.openapi import errors


def fleet_routes(web: Web) -> APIRouter:
    router = APIRouter(responses=errors(400), dependencies=[Depends(_takes_no_query)])

    @router.get("/v1/fleet", summary="What this gateway serves")
    async def fleet() -> FleetInfo:
        table, manifest = web.gateway.fleet.table, web.gateway.fleet.manifest
        return FleetInfo(
            fleet=table.name,
            classes=manifest.classes,
            input=(manifest.input.height, manifest.input.width, manifest.input.channels),
            k=table.k,
            deadline_ms=table.deadline_ms,
            started=round(web.started, 3),
        )

    @router.get("/v1/nodes", summary="Every node and how it does", response_model=Nodes)
    async def nodes() -> JSONResponse:
        fleet, statuses = web.gateway.fleet.table.name, web.gateway.nodes()

        def reply() -> JSONResponse:
            return JSONResponse({"fleet": fleet, "nodes": [node_json(node) for node in statuses]})

        # Hundreds of nodes take a while.
        return await in_thread(reply)

    @router.post(
        "/v1/nodes/{node}/quarantine",
        summary="Leave a node's votes out, or count them again",
        response_model=Node,
        responses=errors(404),
    )
    async def quarantine(
        node: Annotated[int, Path(description="Its id.")], wanted: Quarantine
    ) -> JSONResponse:
        """A node in quarantine is still asked, but nobody waits for it and its votes do not count,
        until it is taken back in the same way, also after a restart."""
        if all(known.id != node for known in web.gateway.nodes()):
            raise Problem(404, f"the fleet has no node {node}")
        web.gateway.quarantine(node, wanted.on, wanted.reason)
        status = next(known for known in web.gateway.nodes() if known.id == node)
        return JSONResponse(node_json(status))

    @router.get(
        "/v1/counters",
        summary="Counts since the gateway started",
        response_model=FleetCounters,
    )
    async def counters() -> JSONResponse:
        return JSONResponse({**web.gateway.counters.as_dict(), "http": web.counters.as_dict()})

    @router.get(
        "/metrics",
        summary="The same for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **errors(404)},
    )
    async def metrics() -> Response:
        if web.metrics is None:
            raise Problem(404, "this gateway has no metrics")
        body, content_type = await web.metrics()
        return Response(body + http_metrics(web.counters), headers={"Content-Type": content_type})

    return router


def _takes_no_query(request: Request) -> None:
    for name in request.query_params:
        raise VpError(f"unknown query key {quoted(name)}")
