"""Who may call: the token, and what keeps other sites' pages in a browser from calling for it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from variant_parallelism.api import HttpCounters
from variant_parallelism.fleet import parse_endpoint
from variant_parallelism.gateway.web.errors import Problem, count_refusal, refusal

_PUBLIC = ("/", "/favicon.ico", "/v1/login", "/v1/logout")
_SAFE = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Of every response that does not say otherwise."""


class Access:
    """One gateway's token and the browser session that stands for it.

    A session is a keyed hash of the token: it outlives a restart, and ends with the token. Cookies
    do not know ports, so its name holds the fleet's id.
    """

    def __init__(self, token: str | None, fleet_id: int, own_host: str) -> None:
        self.token = token
        self.cookie = f"vp_session_{fleet_id}"
        self.own_host = own_host

    @property
    def session(self) -> str:
        key = hashlib.blake2s((self.token or "").encode()).digest()
        return hashlib.blake2s(b"vp browser session", key=key).hexdigest()

    def is_token(self, text: str) -> bool:
        return self.token is not None and _equal(text, self.token)

    def admits(self, headers: Headers) -> bool:
        """Whether a request carries the token, or the session made from it."""
        if self.token is None:
            return True
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(value.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return cookie is not None and _equal(cookie.value, self.session)


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


class Guard:
    """ASGI: refuses whom `Access` does not admit, and requests that another site's page makes."""

    def __init__(self, app: ASGIApp, access: Access, counters: HttpCounters) -> None:
        self._app = app
        self._access = access
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self._counters.requests += 1

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._problem(scope["method"], scope["path"], Headers(scope=scope))
        if problem is None:
            await self._app(scope, receive, with_headers)
        else:
            count_refusal(self._counters, problem.status)
            await refusal(problem)(scope, receive, with_headers)

    def _problem(self, method: str, path: str, headers: Headers) -> Problem | None:
        host = headers.get("host", "")
        # A page of a name that was made to point here (DNS rebinding) has no cookie for it, so
        # where there is a token, the name does not matter.
        if self._access.token is None and not _is_own(host, self._access.own_host):
            return Problem(
                403,
                f"this gateway has no token, so it does not answer to the name {host!r}: use "
                "127.0.0.1, or set [gateway] token_file",
            )
        if _is_foreign(method, headers, host):
            return Problem(403, "the request comes from another site's page")
        public = path in _PUBLIC or path.startswith("/static/")
        if not public and not self._access.admits(headers):
            return Problem(
                401, "this needs the gateway's token: Authorization: Bearer <what token_file holds>"
            )
        return None


def _is_own(host: str, own: str) -> bool:
    try:
        name = parse_endpoint(host if host.rpartition(":")[2].isdecimal() else f"{host}:0")[0]
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() in ("localhost", own.lower())


def _is_foreign(method: str, headers: Headers, host: str) -> bool:
    """Whether a browser says that another site asks; other programs say nothing."""
    site = headers.get("sec-fetch-site", "none")
    navigation = method == "GET" and headers.get("sec-fetch-dest") == "document"
    if site not in _OWN and not navigation:
        return True
    origin = headers.get("origin")
    return method not in _SAFE and origin is not None and origin.partition("://")[2] != host
