"""index=qdrant: a collection of Qdrant, embedded in a folder or on a server (`index.url`).

The collection is the source of truth: each point holds its profile's id, digest and matcher, so an interrupted update
is completed by the next one. The embedded one scans in Python and is meant for some ten thousand profiles.
"""

import hashlib
import os
import shutil
import sqlite3
import uuid
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np

from style_match.serving.index import storage
from style_match.serving.index.base import Candidates, Index, cells_of, checked_profiles, digest
from style_match.serving.index.storage import STORAGE, NoIndex, Unusable
from style_match.serving.where import And, Compare, Condition, Or, Value, kind_of
from style_match.utils.errors import UserError

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
except ImportError as error:
    raise UserError("index=qdrant needs its client: pip install 'style_match[qdrant]', or set index=exact.") from error

KEY = "QDRANT_API_KEY"
FORMAT = 1  # of the points
NAMESPACE = uuid.UUID("5c2d7e0a-6f0b-5f8e-9d57-3a1f6f3b8a41")  # of the points' ids


@dataclass(kw_only=True, eq=False)
class Qdrant(Index):
    """A collection of points; Qdrant alone holds their vectors and payloads.

    Args:
        url: of a server or cluster; None: embedded. The key comes from QDRANT_API_KEY.
        collection: its name; None: derived from the matcher and the dataset folder.
        exact: whether a server scans all vectors instead of its graph (HNSW). Embedded is always exact.
        m, ef_construction, ef_search: of the server's graph.
        batch: points per request.
        timeout_s: how long a server may take to answer.
    """

    url: str | None
    collection: str | None
    exact: bool
    m: int
    ef_construction: int
    ef_search: int
    batch: int
    timeout_s: float

    kind: ClassVar[str] = "qdrant"
    built_with: ClassVar[tuple[str, ...]] = ("m", "ef_construction")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.url is not None:
            _check_url(self.url)
        self._storage: Path | None = None
        self._client: QdrantClient | None = None

    @property
    def is_exact(self) -> bool:
        return self.exact or self.url is None

    @property
    def folder_name(self) -> str:
        if self.url is None and self.collection is None:
            return self.kind
        name = f"{self.url} {self.collection}"  # one folder per collection, so that `forget` reaches each
        return f"{self.kind}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

    def __len__(self) -> int:
        return int(self._call("count", exact=True).count)

    def build(self, ids, vectors, payload, matcher, *, folder=None) -> None:
        vectors = checked_profiles(ids, vectors)
        self.matcher, self.dim = matcher, vectors.shape[1]
        self.close()
        if self.url is None and folder is not None and (folder / STORAGE).exists():
            _refuse_foreign(folder / STORAGE)
            shutil.rmtree(folder / STORAGE)
        self._connect(folder)
        if self._call("collection_exists"):
            self._check_points()
            self._call("delete_collection")
        self._call(
            "create_collection",
            vectors_config=models.VectorParams(size=self.dim, distance=models.Distance.DOT),
            hnsw_config=models.HnswConfigDiff(m=self.m, ef_construct=self.ef_construction),
        )
        self._execute("PRAGMA journal_mode = WAL")  # one sync per commit, that is, per profile
        if folder is not None:
            self.save(folder)  # before the profiles, so that `forget` finds those of an interrupted build
        self.upsert(ids, vectors, payload)
        if folder is not None:
            self.save(folder)

    def upsert(self, ids, vectors, payload) -> None:
        vectors = checked_profiles(ids, vectors, self.dim)
        cells = cells_of(ids, payload)
        for name in {name for row in cells for name in row} if self.url else ():
            for kind, schema in SCHEMAS.items():  # payload indexes make a server's filters fast
                self._call("create_payload_index", field_name=f"{kind}.{escaped(name)}", field_schema=schema, wait=True)
        about = {"matcher": self.matcher, "format": FORMAT}
        for start in range(0, len(ids), self.batch):
            points = [
                models.PointStruct(
                    id=_point_id(ids[i]),
                    vector=vectors[i].tolist(),
                    payload={"id": ids[i], "digest": digest(vectors[i], cells[i]), **about, **payload_of(cells[i])},
                )
                for i in range(start, min(start + self.batch, len(ids)))
            ]
            self._call("upsert", points=points, wait=True)

    def delete(self, ids: Collection[str]) -> int:
        points, count = [_point_id(one) for one in ids], 0
        for start in range(0, len(points), self.batch):
            found = self._call("retrieve", ids=points[start : start + self.batch], with_payload=False)
            if found:
                chosen = models.PointIdsList(points=[point.id for point in found])
                self._call("delete", points_selector=chosen, wait=True)
            count += len(found)
        if count:  # SQLite keeps deleted rows in free pages
            self._execute("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    def digests(self) -> dict[str, str]:
        found: dict[str, str] = {}
        offset = None
        while True:
            points, offset = self._call("scroll", limit=self.batch, offset=offset, with_payload=["id", "digest"])
            found |= {point.payload["id"]: point.payload["digest"] for point in points}
            if offset is None:
                return found

    def save(self, folder: Path) -> None:
        if self.url is None and self._storage != folder / STORAGE:
            raise ValueError("an embedded Qdrant is stored in the folder it is built in")
        storage.save(folder, self._manifest())

    def open(self, folder: Path, *, matcher: str | None) -> None:
        self.close()
        try:
            manifest = self._read_manifest(folder, matcher)
            self.matcher = manifest.matcher
            self.collection = self.collection or manifest.options["collection"]
        except NoIndex:
            if self.url is None or matcher is None:
                raise
            self.matcher = matcher  # another machine may have made the collection
        self._connect(folder)
        if not self._call("collection_exists"):
            raise NoIndex(f"There is no collection {self.collection} at {self.url or folder}.")
        self._check_points()
        self.dim = int(self._call("get_collection").config.params.vectors.size)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _nearest(self, queries: np.ndarray, num: int, where: Condition | None) -> list[Candidates]:
        chosen = None if where is None else to_filter(where)
        params = models.SearchParams(exact=self.exact, hnsw_ef=max(self.ef_search, num)) if self.url else None
        options: dict[str, Any] = {"limit": num, "filter": chosen, "params": params}
        requests = [
            models.QueryRequest(query=query.tolist(), with_vector=True, with_payload=["id"], **options)
            for query in queries
        ]
        return [
            Candidates(
                [point.payload["id"] for point in answer.points],
                np.array([point.score for point in answer.points], np.float32),
                np.array([point.vector for point in answer.points], np.float32).reshape(-1, self.dim),
            )
            for answer in self._call("query_batch_points", requests=requests)
        ]

    def _check_points(self) -> None:
        """Refuse a collection of somebody else, of another matcher or of a newer format."""
        where = f"The collection {self.collection} at {self.url or self._storage}"
        other = "Choose another collection with index.collection."
        points, _ = self._call("scroll", limit=1, with_payload=["matcher", "format"])
        for payload in [point.payload or {} for point in points]:
            if not isinstance(payload.get("format"), int) or "matcher" not in payload:
                raise UserError(f"{where} was not made by style_match. {other}")
            if payload["format"] > FORMAT:
                raise UserError(
                    f"{where} has format {payload['format']}; this version of style_match reads up to {FORMAT}. "
                    f"Install a newer style_match. Or: {other}"
                )
            if payload["matcher"] != self.matcher:
                raise UserError(
                    f"{where} holds vectors of the matcher {payload['matcher']}, which cannot be compared with those "
                    f"of {self.matcher}. {other}"
                )

    def _connect(self, folder: Path | None) -> None:
        if self.collection is None:  # the parent folder is named after the matcher and the dataset folder
            self.collection = f"style_match-{folder.parent.name if folder is not None else self.matcher[:16]}"
        self._storage = folder / STORAGE if folder is not None and self.url is None else None
        self._client = _server(self.url, self.timeout_s) if self.url else _embedded(self._storage)

    def _call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the client on the collection.

        Raises:
            UserError: the server cannot be reached, refuses the key, or answers with an error; no secret is repeated.
        """
        if self._client is None:
            raise ValueError("the index is neither built nor open")
        try:
            return getattr(self._client, method)(collection_name=self.collection, **arguments)
        except ResponseHandlingException as error:
            raise UserError(
                f"The Qdrant server {self.url} cannot be reached ({error}). Check index.url and the server. "
                "Without a server, leave index.url out (embedded) or set index=exact."
            ) from error
        except UnexpectedResponse as error:
            if error.status_code in (401, 403):
                problem = "rejects the key in" if os.environ.get(KEY) else "requires a key: put it into"
                raise UserError(f"The Qdrant server {self.url} {problem} the variable {KEY}.") from error
            answer = str(error).replace(os.environ.get(KEY) or "\0", "***").replace("\n", " ")
            raise UserError(f"The Qdrant server {self.url}, collection {self.collection}: {answer}") from error

    def _execute(self, *statements: str) -> None:
        """Run SQL on the files of an embedded Qdrant."""
        for path in self._storage.rglob("*.sqlite") if self._storage else ():
            with closing(sqlite3.connect(path)) as connection:
                for statement in statements:
                    connection.execute(statement)


def _check_url(url: str) -> None:
    """Refuse what is no address, and addresses that hold a secret, which is not repeated."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UserError("index.url is not an address; use index.url=https://HOST:6333.") from error
    if parts.username is not None or parts.password is not None or parts.query:
        raise UserError(f"index.url must not contain a user, password or key: put the key into the variable {KEY}.")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"index.url={url} is not an address; use index.url=https://HOST:6333.")


def _server(url: str, timeout_s: float) -> QdrantClient:
    return QdrantClient(
        url=url, api_key=os.environ.get(KEY), timeout=max(1, round(timeout_s)), check_compatibility=False
    )


def _embedded(folder: Path | None) -> QdrantClient:
    """Qdrant in this process, stored in a folder; None: in memory."""
    if folder is None:
        return QdrantClient(":memory:")
    _refuse_foreign(folder)
    try:
        return QdrantClient(path=str(folder))
    except RuntimeError as error:
        if "already accessed" not in str(error):
            raise
        raise UserError(
            f"{folder} is in use by another process, and an embedded Qdrant serves one at a time. Stop that process, "
            "set index=exact, or run a server and set index.url=URL."
        ) from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise Unusable(f"{folder} cannot be opened by Qdrant ({type(error).__name__})") from error


def _refuse_foreign(folder: Path) -> None:
    """qdrant-client reads its storage with pickle, so nobody else may have written it."""
    if folder.exists() and hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise UserError(
            f"{folder} belongs to another user and could run their code when opened. Choose your own folder with "
            "index.root=FOLDER."
        )


def _point_id(profile_id: str) -> str:
    return str(uuid.uuid5(NAMESPACE, profile_id))


# Filters. The payload holds a cell under each kind that it can be read as: `text` always, `number` and `flag` if it is
# one. Numbers are thus compared as numbers, and an empty cell, which is stored nowhere, fulfils nothing. Column names
# are escaped: paths of Qdrant may contain letters, digits, - and _ only.

SCHEMAS = {"text": "keyword", "number": "float", "flag": "bool"}  # kind -> type of a server's payload index
BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def payload_of(cells: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """kind -> escaped column -> value, of the cells that are not empty."""
    texts = {escaped(name): cell.strip() for name, cell in cells.items() if cell and cell.strip()}
    kinds = {name: kind_of([cell]) for name, cell in texts.items()}
    return {
        "text": texts,
        "number": {name: float(cell) for name, cell in texts.items() if kinds[name] == "number"},
        "flag": {name: cell.lower() == "true" for name, cell in texts.items() if kinds[name] == "flag"},
    }


def to_filter(condition: Condition) -> models.Filter:
    """Translate a condition into a filter of Qdrant."""
    if isinstance(condition, And):
        return models.Filter(must=[to_filter(part) for part in condition.parts])
    if isinstance(condition, Or):
        return models.Filter(should=[to_filter(part) for part in condition.parts])
    key = _key(condition)
    if condition.op in BOUNDS:
        bounds = models.Range.model_validate({BOUNDS[condition.op]: condition.value})
        return models.Filter(must=[models.FieldCondition(key=key, range=bounds)])
    equal: list[Any] = [_equal(key, value) for value in condition.values]
    if condition.op in ("!=", "not in"):
        return models.Filter(must_not=[_empty(key), *equal])
    return models.Filter(should=equal)


def _key(condition: Compare) -> str:
    like = condition.values[0]
    kind = "flag" if isinstance(like, bool) else "number" if isinstance(like, float) else "text"
    return f"{kind}.{escaped(condition.column)}"


def _equal(key: str, value: Value) -> models.FieldCondition:
    if isinstance(value, float):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _empty(key: str) -> models.IsEmptyCondition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))


def escaped(column: str) -> str:
    """A column name with every character but ASCII letters and digits as _ and its UTF-8 bytes in hexadecimal."""
    return "".join(
        sign if sign.isascii() and sign.isalnum() else "".join(f"_{byte:02x}" for byte in sign.encode())
        for sign in column
    )
