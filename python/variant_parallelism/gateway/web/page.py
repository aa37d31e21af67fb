"""The page that shows the fleet: fixed files, served from memory, that need nothing else."""

from __future__ import annotations

from hashlib import blake2s
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for every time and mostly answered with 304, so that a new gateway's page is new, too.
    "Cache-Control": "no-cache",
}


def page_routes() -> list[BaseRoute]:
    """`/` and `/static/...`. They hold no data, so they need no token."""
    held = {
        file.name: file.read_bytes()
        for file in files("variant_parallelism.gateway.web").joinpath("static").iterdir()
    }

    def serve(request: Request, name: str) -> Response:
        content = held.get(name)
        if content is None:
            raise HTTPException(404, "Not Found")
        etag = f'"{blake2s(content, digest_size=16).hexdigest()}"'
        headers = {**_HEADERS, "ETag": etag}
        if request.headers.get("If-None-Match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[name[name.rindex(".") :]])

    async def index(request: Request) -> Response:
        return serve(request, _INDEX)

    async def static(request: Request) -> Response:
        return serve(request, request.path_params["name"])

    return [Route("/", index), Route("/static/{name}", static)]
