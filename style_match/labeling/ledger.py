"""Every answer that was ever given, in `labels.sqlite`: stored once it is answered, and never asked for again."""

import contextlib
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from style_match.labeling.answers import Answer, Estimate, Request, Status, Usage
from style_match.utils.errors import UserError
from style_match.utils.files import hold

FILE_NAME = "labels.sqlite"
_APPLICATION = 0x534D4C42  # marks the file as ours among other sqlite files
_VERSION = 1
_WAIT_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY, sha256 TEXT NOT NULL, schema TEXT NOT NULL, status TEXT NOT NULL, "values" TEXT,
    detail TEXT NOT NULL, input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    cost_usd REAL, model TEXT NOT NULL, turn INTEGER NOT NULL, answered_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS asked (key TEXT PRIMARY KEY, times INTEGER NOT NULL, in_flight INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS written (content TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
# A stored answer is never replaced by a failure; tokens and money of every attempt add up.
_STORE = """
INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    status = CASE WHEN status = 'answered' THEN status ELSE excluded.status END,
    "values" = CASE WHEN status = 'answered' THEN "values" ELSE excluded."values" END,
    detail = CASE WHEN status = 'answered' THEN detail ELSE excluded.detail END,
    model = CASE WHEN status = 'answered' THEN model ELSE excluded.model END,
    input_tokens = input_tokens + excluded.input_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    cost_usd = CASE WHEN excluded.cost_usd IS NULL THEN cost_usd ELSE coalesce(cost_usd, 0) + excluded.cost_usd END,
    turn = excluded.turn, answered_at = excluded.answered_at
"""


@dataclass(frozen=True)
class Stored:
    """A row of the ledger."""

    key: str
    sha256: str
    schema: str
    answer: Answer
    attempts: int


class Ledger:
    """The answers of one `out` folder. Methods may be called from several threads; one process at a time.

    A later turn (a command) has the last word where several answers are about one photo.

    Raises:
        UserError: the folder cannot be written or another process labels into it, the file is damaged or no ledger,
            the disk is full.
    """

    def __init__(self, out: Path):
        self.path = out / FILE_NAME
        self._lock = threading.Lock()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot make {out}: {error.strerror}. Give another out.") from error
        self._process_lock = _alone(out)
        try:
            with self._mended():
                # several threads: `self._lock` keeps them apart
                self._database = sqlite3.connect(self.path, timeout=_WAIT_S, check_same_thread=False)
                self._prepare()
                self.turn = 1 + (self._one("SELECT max(turn) FROM answer") or 0)
        except BaseException:
            self._process_lock.close()
            raise

    def _prepare(self) -> None:
        empty = not self._one("SELECT count(*) FROM sqlite_master")
        mark, version = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        if not empty and mark != _APPLICATION:
            raise UserError(f"{self.path} is no ledger of labels but another database. Give another out.")
        if not empty and version > _VERSION:
            raise UserError(f"{self.path} was written by a newer version of style_match: update, or give another out.")
        if not empty and (fault := self._one("PRAGMA quick_check(1)")) != "ok":
            raise sqlite3.DatabaseError(fault)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # each answer is on the disk before the next is asked
        if empty:
            with self._database:
                self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
        with self._database:
            for table in _TABLES.split(";"):
                self._database.execute(table)

    def close(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._database.close()
        self._process_lock.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def asked(self, key: str) -> None:
        """Note a request as in flight, on the disk before this returns."""
        self._write(
            "INSERT INTO asked VALUES (?, 1, 1) ON CONFLICT DO UPDATE SET times = times + 1, in_flight = 1", key
        )

    def forget_asked(self, key: str) -> None:
        """It was not sent after all."""
        self._write("UPDATE asked SET times = max(times - 1, 0), in_flight = 0 WHERE key = ?", key)

    def answered(self, answers: Iterable[tuple[Request, Answer]]) -> None:
        """Store answers, all on the disk before this returns; those of status ANSWERED for good."""
        with self._transaction() as database:
            for request, answer in answers:
                database.execute(_STORE, self._row(request, answer))
                database.execute("UPDATE asked SET in_flight = 0 WHERE key = ?", (request.key,))

    def _row(self, request: Request, answer: Answer) -> tuple[Any, ...]:
        values = None if answer.values is None else json.dumps(answer.values, ensure_ascii=False)
        used, what = answer.usage, (answer.status.value, values, answer.detail)
        tokens = (used.input_tokens, used.cached_tokens, used.output_tokens)
        where = (request.key, request.sha256, request.schema.name)
        return (*where, *what, *tokens, answer.cost_usd, answer.model, self.turn, time.time())

    def take_in_flight(self, *, at_work: Collection[str] = ()) -> int:
        """How many requests were in flight when an earlier process ended; from now on they count as unanswered.

        Args:
            at_work: keys of those that a batch still answers; they are not counted.
        """
        with self._transaction() as database:
            keys = [key for (key,) in database.execute("SELECT key FROM asked WHERE in_flight = 1")]
            database.execute("UPDATE asked SET in_flight = 0 WHERE in_flight = 1")
        return sum(key not in at_work for key in keys)

    def stored(self, keys: Iterable[str]) -> dict[str, Stored]:
        """The last word of each of the requests that has one, answers and failures."""
        columns = (
            'answer.key, sha256, schema, status, "values", detail, input_tokens, cached_tokens, output_tokens, '
            "cost_usd, model, coalesce(times, 1)"
        )
        query = f"SELECT {columns} FROM answer LEFT JOIN asked ON answer.key = asked.key WHERE answer.key = ?"
        with self._lock, self._mended():
            rows = [row for key in keys for row in self._database.execute(query, (key,))]
        return {row[0]: _stored(row) for row in rows}

    def renew(self, keys: Iterable[str]) -> None:
        """Stored answers that this command wants too get its turn, as if they had been given now."""
        with self._transaction() as database:
            database.executemany("UPDATE answer SET turn = ? WHERE key = ?", [(self.turn, key) for key in keys])

    def values(self) -> dict[str, dict[str, Any]]:
        """sha256 of a photo -> its attributes: of each schema the last answer, merged, the last turn winning."""
        with self._lock, self._mended():
            return _merged(self._database)

    def note(self, name: str, value: str | None = None) -> str | None:
        """A word kept with the answers: read it, or write it."""
        if value is not None:
            self._write("INSERT OR REPLACE INTO note VALUES (?, ?)", name, value)
        return self._one("SELECT value FROM note WHERE name = ?", name)

    def will_write(self, content: str) -> None:
        """Note the hash of a metadata.jsonl that is about to be written."""
        self._write("INSERT OR IGNORE INTO written VALUES (?)", content)

    def has_written(self, content: str) -> bool:
        return bool(self._one("SELECT count(*) FROM written WHERE content = ?", content))

    def _one(self, query: str, *values: Any) -> Any:
        with self._lock, self._mended():
            row = self._database.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _write(self, statement: str, *values: Any) -> None:
        with self._transaction() as database:
            database.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, whatever interrupts it."""
        with self._lock, self._mended(), self._database:
            yield self._database

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(_said(self.path, error)) from error
        except UnicodeDecodeError as error:  # a damaged file's own words
            raise UserError(_damaged(self.path, "text that is none")) from error


def read_values(path: Path) -> dict[str, dict[str, Any]]:
    """`Ledger.values` of a ledger elsewhere, which is not changed. Raises UserError where it is damaged or none."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _merged(database)
    except (sqlite3.Error, ValueError) as error:
        raise UserError(f"{path}: its answers cannot be read ({error}). Name a labels.sqlite of this step.") from error


def has_written(path: Path, content: str) -> bool:
    """`Ledger.has_written` of a ledger that is not changed; False where there is none that can be read."""
    if not path.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT count(*) FROM written WHERE content = ?", (content,)).fetchone()[0])
    except sqlite3.Error:
        return False


def _merged(database: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    query = """SELECT sha256, schema, "values" FROM answer WHERE status = ? ORDER BY turn, answered_at"""
    by_schema: dict[str, dict[str, str]] = {}
    for sha256, schema, values in database.execute(query, (Status.ANSWERED.value,)):
        of_photo = by_schema.setdefault(sha256, {})
        of_photo.pop(schema, None)  # to the end: it is the latest now
        of_photo[schema] = values
    return {
        sha256: {name: value for values in schemas.values() for name, value in json.loads(values).items()}
        for sha256, schemas in by_schema.items()
    }


def _stored(row: tuple) -> Stored:
    key, sha256, schema, status, values, detail, entered, cached, left, cost_usd, model, attempts = row
    parsed = None if values is None else json.loads(values)
    answer = Answer(Status(status), parsed, detail, Usage(entered, cached, left), model, cost_usd)
    return Stored(key, sha256, schema, answer, max(attempts, 1))


def _said(path: Path, error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return f"Cannot write {path}: the disk is full. Free some space and run again: stored answers are kept."
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"Cannot write {path}: {error}. Give another out, or mend its permissions."
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} is in use by another program. Wait for it, or close it, and run again."
    if name.startswith("SQLITE_IOERR"):
        return f"Cannot read or write {path}: {error}. Look after the disk and run again: stored answers are kept."
    return _damaged(path, str(error))


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path} is damaged ({what}). Put back a copy of it, or save what `sqlite3 {path.name} .recover` can, or move "
        "it away to ask for every answer anew; metadata.jsonl still holds what was written last."
    )


def _alone(out: Path) -> IO[str]:
    """A lock that is held until it is closed or the process ends, however it ends."""
    try:
        lock = hold(out / ".labels.lock")
    except OSError as error:
        raise UserError(f"Cannot write or lock {out}: {error.strerror}. Give another out.") from error
    if lock is None:
        raise UserError(f"Another process labels into {out}: wait for it, or give another out.")
    return lock


# The ledger as a labeler sees it: it counts what is sent and spent, and says stop where the money allowed is gone.


class OutOfMoney(UserError):
    """Its words are made when they are read, after what was in flight has ended and is paid too."""

    def __init__(self, record: "LedgerRecord", most: float) -> None:
        super().__init__()
        self.record, self.most = record, most

    def __str__(self) -> str:
        spent = self.record.cost_usd - self.record.earlier_usd
        return (
            f"labeler.max_cost_usd={self.most:g} is reached: ${spent:.4f} spent by this command. What was answered is "
            "stored; the same command goes on with the rest."
        )


class LedgerRecord:
    """A `Record` of one command.

    Args:
        requests: those that are to be answered.
        estimate: of `requests`; None where nothing is paid.
        max_cost_usd: of what this command sends; None: no bound.
        at_work: keys of those that an earlier command sent; they are beside the bound unless they are sent again.

    Attributes:
        num_sent: requests sent, repeated ones too.
        kinds: how many answers of each status came.
        usage, cost_usd: tokens and money of the answers that came; `cost_usd` counts what has a price.
        num_uncounted: answers whose tokens the server did not count, or counted impossibly; in the bound each is as
            dear as was estimated.
        earlier_usd: the part of `cost_usd` that is for requests `at_work`.

    Raises:
        UserError: the estimate is above `max_cost_usd`, or there is no price to compare with it.
    """

    def __init__(
        self,
        ledger: Ledger,
        requests: Sequence[Request],
        *,
        estimate: Estimate | None,
        max_cost_usd: float | None,
        at_work: Collection[str] = (),
    ):
        self._ledger, self._at_work = ledger, set(at_work)
        self._lock = threading.Lock()
        self._in_flight: set[str] = set()
        self._most = max_cost_usd if estimate is not None else None
        cost = estimate.cost_usd if estimate is not None else 0.0
        if self._most is not None and requests:
            num_new = sum(request.key not in self._at_work for request in requests)
            if cost is None:
                raise UserError(
                    f"labeler.max_cost_usd={self._most:g} needs the price of the model, which is not known: write its "
                    "price into the labeler's config, or labeler.max_cost_usd=null."
                )
            if (of_new := cost * num_new / len(requests)) > self._most:
                raise UserError(
                    f"{num_new} requests are estimated to cost ${of_new:.2f}, more than "
                    f"labeler.max_cost_usd={self._most:g}. Raise it, label fewer photos, or take a cheaper model."
                )
        self._of_one = (cost or 0.0) / max(len(requests), 1)
        self._num_priced = self.num_uncounted = 0
        self.num_sent = 0
        self.kinds: Counter[Status] = Counter()
        self.usage, self.cost_usd, self.earlier_usd = Usage(), 0.0, 0.0

    def asked(self, request: Request) -> None:
        with self._lock:
            spent = self.cost_usd - self.earlier_usd + self.num_uncounted * self._of_one
            of_one = max(self._of_one, spent / self._num_priced) if self._num_priced else self._of_one
            expected = spent + of_one * len({*self._in_flight, request.key})
            if self._most is not None and expected > self._most + 1e-9:
                raise OutOfMoney(self, self._most)
            self._in_flight.add(request.key)
            self._at_work.discard(request.key)
            self.num_sent += 1
        self._ledger.asked(request.key)

    def answered(self, request: Request, answer: Answer) -> None:
        self.answered_all([(request, answer)])

    def answered_all(self, answers: Sequence[tuple[Request, Answer]]) -> None:
        self._ledger.answered(answers)
        with self._lock:
            for request, answer in answers:
                self._in_flight.discard(request.key)
                self.kinds[answer.status] += 1
                self.usage += answer.usage
                self.cost_usd += answer.cost_usd or 0.0
                if request.key in self._at_work:
                    self.earlier_usd += answer.cost_usd or 0.0
                elif answer.cost_usd is not None:
                    self._num_priced += 1
                elif answer.status is not Status.ERROR and self._of_one:
                    self.num_uncounted += 1

    def forget_asked(self, request: Request) -> None:
        with self._lock:
            self._in_flight.discard(request.key)
            self.num_sent -= 1
        self._ledger.forget_asked(request.key)
