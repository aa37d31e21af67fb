"""The gateway's HTTP side as one ASGI application."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from variant_parallelism import __version__
from variant_parallelism.gateway.web.classify import classify_routes
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.draining import Draining
from variant_parallelism.gateway.web.errors import handle_errors
from variant_parallelism.gateway.web.fleet import fleet_routes
from variant_parallelism.gateway.web.limits import SmallBodies
from variant_parallelism.gateway.web.live import live_routes
from variant_parallelism.gateway.web.openapi import DESCRIPTION, TITLE, document, operation_id
from variant_parallelism.gateway.web.page import page_routes
from variant_parallelism.gateway.web.security import Guard
from variant_parallelism.gateway.web.session import session_routes


class HeadAsGet:
    """ASGI: answers HEAD as GET; the server leaves the body out. Not of events: they never end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "HEAD" and scope["path"] != "/v1/events":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def make_app(web: Web) -> FastAPI:
    """The API and the page that uses it. Errors are `{"error": one line}`."""
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=__version__,
        openapi_url="/v1/openapi.json",
        # Their pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    app.add_middleware(SmallBodies, limits=web.limits, images="/v1/classify")
    app.add_middleware(HeadAsGet)
    app.add_middleware(Guard, access=web.access, counters=web.counters)
    app.add_middleware(Draining, is_stopping=lambda: web.stopping)
    handle_errors(app, web.counters, lambda: web.stopping)
    for routes in (classify_routes, fleet_routes, live_routes, session_routes):
        app.include_router(routes(web))
    app.router.routes.extend(page_routes())
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    return app
