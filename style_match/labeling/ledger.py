"""SQLite ledger of all answers: committed one by one and never requested again."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from style_match.labeling.answers import Answer, Request, Status, Usage
from style_match.utils.errors import UserError
from style_match.utils.files import hold

FILE_NAME = "labels.sqlite"
_APPLICATION_ID = 0x534D4C42  # tells the file from other SQLite databases
_VERSION = 1
# `asked` counts the attempts of each request; `written` holds hashes of the files that the step has written.
_TABLES = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE answer (
    key TEXT PRIMARY KEY, sha256 TEXT NOT NULL, schema TEXT NOT NULL, status TEXT NOT NULL, "values" TEXT,
    detail TEXT NOT NULL, input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    cost_usd REAL, model TEXT NOT NULL, turn INTEGER NOT NULL, answered_at REAL NOT NULL
);
CREATE TABLE asked (key TEXT PRIMARY KEY, times INTEGER NOT NULL, in_flight INTEGER NOT NULL);
CREATE TABLE written (content TEXT PRIMARY KEY);
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_STORE = """
INSERT OR REPLACE INTO answer SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
WHERE NOT EXISTS (SELECT 1 FROM answer WHERE key = ? AND status = 'answered')
"""
_COUNT = "INSERT INTO asked VALUES (?, 1, 0) ON CONFLICT DO UPDATE SET times = times + 1"
_LAST = """
SELECT status, "values", detail, input_tokens, cached_tokens, output_tokens, model, cost_usd, times
FROM answer JOIN asked USING (key) WHERE key = ?
"""
_WRITTEN = "SELECT count(*) FROM written WHERE content = ?"


class Ledger:
    """Answers of one `out` folder, opened by one process at a time.

    A turn is one command. If several answers are about one photo, that of the latest turn counts.

    Raises:
        UserError: The folder cannot be written or is in use by another process, or the file is damaged or not a ledger.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / FILE_NAME
        try:
            out.mkdir(parents=True, exist_ok=True)
            process_lock = hold(out / ".labels.lock")
        except OSError as error:
            raise UserError(f"Cannot write to {out}: {error.strerror}. Set another out.") from error
        if process_lock is None:
            raise UserError(f"Another process labels into {out}. Wait for it, or set another out.")
        self._process_lock = process_lock
        try:
            with self._errors():
                self._database = sqlite3.connect(self.path, check_same_thread=False)
                self._prepare()
                self.turn = 1 + (self._one("SELECT max(turn) FROM answer") or 0)
        except BaseException:
            self._process_lock.close()
            raise

    def _prepare(self) -> None:
        is_new = not self._one("SELECT count(*) FROM sqlite_master")
        if not is_new and self._one("PRAGMA application_id") != _APPLICATION_ID:
            raise UserError(f"{self.path} is not a ledger of labels but another database. Set another out.")
        if self._one("PRAGMA user_version") > _VERSION:
            raise UserError(f"{self.path} was written by a newer style_match. Update, or set another out.")
        if (fault := self._one("PRAGMA quick_check(1)")) != "ok":
            raise sqlite3.DatabaseError(fault)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # an answer is on the disk when it is committed
        if is_new:
            self._database.executescript(f"BEGIN; {_TABLES} COMMIT;")

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        self._process_lock.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answered(self, answers: Iterable[tuple[Request, Answer]]) -> None:
        """Commit answers in one transaction. A failure never replaces an answer with values."""
        with self._errors(), self._database:
            for request, answer in answers:
                values = None if answer.values is None else json.dumps(answer.values, ensure_ascii=False)
                about = (request.key, request.sha256, request.schema.name)
                tokens = astuple(answer.usage)[:3]
                end = (answer.cost_usd, answer.model, self.turn, time.time(), request.key)
                self._database.execute(_STORE, (*about, answer.status.value, values, answer.detail, *tokens, *end))
                self._database.execute(_COUNT, (request.key,))

    def stored(self, keys: Iterable[str]) -> dict[str, tuple[Answer, int]]:
        """Return key -> (last answer, number of attempts) of each request that has an answer, failures included."""
        found = {}
        with self._errors():
            for key in keys:
                for status, values, detail, *tokens, model, cost_usd, attempts in self._database.execute(_LAST, (key,)):
                    parsed = None if values is None else json.loads(values)
                    found[key] = Answer(Status(status), parsed, detail, Usage(*tokens), model, cost_usd), attempts
        return found

    def renew(self, keys: Iterable[str]) -> None:
        """Move stored answers to the current turn, as if they were new."""
        with self._errors(), self._database:
            self._database.executemany("UPDATE answer SET turn = ? WHERE key = ?", [(self.turn, key) for key in keys])

    def values(self) -> dict[str, dict[str, Any]]:
        """Return sha256 of a photo -> attributes: the last answer of each schema, merged, the latest turn winning."""
        with self._errors():
            return _values(self._database)

    def note(self, name: str, value: str | None = None) -> str | None:
        """Read a note that is kept with the answers; write it first if a value is given."""
        if value is not None:
            self._write("INSERT OR REPLACE INTO note VALUES (?, ?)", name, value)
        return self._one("SELECT value FROM note WHERE name = ?", name)

    def will_write(self, content: str) -> None:
        """Remember the hash of a file that the step is about to write."""
        self._write("INSERT OR IGNORE INTO written VALUES (?)", content)

    def has_written(self, content: str) -> bool:
        return bool(self._one(_WRITTEN, content))

    def _one(self, query: str, *values: Any) -> Any:
        with self._errors():
            row = self._database.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _write(self, statement: str, *values: Any) -> None:
        with self._errors(), self._database:
            self._database.execute(statement, values)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            name = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise UserError(
                    f"{self.path} is damaged ({error}). Restore a backup, save what `sqlite3 {FILE_NAME} .recover` "
                    "can, or move the file away to ask for all answers again."
                ) from error
            reason = "the disk is full" if name.startswith("SQLITE_FULL") else error
            raise UserError(
                f"Cannot read or write {self.path}: {reason}. Check the disk and the permissions, or set another out. "
                "Stored answers are kept."
            ) from error


def read_values(path: Path) -> dict[str, dict[str, Any]]:
    """Return `Ledger.values` of a ledger that is only read. Raises UserError if the file is damaged or no ledger."""
    try:
        with _read_only(path) as database:
            return _values(database)
    except (sqlite3.Error, ValueError) as error:
        raise UserError(f"{path}: cannot read the answers ({error}). Name a labels.sqlite of style_match.") from error


def has_written(path: Path, content: str) -> bool:
    """Return `Ledger.has_written` of a ledger that is only read; False without a readable ledger."""
    try:
        with _read_only(path) as database:
            return bool(database.execute(_WRITTEN, (content,)).fetchone()[0])
    except sqlite3.Error:
        return False


def _read_only(path: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True))


def _values(database: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    query = """SELECT sha256, schema, "values" FROM answer WHERE status = 'answered' ORDER BY turn, answered_at"""
    by_photo: dict[str, dict[str, str]] = {}
    for sha256, schema, values in database.execute(query):
        of_photo = by_photo.setdefault(sha256, {})
        of_photo.pop(schema, None)  # move it to the end
        of_photo[schema] = values
    return {
        sha256: {name: value for values in schemas.values() for name, value in json.loads(values).items()}
        for sha256, schemas in by_photo.items()
    }
