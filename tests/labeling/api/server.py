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
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.labeling.api.figures import Figures, values_for
from tests.labeling.api.jobs import Jobs
from tests.labeling.api.replies import ERRORS, body_of, error_body, read

ANSWERS = ("ok", "slow", "refusal", "truncated", "filtered", "malformed", "violation", "not_json", "hang", "cut")
BATCHES = ("completed", "expired", "failed", "cancelled", "token_limit")
MISSING = {"error": {"message": "No such address", "type": "invalid_request_error"}}


@dataclass
class Faults:
    """How the server misbehaves.

    Attributes:
        script: words for the first requests.
        of_image: image -> words for its first requests.
        always: word for all other requests.
        batches: outcomes of the first batches; later ones are completed.
        answer: answers the requests itself, given their number and the handler.
    """

    script: list[str] = field(default_factory=list)
    of_image: dict[str, list[str]] = field(default_factory=dict)
    always: str = "ok"
    batches: list[str] = field(default_factory=list)
    answer: Callable[[int, "Handler"], object] | None = None

    def __post_init__(self) -> None:
        assert {*self.script, self.always} <= {*ANSWERS, *ERRORS} and {*self.batches} <= {*BATCHES}

    def next(self, image: str) -> str:
        words = self.of_image.get(image) or self.script
        return words.pop(0) if words else self.always

    def next_batch(self) -> str:
        return self.batches.pop(0) if self.batches else "completed"


class Server(ThreadingHTTPServer):
    """The API over figures.

    Args:
        key: the only accepted key; None accepts any.
        hang_s: time of a request that hangs or is slow.
        retry_after_s: requested wait of a 429.
        batch_s: time of a batch.

    Attributes:
        asked: image -> number of requests that showed it.
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
        self.lock = RLock()
        self.asked: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.jobs = Jobs(lambda path, body: self.answer(path, body)[:2], batch_s, faults.next_batch)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have disconnected."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        """Return HTTP status, body, and the word for the behaviour of the server."""
        asked = read(path, body)
        image = self.figures.find(asked.jpeg) or "?"
        with self.lock:
            word = self.faults.next(image)
            self.asked[image] += 1
        if word in ERRORS or image == "?":
            word = word if word in ERRORS else "bad_image"
            return ERRORS[word][0], error_body(word), word
        korean = any("가" <= sign <= "힣" for sign in asked.text.partition("\n")[0])
        values = values_for(self.figures.looks[image], asked.json_schema, korean=korean)
        return 200, body_of(path, asked, values, word), word


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are sent separately; the body would wait 40 ms
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, jobs = urlsplit(self.path).path, self.server.jobs
        if not self._has_key():
            return
        if path == "/v1/files":
            return self._send(200, jobs.upload(self.headers["Content-Type"], raw))
        body = json.loads(raw)
        with self.server.lock:
            self.server.requests.append((path, dict(self.headers), body))
            number = len(self.server.requests)
        if path == "/v1/batches":
            return self._send(200, jobs.create(body))
        if path not in ("/v1/responses", "/v1/chat/completions"):
            return self._send(404, MISSING)
        if self.server.faults.answer:
            self.server.faults.answer(number, self)
            return
        status, answer, word = self.server.answer(path, body)
        if word in ("hang", "slow"):
            time.sleep(self.server.hang_s)
        content = json.dumps(answer).encode()
        if word == "hang":
            self.close_connection = True
        elif word == "cut":
            self.start(200, Content_Length=str(len(content)))
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif word == "not_json":
            self.give(b"<html>Welcome to the portal</html>")
        else:
            self.give(content, status, **self._headers(word))

    def do_GET(self) -> None:
        jobs, address = self.server.jobs, urlsplit(self.path)
        if not self._has_key():
            return
        match address.path.split("/")[2:]:
            case ["files", file_id, "content"] if file_id in jobs.files:
                self.give(jobs.files[file_id])
            case ["batches"]:
                self._send(200, jobs.listed(dict(parse_qsl(address.query))))
            case ["batches", batch_id] if batch := jobs.look(batch_id):
                self._send(200, batch)
            case _:
                self._send(404, MISSING)

    def do_DELETE(self) -> None:
        file_id = urlsplit(self.path).path.split("/")[-1]
        found = self.server.jobs.files.pop(file_id, None) is not None
        self._send(200 if found else 404, {"id": file_id, "deleted": True} if found else MISSING)

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

    def _send(self, status: int, body: Any) -> None:
        self.give(json.dumps(body).encode(), status)

    def give(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.start(status, Content_Length=str(len(content)), **headers)
        self.wfile.write(content)

    def start(self, status: int = 200, **headers: str) -> None:
        """Send the head of an answer; names have _ for -."""
        self.send_response(status)
        for name, value in {"Content_Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
        self.wfile.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--drawn", type=Path, nargs="+", required=True, help="drawn dataset folders")
    args = parser.parse_args()
    server = Server(Figures(args.drawn), Faults(), port=args.port)
    print(
        f"synthetic: knows {len(server.figures.names)} drawn figures, listens at {server.url}",
        file=sys.stderr,
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
