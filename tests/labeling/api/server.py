"""A server on this machine that speaks the OpenAI API over drawn figures. All answers are synthetic.

    python -m tests.labeling.api.server --drawn FOLDER --port 8765 &
    OPENAI_API_KEY=any python -m style_match.label images=FOLDER/images labeler=openai \\
        labeler.base_url=http://127.0.0.1:8765/v1

FOLDER is a dataset folder that `style_match.embed data=demo_styles data.root=FOLDER` has drawn. The answers are the
attributes of the drawn figure. Tests make the server misbehave, one word a request.
"""

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.labeling.api.figures import Figures, values_for
from tests.labeling.api.jobs import Jobs
from tests.labeling.api.replies import ERRORS, BadRequest, body_of, error_body, read

ANSWERS = ("ok", "slow", "refusal", "truncated", "filtered", "malformed", "violation", "not_json", "hang", "cut")
BATCHES = ("completed", "expired", "failed", "cancelled", "token_limit")


@dataclass
class Faults:
    """How the server misbehaves.

    Attributes:
        script: Words for the first requests.
        of_image: Image -> words for its first requests.
        always: Word for all other requests.
        batches: Outcomes of the first batches; later ones are completed.
    """

    script: list[str] = field(default_factory=list)
    of_image: dict[str, list[str]] = field(default_factory=dict)
    always: str = "ok"
    batches: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()
        assert {*self.script, self.always} <= {*ANSWERS, *ERRORS} and {*self.batches} <= {*BATCHES}

    def next(self, image: str) -> str:
        with self._lock:
            for words in (self.of_image.get(image), self.script):
                if words:
                    return words.pop(0)
            return self.always

    def next_batch(self) -> str:
        with self._lock:
            return self.batches.pop(0) if self.batches else "completed"


class Server(ThreadingHTTPServer):
    """The API over figures.

    Args:
        key: The only accepted key; None accepts any.
        hang_s: Time of a request that hangs or is slow.
        retry_after_s: Requested wait of a 429.
        batch_s: Time of a batch.

    Attributes:
        asked: Image -> number of requests that showed it.
        requests: (path, headers, body) of each request.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        figures: Figures,
        faults: Faults,
        *,
        port: int = 0,
        key: str | None = None,
        hang_s: float = 600,
        retry_after_s: float = 1,
        batch_s: float = 2,
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.figures, self.faults, self.key = figures, faults, key
        self.hang_s, self.retry_after_s = hang_s, retry_after_s
        self.lock = Lock()
        self.asked: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.jobs = Jobs(self.answer_line, batch_s, faults.next_batch)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have disconnected."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def answer_line(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer one request of a batch."""
        status, answer, _ = self.answer(path, body)
        return status, answer

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        """Return HTTP status, body, and the word for the behaviour of the server."""
        try:
            asked = read(path, body)
        except BadRequest as error:
            return 400, error.body, "ok"
        number = self.figures.find(asked.jpeg)
        image = "?" if number is None else self.figures.names[number]
        word = self.faults.next(image)
        with self.lock:
            self.asked[image] += 1
        if word in ERRORS:
            return ERRORS[word][0], error_body(word), word
        if number is None:
            return 400, error_body("bad_image"), word
        korean = any("가" <= sign <= "힣" for sign in asked.text.partition("\n")[0])
        values = values_for(self.figures.looks[number], asked.json_schema, korean=korean)
        return 200, body_of(path, asked, values, word), word


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are sent separately; the body would wait 40 ms
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if not self._has_key():
            return
        if path == "/v1/files":
            return self._send(200, self.server.jobs.upload(self.headers["Content-Type"], raw))
        body = json.loads(raw) if raw else {}
        with self.server.lock:
            self.server.requests.append((path, dict(self.headers), body))
        if path == "/v1/batches":
            return self._send(200, self.server.jobs.create(body))
        if path not in ("/v1/responses", "/v1/chat/completions"):
            return self._send(404, {"error": {"message": "Unknown address", "type": "invalid_request_error"}})
        status, answer, word = self.server.answer(path, body)
        if word in ("hang", "slow"):
            time.sleep(self.server.hang_s)
        if word == "hang":
            self.close_connection = True
        elif word == "cut":
            self._send(200, answer, cut=True)
        elif word == "not_json":
            self._send_bytes(200, b"<html>Welcome to the portal</html>", {})
        else:
            self._send(status, answer, self._headers(word))

    def do_GET(self) -> None:
        jobs = self.server.jobs
        parts, query = urlsplit(self.path).path.split("/")[2:], dict(parse_qsl(urlsplit(self.path).query))
        if not self._has_key():
            return
        match parts:
            case ["files"]:
                self._send(200, jobs.listed(jobs.files, query))
            case ["files", file_id, "content"] if file_id in jobs.contents:
                self._send_bytes(200, jobs.contents[file_id], {})
            case ["batches"]:
                self._send(200, jobs.listed(jobs.batches, query))
            case ["batches", batch_id] if batch := jobs.look(batch_id):
                self._send(200, batch)
            case _:
                self._send(404, {"error": {"message": "No such object", "type": "invalid_request_error"}})

    def do_DELETE(self) -> None:
        removed = self.server.jobs.remove(urlsplit(self.path).path.split("/")[-1])
        self._send(200 if removed else 404, removed or {"error": {"message": "No such file"}})

    def _has_key(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.key is None or given == self.server.key:
            return True
        self._send(401, {"error": {**error_body("401")["error"], "message": f"Incorrect API key provided: {given}."}})
        return False

    def _headers(self, word: str) -> dict[str, str]:
        wait = self.server.retry_after_s
        asked = {
            "429_after": {"Retry-After": f"{wait:g}"},
            "429_ms": {"retry-after-ms": f"{wait * 1000:g}"},
            "429_date": {"Retry-After": formatdate(time.time() + wait + 1, usegmt=True)},  # whole seconds
            "redirect": {"Location": "http://127.0.0.1:9/v1/responses"},
        }
        return asked.get(word, {})

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        self._send_bytes(status, json.dumps(body, ensure_ascii=False).encode(), headers or {}, cut=cut)

    def _send_bytes(self, status: int, content: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--drawn", type=Path, nargs="+", required=True, help="drawn dataset folders")
    args = parser.parse_args()
    server = Server(Figures(args.drawn), Faults(), port=args.port)
    names = f"{len(server.figures.names)} drawn figures"
    print(f"synthetic: knows {names}, listens at {server.url}", file=sys.stderr, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
