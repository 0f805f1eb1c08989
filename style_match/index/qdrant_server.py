"""Connections to Qdrant: embedded below a folder, or a server; its errors as those of the user."""

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from style_match.errors import UserError
from style_match.index.base import Unreadable
from style_match.progress import say

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

KEY = "QDRANT_API_KEY"


def check_url(url: str) -> None:
    """Whether it is a server's address without a secret.

    Raises:
        UserError: it is none, or holds a user or password; it is not repeated then.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UserError("index.url is no address: write index.url=https://HOST:6333.") from error
    if parts.username is not None or parts.password is not None or parts.query:
        raise UserError(f"index.url must hold no user, password or key: put the key into the variable {KEY}.")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"index.url={url} is no address: write index.url=https://HOST:6333.")


def connected(url: str, timeout_s: float) -> "QdrantClient":
    """A client of the server, its key from the environment; whether it answers is found out at the first request."""
    from qdrant_client import QdrantClient

    key = os.environ.get(KEY) or None
    if key and urlsplit(url).scheme == "http" and urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        say(f"index.url={url}: {KEY} is sent unencrypted; write https:// where the server has it.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is said above
        return QdrantClient(url=url, api_key=key, timeout=max(1, round(timeout_s)), check_compatibility=False)


def embedded(folder: Path | None) -> "QdrantClient":
    """Qdrant in this process, kept in a folder; None: in memory.

    Raises:
        UserError: another process uses the folder, or it was written by another user.
    """
    from qdrant_client import QdrantClient

    if folder is None:
        return QdrantClient(":memory:")
    if folder.exists() and hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        # qdrant-client reads its storage with pickle, which runs what it finds
        raise UserError(
            f"{folder} belongs to another user, and opening it would run what they put there: name a folder of your "
            "own with index.root=FOLDER."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it is slow beyond 20,000 is said where it is built
            return QdrantClient(path=str(folder))
    except RuntimeError as error:
        if "already accessed" not in str(error):
            raise
        raise UserError(
            f"{folder} is in use by another process, and an embedded Qdrant serves one at a time: end that process, "
            "write index=exact, or run a server and name it with index.url=URL."
        ) from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise Unreadable(
            f"{folder} cannot be opened by Qdrant ({type(error).__name__}): delete it; the same command builds it anew."
        ) from error


def commit_fast(storage: Path) -> None:
    """Have an embedded Qdrant's commits, one a profile, wait for the disk once instead of several times."""
    for path in storage.rglob("*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # stays so


def scrub(storage: Path) -> None:
    """Take what was deleted out of an embedded Qdrant's files, where it would stay in free pages."""
    for path in storage.rglob("*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def answered(url: str | None, collection: str) -> Iterator[None]:
    """Turn Qdrant's errors into the user's; no secret is repeated.

    Raises:
        UserError: the server cannot be reached, refuses the key, or answers with an error.
    """
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except ResponseHandlingException as error:
        raise UserError(
            f"The Qdrant server {url} cannot be reached ({error}). Is it running, and is index.url right? Without a "
            "server, leave index.url out (embedded) or write index=exact."
        ) from error
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            how = "does not accept the key of" if os.environ.get(KEY) else "wants a key: put it into"
            raise UserError(f"The Qdrant server {url} {how} the variable {KEY}.") from error
        told = str(error).replace(os.environ.get(KEY) or "\0", "***").replace("\n", " ")
        raise UserError(f"The Qdrant server {url}, collection {collection}: {told}") from error
