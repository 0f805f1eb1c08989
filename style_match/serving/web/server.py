"""The web server of `style_match.app`: a page, its data as JSON, and thumbnails. Uploads are not stored."""

import base64
import json
import secrets
import socket
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from style_match.serving.web.live import Live, without_paths
from style_match.utils.errors import UserError
from style_match.utils.progress import say

if TYPE_CHECKING:
    from style_match.serving.web.catalogue import Catalogue

HEADERS = {
    # plotly.js styles its elements; blob: is the preview of a photo that the browser has not sent yet
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other site can embed the photos
    "Cache-Control": "no-store",  # photos of people stay out of the browser's cache
}
STATIC = Path(__file__).parent / "static"
THUMBNAIL_PX = (16, 128, 512)  # least, default, most


def make_server(live: Live, *, hosts: Collection[str] | None, password: str | None, max_upload_mb: float) -> ASGIApp:
    """Return the application.

    Args:
        live: Provides the catalogue for each answer.
        hosts: See `Guard`.
        password: See `Guard`.
        max_upload_mb: Bound on a photo in 10^6 bytes; it is held in memory until it is answered.
    """

    def mistake(request: Request, error: Exception) -> Response:
        return Json({"error": without_paths(str(error), live.hidden)}, 400)

    def bug(request: Request, error: Exception) -> Response:  # Starlette raises the error again, so it is logged
        return Json({"error": "This is a bug; the terminal of style_match.app shows it."}, 500)

    application = Starlette(
        routes=Page(live, int(max_upload_mb * 1e6)).routes(),
        middleware=[Middleware(GZipMiddleware)],
        exception_handlers={UserError: mistake, Exception: bug},
    )
    return Guard(application, hosts=hosts, password=password)


class Guard:
    """Adds security headers to every response, errors included, and checks host name and password.

    Args:
        app: The application.
        hosts: Host names that requests may use, against DNS rebinding by other sites; None for any.
        password: Password of HTTP basic authentication with any user name; None if only this machine can connect.
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
            if self.hosts is not None and _host_of(request.headers.get("host", "")) not in self.hosts:
                app = Response("Unknown host name: open the address that the terminal shows.", 400)
            elif self.password and not self._is_authorized(request.headers.get("authorization", "")):
                app = Response("A password is required.", 401, {"WWW-Authenticate": 'Basic realm="style_match"'})
        await app(scope, receive, send_with_headers)

    def _is_authorized(self, authorization: str) -> bool:
        kind, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True).partition(b":")[2]
        except ValueError:
            return False
        return kind.lower() == "basic" and secrets.compare_digest(given, str(self.password).encode())


def _host_of(header: str) -> str | None:
    """Return the name in a Host header without its port, in lower case."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


class Json(JSONResponse):
    """JSON in ASCII, which can also hold half a surrogate pair from metadata."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, separators=(",", ":")).encode()


class Page:
    """The routes of the page. Starlette calls those that are not async in threads.

    Args:
        live: Provides the catalogue for each answer.
        max_upload_bytes: Bound on a photo.
    """

    def __init__(self, live: Live, max_upload_bytes: int):
        self.live, self.max_upload_bytes = live, max_upload_bytes

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route("/", lambda request: FileResponse(STATIC / "index.html")),
            Route("/static/plotly.js", lambda request: Response(_plotly_js(), media_type="text/javascript")),
            Route("/static/{name}", _static_file),
            Route("/photo/{number}.jpg", self.photo),
            Route("/api/about", lambda request: Json(self._catalogue(request).about())),
            Route("/api/profiles", self.profiles),
            Route("/api/match", self.match),
            Route("/api/match", self.match_upload, methods=["POST"]),
            Route("/api/search", self.search),
            Route("/api/map", self.map),
        ]

    def photo(self, request: Request) -> Response:
        """Answer with a thumbnail. Profile and photo are numbers; paths are not accepted."""
        least, default, most = THUMBNAIL_PX
        query = request.query_params
        try:
            side = min(max(int(query.get("side", default)), least), most)
            number, photo = int(request.path_params["number"]), int(query.get("photo", 0))
            content = self._catalogue(request).thumbnail(number, photo, side)
        except (UserError, ValueError):
            return Response(status_code=404)
        return Response(content, media_type="image/jpeg")

    def profiles(self, request: Request) -> Response:
        """Answer with the profiles whose id contains `find`."""
        return Json(self._catalogue(request).find(request.query_params.get("find", "")))

    def match(self, request: Request) -> Response:
        """Answer with the matches of the profile `number`."""
        number = _whole(request, "number")
        return Json(self._catalogue(request).match_profile(number, **_filters(request)))

    async def match_upload(self, request: Request) -> Response:
        """Answer with the matches of the photo in the body."""
        if "x-upload" not in request.headers:  # a form of another site cannot send this header
            return Json({"error": "Only the page itself may send photos."}, 400)
        content, side = bytearray(), request.query_params.get("side") or None
        try:
            async for chunk in request.stream():
                content += chunk
                if len(content) > self.max_upload_bytes:  # the rest is not read
                    bound = f"{self.max_upload_bytes / 1e6:g} MB (app.max_upload_mb)"
                    error = f"The photo is above {bound}. Send a smaller one."
                    return Json({"error": error}, 413, {"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        return Json(
            await run_in_threadpool(
                lambda: self._catalogue(request).match_photo(bytes(content), side, **_filters(request))
            )
        )

    def search(self, request: Request) -> Response:
        """Answer with the profiles that fit `text` best."""
        return Json(self._catalogue(request).search(request.query_params.get("text", ""), **_filters(request)))

    def map(self, request: Request) -> Response:
        """Answer with the embedding maps, coloured by `colour`."""
        query = request.query_params
        return Json(self._catalogue(request).map(query.get("colour", ""), query.get("where") or None))

    def _catalogue(self, request: Request) -> "Catalogue":
        """Return the catalogue if it has the version (`of`) of the page's numbers."""
        catalogue = self.live.current()
        if request.query_params.get("of", catalogue.version) != catalogue.version:
            raise UserError("The profiles changed after this page was loaded. Load it again.")
        return catalogue


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{name}={text[:40]} must be an integer.") from None


def _filters(request: Request) -> dict[str, Any]:
    return {"k": _whole(request, "k"), "where": request.query_params.get("where") or None}


def _static_file(request: Request) -> Response:
    path = {path.name: path for path in STATIC.iterdir()}.get(request.path_params["name"])
    return FileResponse(path) if path else Response(status_code=404)


@cache
def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


class Server(uvicorn.Server):
    """A server that prints `line` when it listens."""

    def __init__(self, config: uvicorn.Config, line: str):
        super().__init__(config)
        self.line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        say(self.line)


def serve(application: ASGIApp, line: str, **options: Any) -> None:
    """Serve until Ctrl-C with options of `uvicorn.Config`; exit with code 1 if the server could not start."""
    server = Server(uvicorn.Config(application, **options), line)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)
