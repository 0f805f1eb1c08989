"""Requests of a batch cut into files, and what is remembered of each until its answers are stored."""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from style_match.errors import UserError
from style_match.files import write_whole
from style_match.labeler.request import Request

FILE = "batches.json"
_PREFIX = "style_match_"


@dataclass
class Shard:
    """One file of requests and the batch that works on it.

    Attributes:
        tag: made up before anything is sent; the file's name and the batch's metadata carry it, so that both are found
            again at the provider where a killed process could not note their ids.
        keys: of its requests.
        tokens: input tokens, estimated; they fill the account's queue.
        made_at: seconds since 1970.
        is_collected: its answers are stored; what is left is cleaning up.
    """

    tag: str
    keys: list[str]
    tokens: int
    endpoint: str
    server: str
    made_at: int = 0
    file_id: str | None = None
    batch_id: str | None = None
    is_collected: bool = False

    @property
    def filename(self) -> str:
        return f"{self.tag}.jsonl"


class Shards:
    """The shards that are not collected yet, kept in `batches.json` of the out folder.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / FILE
        self.open: list[Shard] = []
        if self.path.exists():
            try:
                self.open = [Shard(**each) for each in json.loads(self.path.read_text(encoding="utf-8"))]
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{self.path} is damaged ({error}); it names the batches at work. Remove it to start anew; what "
                    "they answer is lost then, and paid."
                ) from error

    def keep(self) -> None:
        """Write what is open now; without any, the file goes."""
        if self.open:
            write_whole(self.path, json.dumps([asdict(shard) for shard in self.open], indent=1) + "\n")
        else:
            self.path.unlink(missing_ok=True)

    def add(self, shard: Shard) -> None:
        self.open.append(shard)
        self.keep()

    def drop(self, shard: Shard) -> None:
        self.open.remove(shard)
        self.keep()


def remove_files(out: Path) -> None:
    """Remove what a killed process had written to be sent."""
    for path in out.glob(f".{_PREFIX}*.jsonl"):
        path.unlink(missing_ok=True)


def cut(
    requests: Iterable[Request],
    folder: Path,
    *,
    line_of: Callable[[Request], dict[str, Any]],
    tokens: int,
    endpoint: str,
    server: str,
    limits: Mapping[str, Any],
    unreadable: Callable[[Request, UserError], None],
) -> Iterator[tuple[Shard, Path, list[Request]]]:
    """Shards with their files and requests, each written when it is asked for, within the limits.

    Args:
        folder: where the files are written; whoever takes one removes it.
        line_of: a request's body; its UserError leaves the request out and is given to `unreadable`.
        tokens: input tokens of one request.
        limits: `max_bytes`, `max_requests`, `max_queued_tokens`.

    Raises:
        UserError: the disk is full; or one request alone is above a limit.
    """
    most = min(limits["max_requests"], max(1, limits["max_queued_tokens"] // max(tokens, 1)))
    lines = _lines(requests, line_of, unreadable, endpoint)
    kept: tuple[Request, bytes] | None = None
    over = False
    while not over:
        shard = Shard(f"{_PREFIX}{uuid.uuid4().hex}", [], 0, endpoint, server, made_at=int(time.time()))
        path, taken, size = folder / f".{shard.filename}", list[Request](), 0
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                while len(taken) < most:
                    request, line = kept or next(lines, (None, b""))
                    kept = None
                    if request is None:
                        over = True
                        break
                    if size + len(line) > limits["max_bytes"]:
                        if not taken:
                            raise UserError(f"{request.image}: is above labeler.batch.max_bytes by itself; raise it.")
                        kept = (request, line)
                        break
                    file.write(line)
                    size += len(line)
                    taken.append(request)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise UserError(f"Cannot write {path}: {error.strerror or error}. Free some space.") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not taken:
            path.unlink()
            return
        shard.keys, shard.tokens = [request.key for request in taken], tokens * len(taken)
        yield shard, path, taken


def _lines(
    requests: Iterable[Request],
    line_of: Callable[[Request], dict[str, Any]],
    unreadable: Callable[[Request, UserError], None],
    endpoint: str,
) -> Iterator[tuple[Request, bytes]]:
    for request in requests:
        try:
            body = line_of(request)
        except UserError as error:
            unreadable(request, error)
            continue
        line = {"custom_id": request.key, "method": "POST", "url": endpoint, "body": body}
        yield request, json.dumps(line, ensure_ascii=False).encode() + b"\n"
