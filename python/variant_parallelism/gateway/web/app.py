"""The gateway's HTTP side as one ASGI application."""

from __future__ import annotations

from fastapi import FastAPI

from variant_parallelism import __version__
from variant_parallelism.gateway.web.classify import classify_routes
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.draining import Draining
from variant_parallelism.gateway.web.errors import handle_errors
from variant_parallelism.gateway.web.fleet import fleet_routes
from variant_parallelism.gateway.web.openapi import DESCRIPTION, TITLE


def make_app(web: Web) -> FastAPI:
    """The API. Errors are `{"error": one line}`."""
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=__version__,
        openapi_url="/v1/openapi.json",
        # Their pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(Draining)
    handle_errors(app, web.counters)
    for router in (classify_routes(web), fleet_routes(web)):
        app.include_router(router)
    return app
