"""The web server of `style_match.app`: a page, its data as JSON, thumbnails. Nothing that is sent to it is kept."""

import base64
import binascii
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
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

from style_match.utils.errors import UserError
from style_match.utils.files import cache_root, hold
from style_match.utils.progress import say

if TYPE_CHECKING:
    from style_match.serving.web.catalogue import Catalogue
    from style_match.serving.web.live import Live


# Who may ask the server, and the headers of every answer.


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


# Which apps are running on this machine, so that `style_match.forget` can name those that show a dataset folder.


FOLDER = "apps"  # in the cache root


@contextmanager
def registered(address: str, data_root: Path) -> Iterator[None]:
    """While inside, `running_apps` lists this process. The operating system ends that with the process, too."""
    path = cache_root() / FOLDER / f"{os.getpid()}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = hold(path)
        if file is not None:
            file.truncate(0)
            file.write(json.dumps({"address": address, "data_root": str(data_root.resolve())}))
            file.flush()
    except OSError as error:
        say(f"{path} cannot be written ({error.strerror}): style_match.forget will not name this app")
        file = None
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


def running_apps(data_root: Path) -> list[str]:
    """Address and process of every app that shows this dataset folder; files of processes that ended are removed."""
    found = []
    for path in sorted((cache_root() / FOLDER).glob("*.json")):
        try:
            if (file := hold(path)) is not None:  # nobody holds it: its process ended
                path.unlink(missing_ok=True)
                file.close()
                continue
            about = json.loads(path.read_text(encoding="utf-8"))
            if about["data_root"] == str(data_root.resolve()):
                found.append(f"{about['address']} (process {path.stem})")
        except (OSError, ValueError, KeyError, TypeError):  # it is being written, or is nobody's
            continue
    return found


# Serving an application until Ctrl-C.


class Server(uvicorn.Server):
    """Says `line` once it listens, so that whoever waits for the line can connect."""

    def __init__(self, config: uvicorn.Config, line: str):
        super().__init__(config)
        self.line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        say(self.line)


def serve(application: ASGIApp, line: str, **options: Any) -> None:
    """Serve until Ctrl-C with these options of `uvicorn.Config`; exits with 1 where it could not begin."""
    server = Server(uvicorn.Config(application, **options), line)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


Work = Callable[["Catalogue", Any], dict[str, Any]]
STATIC = Path(__file__).parent / "static"
SIDES_PX = (16, 128, 512)  # of a thumbnail: least, where nothing is said, most
log = logging.getLogger(__name__)


class TooLarge(UserError):
    """An upload above the bound."""


class Json(JSONResponse):
    """ASCII, so that half a surrogate pair in metadata is no error."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


def make_server(
    catalogue: "Catalogue | Live", *, hosts: Collection[str] | None, password: str | None, max_upload_mb: float
) -> ASGIApp:
    """The application.

    Args:
        catalogue: asked for its `current` one before each answer.
        hosts, password: of `Guard`.
        max_upload_mb: most of an uploaded photo, in 10^6 bytes; it is read into memory and dropped after the answer.
    """
    routes = Page(catalogue, int(max_upload_mb * 1e6)).routes()
    return Guard(Starlette(routes=routes, middleware=[Middleware(GZipMiddleware)]), hosts=hosts, password=password)


class Page:
    """The routes."""

    def __init__(self, catalogue: "Catalogue | Live", max_upload_bytes: int):
        self.catalogue, self.max_upload_bytes = catalogue, max_upload_bytes

    def routes(self) -> list[Route]:
        return [
            Route("/", lambda request: FileResponse(STATIC / "index.html")),
            Route("/static/plotly.js", plotly_js),
            Route("/static/{name}", static_file),
            Route("/photo/{number}.jpg", self.photo),
            Route("/api/about", self.get(lambda catalogue, asked: catalogue.about())),
            Route("/api/profiles", self.get(lambda catalogue, asked: catalogue.find(asked.get("find", "")))),
            Route("/api/match", self.match, methods=["GET", "POST"]),
            Route("/api/search", self.get(self._search)),
            Route("/api/map", self.get(self._map)),
        ]

    def get(self, work: "Work") -> Callable[[Request], Any]:
        """A route that answers what `work` makes of the catalogue and the query's parameters."""

        async def route(request: Request) -> Response:
            return await self.answer(work, request.query_params)

        return route

    def _current(self, asked: Any) -> "Catalogue":
        """The catalogue, if it is the one whose numbers the page has (`of`)."""
        catalogue = self.catalogue.current()
        if asked.get("of", catalogue.version) != catalogue.version:
            raise UserError("The profiles were changed since this page was loaded: load it again.")
        return catalogue

    async def answer(self, work: "Work", asked: Any) -> Response:
        """JSON; a mistake of the user's is a 400 that says what it is."""
        try:
            return Json(await run_in_threadpool(lambda: work(self._current(asked), asked)))
        except UserError as error:
            return Json({"error": self.catalogue.public(str(error))}, 400)
        except Exception:
            log.exception("an answer failed")
            return Json({"error": "This is a bug; the terminal of style_match.app shows it."}, 500)

    async def photo(self, request: Request) -> Response:
        """A thumbnail; profile and photo are named by their numbers: paths are not taken."""
        least, usual, most = SIDES_PX
        asked = request.query_params
        try:
            side = min(max(int(asked.get("side", usual)), least), most)
            number, photo = int(request.path_params["number"]), int(asked.get("photo", 0))
            content = await run_in_threadpool(lambda: self._current(asked).thumbnail(number, photo, side))
        except (UserError, ValueError):
            return Response(status_code=404)
        return Response(content, media_type="image/jpeg")

    async def match(self, request: Request) -> Response:
        """Matches of a profile (GET, `number`), or of the photo that is the body (POST)."""
        asked = request.query_params
        if request.method != "POST":
            return await self.answer(self._match_profile, asked)
        if "x-upload" not in request.headers:  # a form of another site cannot send this header
            return Json({"error": "Photos are sent by the page itself."}, 400)
        try:
            content = await self._body(request)
        except TooLarge as error:  # the rest is not read
            return Json({"error": str(error)}, 413, {"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        return await self.answer(lambda catalogue, options: self._match_photo(catalogue, content, options), asked)

    async def _body(self, request: Request) -> bytes:
        content = bytearray()
        bound = self.max_upload_bytes
        too_large = TooLarge(f"The photo is above {bound / 1e6:g} MB (app.max_upload_mb): send a smaller one.")
        told = request.headers.get("content-length", "")
        if told.isdecimal() and (len(told) > len(str(bound)) or int(told) > bound):
            raise too_large
        async for chunk in request.stream():
            content += chunk
            if len(content) > bound:
                raise too_large
        return bytes(content)

    @staticmethod
    def _match_profile(catalogue: "Catalogue", asked: Any) -> dict[str, Any]:
        return catalogue.match_profile(_whole(asked, "number"), **_filters(asked))

    @staticmethod
    def _match_photo(catalogue: "Catalogue", content: bytes, asked: Any) -> dict[str, Any]:
        return catalogue.match_photo(content, asked.get("side") or None, **_filters(asked))

    @staticmethod
    def _search(catalogue: "Catalogue", asked: Any) -> dict[str, Any]:
        return catalogue.search(asked.get("text", ""), **_filters(asked))

    @staticmethod
    def _map(catalogue: "Catalogue", asked: Any) -> dict[str, Any]:
        return catalogue.map(asked.get("colour", ""), asked.get("where") or None)


def _whole(asked: Any, name: str) -> int:
    try:
        return int(asked[name])
    except (KeyError, ValueError):
        raise UserError(f"{name}={asked.get(name, '')[:40]} must be a whole number.") from None


def _filters(asked: Any) -> dict[str, Any]:
    return {"k": _whole(asked, "k"), "where": asked.get("where") or None}


async def static_file(request: Request) -> Response:
    known = {path.name: path for path in STATIC.iterdir()}
    path = known.get(request.path_params["name"])
    return FileResponse(path) if path else Response(status_code=404)


async def plotly_js(request: Request) -> Response:
    return Response(_plotly(), media_type="text/javascript")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
