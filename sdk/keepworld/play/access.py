"""Who may come in: whoever has the run's link, from a page of this very address. And what a page may do: nothing but its own.

The link holds a token that is good as long as the program runs. It is exchanged at once for a cookie that scripts cannot
read and that other sites' pages do not send. A name that somebody points at this machine is refused by its Host header, another
site's script by its Origin.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SAFE = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",  # the splat viewer is compiled to WebAssembly
            "worker-src 'self' blob:",
            "style-src 'self'",
            "img-src 'self' blob:",
            "media-src blob:",
            "connect-src 'self' blob:",  # textures in a mesh's file
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Access:
    """The doors of a run.

    Args:
        names: what this machine may be called besides its addresses and localhost.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self.token = secrets.token_urlsafe(32)
        self._names = {"localhost", *(name.lower() for name in names)}
        self._known: set[str] = set()
        self._cookie = f"keepworld-{secrets.token_hex(4)}"  # cookies do not tell ports apart

    def enter(self, request: web.Request) -> web.Response:
        """Exchange the link's token for a cookie, and lead to the page.

        Raises:
            web.HTTPForbidden: it is not this run's.
        """
        given = request.query.get("token", "")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise web.HTTPForbidden(text="This link is of another run. Open the one that the terminal shows now.\n")
        who = self.who(request) or secrets.token_urlsafe(32)
        self._known.add(who)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(self._cookie, who, httponly=True, samesite="Strict", path="/")
        return response

    def who(self, request: web.Request) -> str | None:
        """Which browser asks; None for one that did not enter."""
        given = request.cookies.get(self._cookie, "")
        return given if given in self._known else None

    def check(self, request: web.Request) -> str:
        """Which browser asks.

        Raises:
            web.HTTPForbidden: one that did not enter.
        """
        who = self.who(request)
        if who is None:
            raise web.HTTPForbidden(text="Open the link that `keepworld` printed in the terminal: it lets you in.\n")
        return who

    def middleware(self) -> Middleware:
        """Checks every request's Host and Origin, and puts the headers on every answer."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                self._check_source(request)
                response = await handler(request)
            except web.HTTPException as error:
                error.headers.update(HEADERS)
                raise
            if not response.prepared:
                response.headers.update(HEADERS)
            return response

        return guard

    def _check_source(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        if not self._is_ours(host):
            raise web.HTTPForbidden(text="This machine is not called that.\n")
        origin = request.headers.get("Origin")
        needs_origin = request.method not in _SAFE or request.headers.get("Upgrade", "").lower() == "websocket"
        if (origin is not None or needs_origin) and origin != f"{request.scheme}://{host}":
            raise web.HTTPForbidden(text="Another site's page may not do that.\n")

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.lower() in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True
