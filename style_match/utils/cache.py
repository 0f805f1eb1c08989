"""A small file of remembered facts, shared by processes, believed only where its checksums hold."""

import hashlib
import json
import os
import sqlite3
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from style_match.utils.errors import UserError

_WAIT_S = 30.0  # for another process's write, which takes milliseconds
_HOLDS = "(instr(key, ?) OR instr(value, ?))"
_KEYS = "SELECT key FROM memo WHERE "
_BY_KEY, _BY_VALUE = "DELETE FROM memo WHERE key = ?", f"DELETE FROM memo WHERE {_HOLDS}"


class Memo:
    """Key to JSON value in one sqlite file. Losing it costs time only.

    A file that cannot be opened, read or written is left alone from then on, and one warning says so; an entry
    whose checksum does not hold counts as absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._given_up = False
        self._warned = False

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]  # a worker process opens its own connection

    def get(self, key: str) -> Any:
        """The remembered value, or None."""
        found = self._run("SELECT value, checksum FROM memo WHERE key = ?", (_encode(key),))
        if not found:
            return None
        value, checksum = found[0]
        try:
            if checksum == _checksum(key, value):
                return json.loads(value)
        except (TypeError, ValueError):
            pass
        self._warn("holds entries whose checksum is wrong")
        return None

    def put(self, key: str, value: Any) -> None:
        text = json.dumps(value)
        self._run("INSERT OR REPLACE INTO memo VALUES (?, ?, ?)", (_encode(key), text, _checksum(key, text)))

    def remove(self, keys: Iterable[str], values: Iterable[str]) -> int:
        """Forget these keys, and all entries whose key or value holds one of `values`; their bytes leave the file.

        Raises:
            UserError: the file is there and cannot be used.
        """
        if not self.path.exists():
            return 0
        try:
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            try:
                connection.execute("PRAGMA secure_delete = ON")
                removed = sum(connection.execute(_BY_KEY, (_encode(key),)).rowcount for key in keys)
                removed += sum(connection.execute(_BY_VALUE, (value.encode(), value)).rowcount for value in values)
                connection.execute("VACUUM")
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise UserError(f"{self.path} cannot be changed ({error}): run again, or delete this file.") from error
        return removed

    def count(self, keys: Iterable[str], values: Iterable[str]) -> int:
        """How many entries `remove` would remove."""
        found = {row[0] for key in keys for row in self._run(_KEYS + "key = ?", (_encode(key),))}
        found |= {row[0] for value in values for row in self._run(_KEYS + _HOLDS, (value.encode(), value))}
        return len(found)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            if self._given_up:
                return []
            try:
                return self._open().execute(statement, values).fetchall()
            except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: a damaged file's own words
                self._given_up = True
                self._warn(f"cannot be used ({error})")
                return []

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():  # a connection must not cross a fork
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
            # Without waiting for the disk a power cut may damage the file; the checksums find that out.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("CREATE TABLE IF NOT EXISTS memo (key BLOB PRIMARY KEY, value TEXT, checksum BLOB)")
            self._connection, self._process = connection, os.getpid()
        return self._connection

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            text = f"{self.path} {what}: files are hashed and decoded again. Delete it to start a new one."
            warnings.warn(text, stacklevel=2)


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")  # file names need not be UTF-8


def _checksum(key: str, value: str) -> bytes:
    return hashlib.blake2b(_encode(key) + b"\0" + value.encode(), digest_size=8).digest()
