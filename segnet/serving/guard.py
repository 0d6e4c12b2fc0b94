"""Access control: accept programs and the server's own page, refuse pages of other sites.

Every page in a local browser can reach a local server. Pages of other sites are refused by two headers that they cannot
forge: Host, which reveals DNS rebinding, and Origin, which reveals cross-site requests. Programs send no Origin, and
have the rights of their user.

Starlette's TrustedHostMiddleware checks only Host, against a fixed list, which cannot contain the addresses of a server
on 0.0.0.0. Its answer is plain text without advice (--allow-host). CORSMiddleware refuses nothing.
"""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware that answers 403 to other sites, and adds security headers to each answer.

    Args:
        app: the application.
        names: allowed host names, besides localhost, the machine's name and all addresses.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._app = app
        self._names = {"localhost", own, f"{own}.local", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        app = JSONResponse({"error": refusal}, 403) if refusal else self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if host and not self._is_ours(host):  # browsers always send it
            return f"{host!r} is not a name of this server: to allow it, start the server with --allow-host NAME"
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return f"a page of {origin!r} may not use this server"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
