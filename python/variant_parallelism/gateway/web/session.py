"""POST /v1/login and /v1/logout: the token, for a browser."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from variant_parallelism.api import Login
from variant_parallelism.gateway.web.context import Web
from variant_parallelism.gateway.web.errors import Problem
from variant_parallelism.gateway.web.openapi import errors

_LONGEST_S = 30 * 24 * 3600


def session_routes(web: Web) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/login",
        summary="Exchange the token for a cookie",
        status_code=204,
        response_class=Response,
        responses=errors(400),
    )
    async def login(request: Request, given: Login) -> Response:
        """For browsers: the cookie is of this site only and out of reach of scripts. It ends after
        30 days, or when the gateway's token changes."""
        response = Response(status_code=204)
        if web.access.token is None:
            return response
        if not web.access.is_token(given.token):
            raise Problem(401, "this is not the gateway's token")
        response.set_cookie(
            web.access.cookie,
            web.access.session,
            max_age=_LONGEST_S,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    @router.post(
        "/v1/logout", summary="Forget the cookie", status_code=204, response_class=Response
    )
    async def logout() -> Response:
        response = Response(status_code=204)
        response.delete_cookie(web.access.cookie, httponly=True, samesite="strict")
        return response

    return router
