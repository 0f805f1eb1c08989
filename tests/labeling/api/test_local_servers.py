"""Servers on this machine that answer otherwise than the API: oddly, endlessly, slowly."""

import gzip
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.labeling.api.conftest import NUM_PHOTOS
from tests.labeling.makers import style_values

pytestmark = [pytest.mark.integration, pytest.mark.slow]

USAGE = {"prompt_tokens": 100, "completion_tokens": 20}
COMPATIBLE = ("labeler.max_retries=2", "labeler.concurrency=1")


def chat(content: Any, **more: Any) -> bytes:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return json.dumps({"model": "m", "choices": [choice], "usage": USAGE, **more}).encode()


GOOD = chat(json.dumps(style_values()))


class Server(ThreadingHTTPServer):
    """`answer(number of the request, handler)` answers."""

    daemon_threads = True

    def __init__(self, answer: Callable[[int, "Handler"], object]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.num_asked = answer, 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client went away."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.num_asked += 1
        self.server.answer(self.server.num_asked, self)

    def give(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.start(status, **{"Content-Length": str(len(content)), **headers})
        self.wfile.write(content)

    def start(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
        self.wfile.flush()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    servers = []

    def start(answer: Callable[[int, Handler], object]) -> Server:
        servers.append(server := Server(answer))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_answer_in_gzip_is_read(start, command):
    server = start(lambda number, to: to.give(gzip.compress(GOOD), Content_Encoding="gzip"))
    done = command(server, *COMPATIBLE, labeler="compatible")
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err


def test_an_error_with_status_200_is_repeated(start, command):
    overloaded = json.dumps({"error": {"message": "upstream overloaded", "code": 502}}).encode()
    server = start(lambda number, to: to.give(GOOD if number % 2 == 0 else overloaded))
    done = command(server, *COMPATIBLE, labeler="compatible")
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS, done.err
    assert server.num_asked == 2 * NUM_PHOTOS


def test_an_error_that_stays_is_shown_with_a_remedy(start, command):
    overloaded = json.dumps({"error": {"message": "upstream \x1b[31moverloaded", "type": [1], "param": {}}}).encode()
    server = start(lambda number, to: to.give(GOOD if number == 1 else overloaded))
    done = command(server, *COMPATIBLE, labeler="compatible")
    assert len(done.lines) == 1 and server.num_asked == 1 + 3 * (NUM_PHOTOS - 1)
    for row in done.failed.values():
        assert row["status"] == "error" and "upstream overloaded. The server is overloaded or broken" in row["detail"]


def test_texts_of_the_server_are_shown_without_the_key(start, command):
    server = start(lambda number, to: to.give(GOOD if number == 1 else chat(f"Hello {to.headers['Authorization']}")))
    done = command(server, *COMPATIBLE, "labeler.key_env=OPENAI_API_KEY", labeler="compatible")
    for row in done.failed.values():
        assert 'the server sent: "Hello Bearer (key)". The server seems to ignore' in row["detail"]
    assert len(done.failed) == NUM_PHOTOS - 1


def bomb(number: int, to: Handler) -> None:
    to.give(BOMB, Content_Encoding="gzip") if number == 2 else to.give(GOOD)


def bomb_in_an_error(number: int, to: Handler) -> None:
    to.give(BOMB, status=500, Content_Encoding="gzip") if number == 2 else to.give(GOOD)


def endless(number: int, to: Handler) -> None:
    if number != 2:
        return to.give(GOOD)
    to.start(Transfer_Encoding="chunked")
    while True:
        to.chunk(b" " * 2**20)


BOMB = gzip.compress(bytes(2**30 // 2), compresslevel=1)


@pytest.mark.parametrize("answer", [bomb, bomb_in_an_error, endless])
def test_an_endless_answer_is_an_error_of_its_photo(answer, start, command):
    server = start(answer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = command(server, *COMPATIBLE, labeler="compatible")
    assert len(done.lines) == NUM_PHOTOS - 1 and server.num_asked == NUM_PHOTOS, done.err
    ((_, row),) = done.failed.items()
    assert row["status"] == "error" and "more than 16,777,216 bytes" in row["detail"], row
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2**28


def test_the_time_limit_covers_the_complete_answer(start, command):
    def drip(number: int, to: Handler) -> None:
        if number not in (2, 3):
            return to.give(GOOD)
        to.start(Transfer_Encoding="chunked")
        for place in range(len(GOOD)):
            to.chunk(GOOD[place : place + 1])
            time.sleep(0.1)

    server = start(drip)
    began = time.monotonic()
    words = (*COMPATIBLE, "labeler.timeout_s=0.5", "labeler.max_retries=1")
    done = command(server, *words, labeler="compatible")
    assert time.monotonic() - began < 15
    ((_, row),) = done.failed.items()
    assert row["status"] == "error" and "no complete answer within labeler.timeout_s" in row["detail"], row
    assert len(done.lines) == NUM_PHOTOS - 1 and server.num_asked == NUM_PHOTOS + 1


def test_a_paid_answer_with_an_impossible_usage_is_kept(start, command):
    usages = ({"prompt_tokens": 10**30, "completion_tokens": 1}, USAGE)
    server = start(lambda number, to: to.give(chat(json.dumps(style_values()), usage=usages[number > 2])))
    done = command(server, "labeler.api=chat", "labeler.max_cost_usd=1", "labeler.concurrency=1")
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS and "Traceback" not in done.err, done.err
    assert "300 input tokens (0 cached), 60 output tokens" in done.err
    assert "without 2 answers whose tokens the server did not count" in done.err
    again = command(server, "labeler.api=chat", "labeler.max_cost_usd=1")
    assert again.code == 0 and server.num_asked == NUM_PHOTOS


def test_odd_headers(start, command):
    odd = {"x_ratelimit_remaining_requests": "\xb2", "x_ratelimit_reset_requests": "1s", "Retry_After": "nan"}
    server = start(lambda number, to: to.give(GOOD, **odd))
    assert command(server, *COMPATIBLE, labeler="compatible").code == 0
