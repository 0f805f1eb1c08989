"""A key-value cache in one SQLite file, shared by threads and processes."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from style_match.utils import progress
from style_match.utils.errors import UserError

_TIMEOUT_S = 30.0  # wait for another process's write, which takes milliseconds


class DiskCache:
    """JSON values by text key. Losing the file costs time only; a damaged one is deleted and started again.

    Every method but `put` raises UserError if the file cannot be created, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._is_full = False  # the user was warned that nothing can be stored

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]  # a worker process opens its own connection

    def get(self, key: str) -> Any:
        """The stored value, or None."""
        found = self._run("SELECT value FROM memo WHERE key = ?", (_encode(key),))
        try:
            return json.loads(found[0][0]) if found else None
        except (TypeError, ValueError):  # damaged: counts as absent and is written again
            return None

    def put(self, key: str, value: Any) -> None:
        """Store a JSON value; where that fails, as on a full disk, say so once: losing it costs time only."""
        try:
            self._run("INSERT OR REPLACE INTO memo (key, value) VALUES (?, ?)", (_encode(key), json.dumps(value)))
        except UserError as error:
            if not self._is_full:
                progress.say(f"{error} Without it, the next command computes again what this one stores.")
            self._is_full = True

    def remove(self, keys: Iterable[str], values: Iterable[str]) -> int:
        """Delete these keys and every entry whose key or value contains one of `values`; their bytes leave the file.

        Returns:
            The number of deleted entries.
        """
        found = self._find(keys, values)
        for key in found:
            self._run("DELETE FROM memo WHERE key = ?", (key,))
        if found:
            self._run("VACUUM")
        return len(found)

    def count(self, keys: Iterable[str], values: Iterable[str]) -> int:
        """The number of entries that `remove` would delete."""
        return len(self._find(keys, values))

    def _find(self, keys: Iterable[str], values: Iterable[str]) -> set[bytes]:
        if not self.path.exists():
            return set()
        select = "SELECT key FROM memo WHERE "
        found = {row[0] for key in keys for row in self._run(f"{select}key = ?", (_encode(key),))}
        contains = f"{select}instr(key, ?) OR instr(value, ?)"
        return found | {row[0] for value in values for row in self._run(contains, (value.encode(), value))}

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            try:
                try:
                    return self._open().execute(statement, values).fetchall()
                except sqlite3.DatabaseError as error:
                    if isinstance(error, sqlite3.OperationalError):  # locked, read-only, no space
                        raise
                    self._connection = None
                    self.path.unlink(missing_ok=True)
                    return self._open().execute(statement, values).fetchall()
            except (sqlite3.Error, OSError) as error:
                remedy = "Delete it, or set STYLE_MATCH_CACHE to a writable folder"
                raise UserError(f"Cannot use the cache {self.path} ({error}). {remedy}.") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():  # a connection must not cross a fork
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA secure_delete = ON")  # what is removed leaves the file
            connection.execute("CREATE TABLE IF NOT EXISTS memo (key BLOB PRIMARY KEY, value TEXT)")
            self._connection, self._process = connection, os.getpid()
        return self._connection


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")  # file names need not be UTF-8
