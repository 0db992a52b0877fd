"""Who may ask this server: no other site's page, nobody by another name, beyond this machine only by a token."""

import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.browser.browse_config import BrowseConfig

COOKIE: Final = "skel_labels_token"
MAX_BODY_BYTES: Final = 16_384

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
_SAFE: Final = frozenset({"GET", "HEAD"})


class Guard:
    """ASGI middleware: refuses what does not come from our own page at our own address, and sets HEADERS on answers."""

    def __init__(self, app: ASGIApp, config: BrowseConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                new = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
                message = {**message, "headers": [*message["headers"], *new]}
            await send(message)

        answer = self._refusal(request) or self._token(request)
        await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if request.method not in _SAFE | {"POST"}:
            return _refused(405, "only GET and POST are answered")
        if not self._named(headers.get("host", "")):
            return _refused(421, "this server does not go by that name: set browse.name, or open the address it said")
        if problem := _foreign(request, headers, self._config):
            return _refused(403, problem)
        length = headers.get("content-length", "0")
        if request.method == "POST" and (not length.isdecimal() or int(length) > MAX_BODY_BYTES):
            return _refused(413, f"a body of at most {MAX_BODY_BYTES} bytes is expected")
        return None

    def _named(self, host: str) -> bool:
        """DNS rebinding: a page of another site can make its own name point here, but not ours."""
        name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
        if port and not port.isdecimal():
            return False
        return name.strip("[]").lower() in _names(self._config)

    def _token(self, request: Request) -> Response | None:
        """None when the visitor has shown the token, else the answer."""
        token = self._config.token
        if token is None:
            return None
        if _same(token, (request.headers.get("authorization") or "").removeprefix("Bearer ").strip()):
            return None
        if request.method in _SAFE and _same(token, request.query_params.get("token", "")):
            return _with_cookie(request, token)
        if _same(token, request.cookies.get(COOKIE, "")):
            return None
        return _refused(401, "a token is needed: open the address with ?token=... once")


def _with_cookie(request: Request, token: str) -> Response:
    """Into a cookie, and out of the address, which people copy."""
    rest = urlencode([(name, value) for name, value in parse_qsl(request.url.query) if name != "token"])
    # One slash: `//host` would be another server.
    path = "/" + request.url.path.lstrip("/")
    answer = RedirectResponse(path + (f"?{rest}" if rest else ""), status_code=303)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _foreign(request: Request, headers: Headers, config: BrowseConfig) -> str | None:
    """Why the request is one that another site's page made, or None."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return "requests from other sites are refused"
    site = headers.get("sec-fetch-site", "none")
    opened = request.method in _SAFE and headers.get("sec-fetch-mode") == "navigate" and request.url.path == "/"
    if site not in ("same-origin", "none") and not opened:  # a link to our page may stand anywhere
        return "requests from other sites are refused"
    if request.method == "POST":
        if not (headers.get("content-type") or "").startswith("application/json"):
            return "application/json is expected"
        if origin is None and site != "same-origin" and config.token is None:
            return "a request that changes something must come from our own page"
    return None


def _names(config: BrowseConfig) -> Iterable[str]:
    own = {config.host.strip("[]").lower()}
    if config.name is not None:
        own.add(config.name.lower())
    return own | ({"localhost", "127.0.0.1", "::1"} if config.is_local else set())


def _same(token: str, shown: str) -> bool:
    return hmac.compare_digest(token.encode(), shown.encode())


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)
