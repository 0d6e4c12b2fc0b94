"""Access control: programs and the server's own page, but no page of another site.

A server on one's own machine is reached by every page that a browser there has open. Such a page is refused by what
browsers cannot forge: the Host that they ask for, which gives away a foreign name that was pointed at this address (DNS
rebinding), and the Origin that they come from (cross-site requests). Programs send no Origin, and have the rights of
the user who runs them.

Starlette's TrustedHostMiddleware does the first half only. It compares with a fixed list, which cannot name the
addresses of a server on 0.0.0.0, and it answers in plain text without the way out (--allow-host). CORSMiddleware
refuses nothing.
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
    """ASGI middleware that answers 403 to other sites, and adds to each answer what browsers may do with it.

    Args:
        app: what is guarded.
        names: host names that are this server's beside localhost and the machine's own; addresses always are.
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
        if host and not self._is_ours(host):  # no browser leaves it out
            return f"{host!r} is not this server's name: start it with --allow-host NAME if it should be"
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
