"""index=qdrant: a collection of Qdrant, embedded in a folder or on a server (`index.url`).

The collection is what counts: each point holds its profile's id, digest and matcher, so that it is brought up to date
wherever a writer was stopped. Embedded, it is meant for some ten thousand profiles: it scans in Python.
"""

import hashlib
import os
import re
import sqlite3
import uuid
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from qdrant_client import models

from style_match.serving.index import storage
from style_match.serving.index.base import Candidates, Index, checked_profiles, columns_of, digest, each_cells
from style_match.serving.index.storage import FORMAT, STORAGE, NoIndex, Unreadable
from style_match.serving.where import And, Condition, In, Not, Or, Value, check, kind_of, without_not
from style_match.utils.errors import UserError
from style_match.utils.progress import say

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


# Connections to Qdrant: embedded below a folder, or a server; its errors as those of the user.


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


# The points of one collection of Qdrant; every error of it as one of the user.


class Points:
    """A collection that may not exist yet.

    Args:
        client: embedded, or of the server `url`.
        name: of the collection.
        batch: points of one request.
    """

    def __init__(self, client: "QdrantClient", name: str, *, url: str | None, batch: int):
        self.client = client
        self.name = name
        self.url = url
        self.batch = batch

    def exist(self) -> bool:
        with self._answered():
            return self.client.collection_exists(self.name)

    def __len__(self) -> int:
        with self._answered():
            return self.client.count(self.name, exact=True).count

    def create(self, dim: int, *, m: int, ef_construction: int) -> None:
        """Make it, empty, in place of one that there may be; scores are inner products."""
        with self._answered():
            if self.client.collection_exists(self.name):
                self.client.delete_collection(self.name)
            self.client.create_collection(
                self.name,
                vectors_config=models.VectorParams(size=dim, distance=models.Distance.DOT),
                hnsw_config=models.HnswConfigDiff(m=m, ef_construct=ef_construction),
            )

    def dim(self) -> int:
        """Width of the vectors."""
        with self._answered():
            vectors: Any = self.client.get_collection(self.name).config.params.vectors
        return int(vectors.size)

    def indexed(self) -> list[str]:
        """Keys of the payload that a server has an index of."""
        with self._answered():
            return list(self.client.get_collection(self.name).payload_schema)

    def add_payload_index(self, key: str, schema: str) -> None:
        """Make filters of this key fast on a server."""
        with self._answered():
            self.client.create_payload_index(self.name, key, models.PayloadSchemaType(schema), wait=True)

    def put(self, points: Iterator[models.PointStruct]) -> None:
        """Add points, in place of those that have the same ids."""
        waiting: list[models.PointStruct] = []
        for point in points:
            waiting.append(point)
            if len(waiting) == self.batch:
                self._put(waiting)
                waiting = []
        if waiting:
            self._put(waiting)

    def _put(self, points: list[models.PointStruct]) -> None:
        with self._answered():
            self.client.upsert(self.name, points, wait=True)

    def remove(self, ids: Sequence[str]) -> int:
        """Delete points; returns how many there were."""
        count = 0
        for start in range(0, len(ids), self.batch):
            with self._answered():
                found = self.client.retrieve(self.name, ids[start : start + self.batch], with_payload=False)
                if found:
                    chosen = models.PointIdsList(points=[point.id for point in found])
                    self.client.delete(self.name, chosen, wait=True)
            count += len(found)
        return count

    def first(self, payload: list[str], chosen: models.Filter | None = None) -> dict[str, Any] | None:
        """These parts of the payload of a point that fulfils a filter; None: there is none."""
        with self._answered():
            points, _ = self.client.scroll(self.name, chosen, limit=1, with_payload=payload)
        return (points[0].payload or {}) if points else None

    def all(self, payload: list[str] | bool, *, with_vectors: bool = False) -> Iterator[models.Record]:
        offset = None
        while True:
            with self._answered():
                points, offset = self.client.scroll(
                    self.name, limit=self.batch, offset=offset, with_payload=payload, with_vectors=with_vectors
                )
            yield from points
            if offset is None:
                return

    def nearest(self, requests: Sequence[models.QueryRequest]) -> list[models.QueryResponse]:
        with self._answered():
            return self.client.query_batch_points(self.name, requests)

    def _answered(self) -> Any:
        return answered(self.url, self.name)


# A condition of `style_match.serving.where` as a filter of Qdrant, and the payload that it asks.
#
# A cell stands in the payload under each kind that it can be read as: `text` always, `number` and `flag` where it is
# one. So numbers are compared as numbers, and an empty cell, which stands nowhere, fulfils nothing. Column names are
# escaped: Qdrant's paths know letters, digits, - and _ only.


SCHEMAS = {"text": "keyword", "number": "float", "flag": "bool"}  # kind -> how a server indexes it
ESCAPED = re.compile(r"_([0-9a-f]{2})")


def payload_of(cells: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """kind -> escaped column -> value, of the cells that are not empty."""
    filled = {escaped(name): cell.strip() for name, cell in cells.items() if cell and cell.strip()}
    kinds = {name: kind_of([cell]) for name, cell in filled.items()}
    return {
        "text": filled,
        "number": {name: float(cell) for name, cell in filled.items() if kinds[name] == "number"},
        "flag": {name: cell.lower() == "true" for name, cell in filled.items() if kinds[name] == "flag"},
    }


def translated(condition: Condition) -> models.Filter:
    """The filter of a condition that holds no `Not` (`where.without_not`)."""
    assert not isinstance(condition, Not)
    if isinstance(condition, And):
        return models.Filter(must=[translated(part) for part in condition.parts])
    if isinstance(condition, Or):
        return models.Filter(should=[translated(part) for part in condition.parts])
    if isinstance(condition, In):
        values, negated = condition.values, condition.negated
    elif condition.op in ("==", "!="):
        values, negated = (condition.value,), condition.op == "!="
    else:
        bound = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[condition.op]
        key = key_of(condition.column, condition.value)
        bounds = models.Range.model_validate({bound: condition.value})
        return models.Filter(must=[models.FieldCondition(key=key, range=bounds)])
    key = key_of(condition.column, values[0])
    equal: list[Any] = [_equal(key, value) for value in values]
    if negated:
        return models.Filter(must_not=[_empty(key), *equal])
    return models.Filter(should=equal)


def key_of(column: str, like: Value) -> str:
    """Where the payload holds the column's cells of a value's kind."""
    kind = "flag" if isinstance(like, bool) else "number" if isinstance(like, float) else "text"
    return f"{kind}.{escaped(column)}"


def lacking(column: str, kind: str) -> models.Filter:
    """Cells that are not empty and not of a kind."""
    name = escaped(column)
    return models.Filter(must=[_empty(f"{kind}.{name}")], must_not=[_empty(f"text.{name}")])


def _empty(key: str) -> models.IsEmptyCondition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))


def escaped(column: str) -> str:
    return "".join(
        sign if sign.isascii() and sign.isalnum() else "".join(f"_{byte:02x}" for byte in sign.encode())
        for sign in column
    )


def unescaped(name: str) -> str:
    raw = ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)
    return raw.encode("latin-1").decode()


def _equal(key: str, value: Value) -> models.FieldCondition:
    if isinstance(value, float) and not isinstance(value, bool):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


NAMESPACE = uuid.UUID("5c2d7e0a-6f0b-5f8e-9d57-3a1f6f3b8a41")  # of the points' ids
SLOW = 20_000  # profiles above which the embedded one is slow, by its own account


class Qdrant(Index):
    """A collection of points; their vectors and payloads are held by Qdrant alone.

    Args:
        root: folder of all indexes; None: in the cache.
        url: of a server or cluster; None: embedded. The key comes from QDRANT_API_KEY.
        collection: its name; None: after the matcher and the dataset folder.
        exact: True: the server scans all vectors; False: its graph (HNSW). Embedded is always exact.
        m, ef_construction, ef_search: of the server's graph.
        batch: profiles sent at once.
        timeout_s: seconds that a server may take to answer.
        query_block: queries that are answered together.
    """

    kind = "qdrant"
    built_with = ("m", "ef_construction")

    def __init__(
        self,
        *,
        root: str | None,
        url: str | None,
        collection: str | None,
        exact: bool,
        m: int,
        ef_construction: int,
        ef_search: int,
        batch: int,
        timeout_s: float,
        query_block: int,
    ):
        super().__init__(root=root, query_block=query_block)
        if url is not None:
            check_url(url)
        try:
            import qdrant_client  # noqa: F401
        except ImportError as error:
            raise UserError(
                "index=qdrant needs its client: pip install 'style_match[qdrant]', or write index=exact."
            ) from error
        self.url = url
        self.collection = collection
        self.exact = exact
        self.m = m
        self.ef_construction = ef_construction
        self.ef_search = ef_search
        self.batch = batch
        self.timeout_s = timeout_s
        self.is_exact = exact or url is None
        self.columns: dict[str, None] = {}
        self._cells: dict[str, list[str]] = {}  # column -> cells that show its kind, as asked of the collection
        self._storage: Path | None = None
        self._opened: Points | None = None

    @property
    def options(self) -> dict[str, Any]:
        names = ("url", "collection", "exact", "m", "ef_construction", "ef_search", "batch", "timeout_s", "query_block")
        return {name: getattr(self, name) for name in names}

    @property
    def place(self) -> str:
        if self.url is None and self.collection is None:
            return self.kind
        told = f"{self.url} {self.collection}"  # a folder for each server: what is forgotten is deleted from all
        return f"{self.kind}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    @property
    def points(self) -> "Points":
        if self._opened is None:
            raise ValueError("the index is neither built nor open")
        return self._opened

    def build(self, ids, vectors, payload, matcher, *, folder=None) -> None:
        vectors = checked_profiles(ids, vectors)
        self.matcher, self.dim = matcher, vectors.shape[1]
        if self.url is None and len(ids) > SLOW:
            say(
                f"index=qdrant without index.url scans in Python: above {SLOW} profiles, here {len(ids)}, "
                "index=exact or index=faiss is much faster."
            )
        self._connect(folder)
        self._create()
        if folder is not None:
            self.save(folder)  # before the profiles, so that a stopped writer's are found again
        self.upsert(ids, vectors, payload)
        if folder is not None:
            self.save(folder)

    def _create(self) -> None:
        if self.points.exist():
            self._check_points()
        self.points.create(self.dim, m=self.m, ef_construction=self.ef_construction)
        self.columns = {}
        if self._storage:
            commit_fast(self._storage)

    def upsert(self, ids, vectors, payload) -> None:
        from qdrant_client.models import PointStruct

        pass

        vectors = checked_profiles(ids, vectors, self.dim)
        cells = each_cells(ids, payload)
        self._learn(dict.fromkeys(name for row in cells for name in row))
        self.points.put(
            PointStruct(
                id=_point(one),
                vector=vector.tolist(),
                payload={
                    "id": one,
                    "digest": digest(vector, own),
                    "matcher": self.matcher,
                    "format": FORMAT,
                    **payload_of(own),
                },
            )
            for one, vector, own in zip(ids, vectors, cells, strict=True)
        )

    def delete(self, ids: Collection[str]) -> int:
        count = self.points.remove([_point(one) for one in ids])
        if count and self._storage:
            scrub(self._storage)
        self._cells = {}
        return count

    def digests(self) -> dict[str, str]:
        held = (point.payload or {} for point in self.points.all(["id", "digest"]))
        return {payload["id"]: payload["digest"] for payload in held}

    def __len__(self) -> int:
        return len(self.points)

    def _holds(self, ids: Collection[str]) -> int:
        return len(ids)

    def _retrieve(self, queries: np.ndarray, num: int, where: Condition | None) -> list[Candidates]:
        from qdrant_client.models import QueryRequest, SearchParams

        chosen = None if where is None else self._filter(where)
        params = SearchParams(exact=self.exact, hnsw_ef=max(self.ef_search, num)) if self.url else None
        options: dict[str, Any] = {"limit": num, "filter": chosen, "params": params}
        answers = self.points.nearest(
            [QueryRequest(query=query.tolist(), with_vector=True, with_payload=["id"], **options) for query in queries]
        )
        return [
            Candidates(
                [(point.payload or {})["id"] for point in answer.points],
                np.array([point.score for point in answer.points], np.float32),
                np.array([point.vector for point in answer.points], np.float32).reshape(-1, self.dim),
            )
            for answer in answers
        ]

    def _filter(self, where: Condition) -> Any:
        pass

        asked = columns_of(where)
        check(where, {name: self._some_cells(name) if name in asked else [] for name in self.columns})
        return translated(without_not(where))

    def _some_cells(self, column: str) -> list[str]:
        """Some cells that are of the same kind as all of the column, for `where.check`."""
        pass

        if column not in self._cells:
            # one that is no number and one that is no flag, where there are such
            found = [self.points.first(["text"], lacking(column, kind)) for kind in ("number", "flag")]
            self._cells[column] = [payload["text"][escaped(column)] for payload in found if payload]
        return self._cells[column]

    def _learn(self, columns: Mapping[str, None]) -> None:
        """Remember columns; a server gets an index for each, which makes filters fast."""
        pass

        self._cells = {}
        for name in columns.keys() - self.columns.keys() if self.url else ():
            for kind, schema in SCHEMAS.items():
                self.points.add_payload_index(f"{kind}.{escaped(name)}", schema)
        self.columns |= columns

    def save(self, folder: Path) -> None:
        if self.url is None and self._storage is None:
            self._move(folder)
        manifest = {
            "kind": self.kind,
            "matcher": self.matcher,
            "dim": self.dim,
            "made_by": f"{type(self).__module__}.{type(self).__qualname__}",
            "options": self.options,
            "columns": list(self.columns),
        }
        storage.save(folder, manifest, {})

    def _move(self, folder: Path) -> None:
        """From memory into a folder."""
        from qdrant_client.models import PointStruct

        held, columns = list(self.points.all(True, with_vectors=True)), self.columns
        self._connect(folder)
        self._create()
        self.columns = columns
        vectors: list[Any] = [one.vector for one in held]
        self.points.put(
            PointStruct(id=one.id, vector=vector, payload=one.payload)
            for one, vector in zip(held, vectors, strict=True)
        )

    def open(self, folder: Path, *, matcher: str | None) -> None:
        pass

        try:
            manifest = storage.read_manifest(folder)
            storage.check_manifest(folder, manifest, kind=self.kind, matcher=matcher)
        except NoIndex:
            if self.url is None or matcher is None:
                raise
            # another machine may have made the collection
            manifest = {"matcher": matcher, "columns": [], "options": {"collection": self.collection}}
        self.matcher = manifest["matcher"]
        self.collection = self.collection or manifest["options"]["collection"]
        self._connect(folder)
        if not self.points.exist():
            raise NoIndex(f"There is no collection {self.collection} at {self.url or folder}.")
        self._check_points()
        self.dim = self.points.dim()
        indexed = [unescaped(key.removeprefix("text.")) for key in self.points.indexed() if key.startswith("text.")]
        self.columns = dict.fromkeys([*manifest["columns"], *indexed])

    def _check_points(self) -> None:
        """Whether they are of this matcher and of a format that is known."""
        where, own = f"{self.collection} at {self.url or self._storage}", self.points.first(["matcher", "format"])
        if own is None:
            return
        if not isinstance(own.get("format"), int) or "matcher" not in own:
            raise UserError(f"The collection {where} is not one of style_match: name another by index.collection.")
        if own["format"] > FORMAT:
            raise UserError(
                f"The collection {where} is of format {own['format']}; this version of style_match reads up to "
                f"{FORMAT}. Install a newer one, or name another collection by index.collection."
            )
        if own["matcher"] != self.matcher:
            raise storage.other_matcher(where, own["matcher"], self.matcher)

    def _connect(self, folder: Path | None) -> None:
        pass

        self.close()
        if self.collection is None:
            # the folder above is named after the matcher and the dataset folder
            self.collection = f"style_match-{folder.parent.name if folder is not None else self.matcher[:16]}"
        self._storage = folder / STORAGE if folder is not None and self.url is None else None
        client = connected(self.url, self.timeout_s) if self.url else embedded(self._storage)
        self._opened = Points(client, self.collection, url=self.url, batch=self.batch)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.client.close()
            self._opened = None


def _point(profile_id: str) -> str:
    return str(uuid.uuid5(NAMESPACE, profile_id))
