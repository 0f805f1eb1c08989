"""When the server says that it is there."""

import signal
import socket

import pytest

pytest.importorskip("uvicorn", reason="the extra app is not installed")

from style_match.serving.web import server


async def nothing(scope, receive, send) -> None:
    """An application that answers nothing."""


def test_it_listens_when_it_says_so(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = []

    def say(line: str) -> None:
        with socket.socket() as visitor:
            said.append((line, visitor.connect_ex(("127.0.0.1", port))))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(server, "say", say)
    server.serve(nothing, "here", host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    assert said == [("here", 0)]


def test_it_says_nothing_where_it_cannot_listen(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit):
            server.serve(nothing, "here", host="127.0.0.1", port=taken.getsockname()[1], lifespan="off")
    assert "here" not in capsys.readouterr().err
