"""What the server lets in and what it sends along."""

import asyncio
import base64
import secrets
import signal
import socket
import tempfile

import pytest

from style_match.serving.web import server
from style_match.serving.web.server import STATIC, make_server

from .conftest import live_of

UPLOAD = {"X-Upload": "photo"}
SIDE = {"side": "female", "k": "2"}
ROUTES = ("/", "/static/app.js", "/static/plotly.js", "/photo/1.jpg", "/api/about", "/api/profiles", "/api/map")
GIVEN = {"/api/match": {"number": 0, "k": 2}, "/api/search": {"text": "깔끔한 댄디룩", "k": 2}}


def test_every_route_answers_with_the_headers(client):
    asking = client()
    for path in (*ROUTES, *GIVEN):
        answer = asking.get(path, params=GIVEN.get(path))
        assert answer.status_code == 200, (path, answer.text[:200])
        refuse_without_headers(answer)
    page = asking.get("/").text
    for name in STATIC.iterdir():
        assert asking.get(f"/static/{name.name}").status_code == 200
    assert "http://" not in page and "https://" not in page and "<script>" not in page


def test_errors_have_the_headers_too(client, monkeypatch):
    asking = client(password="geheim")
    signed = {"Authorization": basic("geheim")}
    refuse_without_headers(asking.get("/"), 401)
    refuse_without_headers(asking.get("/nowhere", headers=signed), 404)
    refuse_without_headers(asking.post("/api/about", headers=signed), 405)
    refuse_without_headers(asking.get("/api/match", headers=signed), 400)
    monkeypatch.setattr("style_match.serving.web.catalogue.thumbnail", lambda *_, **__: 1 / 0)
    refuse_without_headers(asking.get("/photo/1.jpg", headers=signed), 500)


def refuse_without_headers(answer, code=200):
    assert answer.status_code == code
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (None, 401),
        (basic("pass:wört"), 200),
        (basic("pass:wort"), 401),
        (basic(""), 401),
        (basic("pass:wört").replace("Basic", "Bearer"), 401),
        ("Basic ///", 401),
    ],
)
def test_every_route_needs_the_password(client, sent, code):
    asking = client(password="pass:wört", hosts=None)
    for path in ("/", "/static/app.js", "/photo/1.jpg", "/api/about"):
        answer = asking.get(path, headers={"Authorization": sent} if sent else {})
        assert answer.status_code == code
    assert code == 200 or answer.headers["www-authenticate"].startswith("Basic realm=")


def test_passwords_are_compared_in_constant_time(client, monkeypatch):
    compared, real = [], secrets.compare_digest
    monkeypatch.setattr(secrets, "compare_digest", lambda *both: compared.append(both) or real(*both))
    client(password="a").get("/", headers={"Authorization": basic("b")})
    assert compared == [(b"b", b"a")]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1", 200),
        ("LOCALHOST:80", 200),
        ("[::1]:7860", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("127.0.0.1@evil.example", 400),
        ("[", 400),
    ],
)
def test_another_name_of_the_server_is_refused(client, host, code):
    from style_match.app import LOOPBACK

    assert client(hosts=LOOPBACK).get("/api/about", headers={"Host": host}).status_code == code


def test_a_photo_sent_by_another_site_is_refused(client, tmp_path):
    asking = client()
    photo = (tmp_path / "people" / "1.jpg").read_bytes()
    refused = asking.post("/api/match", params=SIDE, content=photo)
    assert refused.status_code == 400 and "Only the page itself may send photos" in refused.json()["error"]
    preflight = asking.options("/api/match", headers={"Origin": "http://evil.example"})
    assert preflight.status_code == 405 and "access-control-allow-headers" not in preflight.headers
    answer = asking.post("/api/match", params=SIDE, content=photo, headers=UPLOAD)
    assert answer.status_code == 200 and len(answer.json()["trained"]) == 2


def test_an_upload_that_is_no_photo_is_refused(client, tmp_path):
    asking = client()
    cut = (tmp_path / "people" / "1.jpg").read_bytes()[:300]
    for content, told in ((b"", "is empty"), (b"<html>", "is not an image"), (cut, "damaged")):
        answer = asking.post("/api/match", params=SIDE, content=content, headers=UPLOAD)
        assert answer.status_code == 400 and answer.json()["error"].startswith("your photo: ")
        assert told in answer.json()["error"]
    photo = (tmp_path / "people" / "1.jpg").read_bytes()
    answer = asking.post("/api/match", params={"k": "2", "side": "x"}, content=photo, headers=UPLOAD)
    assert answer.status_code == 400 and answer.json()["error"] == "Choose the side of the photo: female or male."


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")], [(b"content-length", b"200000000")]])
def test_an_upload_is_read_up_to_the_bound(catalogue, headers):
    application = make_server(live_of(catalogue()), hosts=None, password=None, max_upload_mb=1)
    read, sent, chunk = 0, [], b"x" * 65536

    async def receive():
        nonlocal read
        read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": read < 200_000_000}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/match", "raw_path": b"/api/match"}
    scope |= {
        "query_string": b"k=2&side=female",
        "headers": [(b"host", b"127.0.0.1"), (b"x-upload", b"photo"), *headers],
    }
    asyncio.run(application(scope, receive, send))
    assert sent[0]["status"] == 413 and (b"connection", b"close") in sent[0]["headers"]
    assert 10**6 < read <= 10**6 + len(chunk)  # of 200 MB
    assert b"above 1 MB (app.max_upload_mb)" in b"".join(message.get("body", b"") for message in sent)


def test_nothing_of_an_upload_is_kept(client, tmp_path, monkeypatch):
    asking = client()
    photo = (tmp_path / "people" / "1.jpg").read_bytes()
    before = sorted(tmp_path.rglob("*"))
    for name in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, lambda *_, **__: pytest.fail("a temporary file"))
    assert asking.post("/api/match", params=SIDE, content=photo, headers=UPLOAD).status_code == 200
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static/",
        "/static/app.js%00.css",
        "/photo/..%2f..%2fetc%2fpasswd.jpg",
        "/photo/-1.jpg",
        "/photo/8.jpg",
        "/photo/" + 5000 * "9" + ".jpg",
        "/photo/1.jpg?photo=2",
        "/photo/1.jpg?side=x",
        "/matcher.json",
    ],
)
def test_there_is_nothing_else_to_fetch(client, path):
    assert client().get(path).status_code == 404


# Starting


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
