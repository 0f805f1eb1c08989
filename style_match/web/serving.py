"""Serving an application until Ctrl-C."""

import socket
import sys
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from style_match.progress import say


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
