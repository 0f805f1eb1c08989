"""Who may ask the server, and the headers of every answer."""

import base64
import binascii
import secrets
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # styles are set by plotly.js on its elements; blob: is the preview of a photo that the browser has not sent yet
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # a page elsewhere cannot show the photos as its own
    "Cache-Control": "no-store",  # photos of people stay out of the browser's cache
}


class Guard:
    """Around the whole application, so that errors have the headers too.

    Args:
        hosts: names by which the server may be called, so that no web page elsewhere can reach a server without a
            password by a name of its own (DNS rebinding); None for any.
        password: asked for by HTTP basic authentication, any user name; None where only this machine can connect.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None, password: str | None):
        self.app, self.hosts, self.password = app, hosts, password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        app = self.app
        if scope["type"] == "http":
            request = Request(scope)
            if self.hosts is not None and host_of(request.headers.get("host", "")) not in self.hosts:
                app = Response("The server does not go by this name: open the address that its terminal shows.", 400)
            elif self.password and not self._knows(request.headers.get("authorization", "")):
                app = Response("A password is needed.", 401, {"WWW-Authenticate": 'Basic realm="style_match"'})
        await app(scope, receive, send_with_headers)

    def _knows(self, authorization: str) -> bool:
        kind, _, told = authorization.partition(" ")
        try:
            given = base64.b64decode(told, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
        return kind.lower() == "basic" and secrets.compare_digest(given, str(self.password).encode())


def host_of(header: str) -> str | None:
    """The name in a Host header without its port, in small letters; None where there is none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
