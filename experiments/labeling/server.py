"""A server on this machine that speaks the OpenAI API over drawn figures, and misbehaves on command. Synthetic.

    python experiments/labeling/server.py --port 8765 &
    OPENAI_API_KEY=any python -m style_match.label images=FOLDER labeler=openai labeler.base_url=http://127.0.0.1:8765/v1

Answers with what was drawn; every answer is synthetic. `--log` notes each request with the image that it showed.
"""

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.labeling.faults import BATCHES, ERRORS, WORDS, Faults, check, error_body
from experiments.labeling.figures import Figures, values_for
from experiments.labeling.jobs import Jobs
from experiments.labeling.replies import BadRequest, body_of, read


class Server(ThreadingHTTPServer):
    """Args:
    figures: what it knows; None: it answers every picture with the first class of everything.
    faults: how it misbehaves.
    key: the one that is accepted; None: any.
    models: those that exist; empty: any.
    hang_s: how long a request hangs, and how slow a slow one is.
    retry_after_s: what a 429 with a wait asks for.
    batch_s: how long a batch takes.
    log: where each request is noted, one JSON object a line.

    Attributes:
        asked: image -> how many requests showed it.
        requests: (path, headers, body) of each request, for looking at.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        figures: Figures | None,
        faults: Faults,
        *,
        port: int = 0,
        key: str | None = None,
        models: tuple[str, ...] = (),
        hang_s: float = 600,
        retry_after_s: float = 1,
        batch_s: float = 2,
        log: Path | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.figures, self.faults, self.key, self.models = figures, faults, key, models
        self.hang_s, self.retry_after_s, self.log = hang_s, retry_after_s, log
        self.headers = headers or {}
        self.lock = Lock()
        self.asked: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.jobs = Jobs(self.answer_line, batch_s, faults.next_batch)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def answer_line(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """One request of a batch."""
        status, answer, _ = self.answer(path, body)
        return status, answer

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        """(HTTP status, body, the word for how the server behaves)."""
        try:
            asked = read(path, body)
        except BadRequest as error:
            return 400, error.body, "ok"
        number = self.figures.find(asked.jpeg) if self.figures else None
        image = self.figures.names[number] if self.figures and number is not None else "?"
        word = self.faults.next(image)
        self._note(path, image, word)
        if self.models and asked.model not in self.models:
            word = "404"
        if word in ERRORS:
            return ERRORS[word][0], error_body(word), word
        if self.figures and number is None:
            return 400, error_body("bad_image"), word  # knows drawn figures only
        if self.figures and number is not None:
            korean = any("가" <= sign <= "힣" for sign in asked.text.partition("\n")[0])
            values = values_for(self.figures.looks[number], asked.json_schema, korean=korean)
        else:
            properties = asked.json_schema["properties"]
            values = {name: each["enum"][0] if "enum" in each else "seen" for name, each in properties.items()}
        return 200, body_of(path, asked, values, word), word

    def _note(self, path: str, image: str, word: str) -> None:
        with self.lock:
            self.asked[image] += 1
            if self.log:
                with open(self.log, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"image": image, "word": word, "path": path}) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are sent apart, and the body would wait 40 ms
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are noted in the log, without headers."""

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
        return self.server.headers | asked.get(word, {})

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


def drawn_folders() -> list[Path]:
    """The demo folders of the cache; those of the configs are drawn where there are none."""
    from hydra import compose, initialize_config_dir

    from style_match.cli.main import VERSION_BASE
    from style_match.cli.targets import conf_dir
    from style_match.synthetic.dataset import draw_demo

    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        names = ("demo_styles", "demo_couples")
        return [draw_demo(compose("embed", [f"data={name}"]).data, show=True) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument(
        "--drawn", type=Path, nargs="*", help="demo folders; default: those of the configs, in the cache"
    )
    parser.add_argument("--key", help="the only key that is accepted; default: any")
    parser.add_argument("--models", nargs="*", default=(), help="the only models that exist; default: any")
    parser.add_argument("--script", nargs="*", default=[], help=f"words for the first requests: {', '.join(WORDS)}")
    parser.add_argument(
        "--share", nargs="*", default=[], metavar="WORD=SHARE", help="of the other requests, such as 500=0.1"
    )
    parser.add_argument("--always", default="ok", help="the word for what is left")
    parser.add_argument("--batches", nargs="*", default=[], help=f"outcomes of the first batches: {', '.join(BATCHES)}")
    parser.add_argument("--seed", type=int, default=0, help="of the shares")
    parser.add_argument("--hang", type=float, default=600, help="seconds that hang and slow take")
    parser.add_argument("--retry-after", type=float, default=1, help="seconds that 429_after, 429_ms, 429_date ask for")
    parser.add_argument("--batch-seconds", type=float, default=2, help="that a batch takes")
    parser.add_argument("--log", type=Path, help="file that notes each request")
    args = parser.parse_args()
    shares = {word: float(share) for word, _, share in (each.partition("=") for each in args.share)}
    check([*args.script, *shares, args.always], WORDS, parser.error)
    check(args.batches, BATCHES, parser.error)
    folders = args.drawn or drawn_folders()
    server = Server(
        Figures(folders),
        Faults(script=args.script, shares=shares, always=args.always, batches=args.batches, seed=args.seed),
        port=args.port,
        key=args.key,
        models=tuple(args.models),
        hang_s=args.hang,
        retry_after_s=args.retry_after,
        batch_s=args.batch_seconds,
        log=args.log,
    )
    known = len(server.figures.names) if server.figures else 0
    print(f"synthetic: knows {known} drawn figures, listens at {server.url}", file=sys.stderr, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
