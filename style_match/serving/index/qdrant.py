"""index=qdrant: a collection of Qdrant, embedded in a folder or on a server (`index.url`).

Each point holds the id, digest and matcher of its profile, so an interrupted update is completed by the next one. The
embedded Qdrant scans in Python and is meant for some ten thousand profiles.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np

from style_match.serving.index.base import Cells, Index, Unusable
from style_match.serving.where import And, Condition, Or, Value, kind_of, kind_of_value
from style_match.utils.errors import UserError

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
except ImportError as error:
    raise UserError("index=qdrant needs its client: pip install 'style_match[qdrant]', or set index=exact.") from error

KEY = "QDRANT_API_KEY"
FORMAT = 1  # of the points
NAMESPACE = uuid.UUID("5c2d7e0a-6f0b-5f8e-9d57-3a1f6f3b8a41")  # of the ids of points
BATCH = 256  # profiles per request
TIMEOUT_S = 30  # how long a server may take to answer
STORAGE = "qdrant"  # folder of an embedded Qdrant


class Qdrant(Index):
    """A collection of points.

    Args:
        root: Folder of all stored indexes; None: `indexes/` in the cache root.
        url: Address of a server or cluster; None: embedded. The key comes from QDRANT_API_KEY.
        collection: Name of the collection; None: derived from the matcher and the dataset folder.
        exact: Whether a server scans all vectors instead of using its graph (HNSW). Embedded is always exact.
        m: Neighbours of a vector in the graph of a server.
        ef_construction: Candidates that a server examines for each added vector.
        ef_search: Candidates that a server examines for a query.
    """

    kind: ClassVar[str] = "qdrant"
    is_stored: ClassVar[bool] = True

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
    ):
        super().__init__()
        if url is not None:
            _check_url(url)
        self.root, self.url, self.collection = root, url, collection
        self.m, self.ef_construction, self.ef_search = m, ef_construction, ef_search
        self.is_exact = exact or url is None
        self._storage: Path | None = None
        self._client: QdrantClient | None = None

    @property
    def folder_name(self) -> str:
        """Name of the index's folder: one folder for each collection, so that `forget` finds each."""
        if self.url is None and self.collection is None:
            return self.kind
        return f"{self.kind}-{hashlib.sha256(f'{self.url} {self.collection}'.encode()).hexdigest()[:8]}"

    def server(self, folder: Path) -> dict[str, str]:
        """Return `url` and `collection` of an index on a server; empty for others."""
        return {"url": self.url, "collection": self._name(folder)} if self.url else {}

    def close(self) -> None:
        """Close the client; other processes can then open an embedded Qdrant."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _build(self, cells: Sequence[Cells], folder: Path | None) -> str:
        self._row_of = {one: row for row, one in enumerate(self.ids)}
        self.close()
        done = "built"
        try:
            self._connect(folder)
            if self._call("collection_exists"):
                self._refuse_other_collection()
                done = ""
        except Unusable as error:
            done = f"rebuilt: {error}"
            assert self._storage is not None
            shutil.rmtree(self._storage)
            self._connect(folder)
        if done:
            self._call(
                "create_collection",
                vectors_config=models.VectorParams(size=self.vectors.shape[1], distance=models.Distance.DOT),
                hnsw_config=models.HnswConfigDiff(m=self.m, ef_construct=self.ef_construction),
            )
            self._speed_up_commits()
        changes = self._update(cells)
        return done or changes

    def _update(self, cells: Sequence[Cells]) -> str:
        """Change only the points that differ; return what was done."""
        stored = self._digests()
        digests = [_digest(vector, row) for vector, row in zip(self.vectors, cells, strict=True)]
        removed = stored.keys() - self._row_of.keys()
        changed = [row for row, one in enumerate(self.ids) if stored.get(one) != digests[row]]
        if not changed and not removed:
            return "up to date"
        self._delete(removed)
        for name in self.columns if self.url else ():  # payload indexes make the filters of a server fast
            for kind, schema in SCHEMAS.items():
                field = f"{kind}.{escaped(name)}"
                self._call("create_payload_index", field_name=field, field_schema=schema, wait=True)
        about = {"matcher": self.matcher, "format": FORMAT}
        for start in range(0, len(changed), BATCH):
            points = [
                models.PointStruct(
                    id=_point_id(self.ids[row]),
                    vector=self.vectors[row].tolist(),
                    payload={"id": self.ids[row], "digest": digests[row], **about, **payload_of(cells[row])},
                )
                for row in changed[start : start + BATCH]
            ]
            self._call("upsert", points=points, wait=True)
        added = sum(self.ids[row] not in stored for row in changed)
        return f"{added} added, {len(changed) - added} replaced, {len(removed)} removed"

    def _delete(self, ids: Collection[str]) -> int:
        """Delete profiles; return how many were found."""
        if not ids:
            return 0
        chosen = models.Filter(must=[models.HasIdCondition(has_id=[_point_id(one) for one in ids])])
        count = self._call("count", count_filter=chosen).count
        self._call("delete", points_selector=models.FilterSelector(filter=chosen), wait=True)
        return count

    def _digests(self) -> dict[str, str]:
        """Profile id -> digest of its vector and cells, of all points."""
        found: dict[str, str] = {}
        offset = None
        while True:
            points, offset = self._call("scroll", limit=BATCH, offset=offset, with_payload=["id", "digest"])
            found |= {point.payload["id"]: point.payload["digest"] for point in points}
            if offset is None:
                return found

    def _filter(self, where: Condition) -> models.Filter:
        return to_filter(where)

    def _nearest(self, queries: np.ndarray, num: int, allowed: models.Filter | None) -> tuple[np.ndarray, np.ndarray]:
        params = models.SearchParams(exact=self.is_exact, hnsw_ef=max(self.ef_search, num)) if self.url else None
        options: dict[str, Any] = {"limit": num, "filter": allowed, "params": params, "with_payload": ["id"]}
        requests = [models.QueryRequest(query=query.tolist(), **options) for query in queries]
        scores = np.full((len(queries), num), -np.inf, np.float32)
        rows = np.full((len(queries), num), -1)
        for query, answer in enumerate(self._call("query_batch_points", requests=requests)):
            scores[query, : len(answer.points)] = [point.score for point in answer.points]
            rows[query, : len(answer.points)] = [self._row_of.get(point.payload["id"], -1) for point in answer.points]
        return scores, rows

    def _refuse_other_collection(self) -> None:
        """Refuse a collection of another program, version or matcher."""
        where = f"The collection {self.collection} at {self.url or 'its folder'}"
        points, _ = self._call("scroll", limit=1, with_payload=["matcher", "format"])
        for payload in [point.payload or {} for point in points]:
            if payload.get("format") != FORMAT:
                raise UserError(f"{where} was not made by this version of style_match. Set another index.collection.")
            if payload["matcher"] != self.matcher:
                raise UserError(
                    f"{where} holds vectors of the matcher {payload['matcher']}, which cannot be compared with those "
                    f"of {self.matcher}. Set another index.collection."
                )

    def _name(self, folder: Path | None) -> str:
        """Name of the collection; the parent folder is named after the matcher and the dataset folder."""
        return self.collection or f"style_match-{folder.parent.name if folder is not None else self.matcher[:16]}"

    def _connect(self, folder: Path | None) -> None:
        self.collection = self._name(folder)
        self._storage = folder / STORAGE if folder is not None and self.url is None else None
        if self.url:
            self._client = QdrantClient(
                url=self.url, api_key=os.environ.get(KEY), timeout=TIMEOUT_S, check_compatibility=False
            )
        else:
            self._client = _embedded(self._storage)

    def _speed_up_commits(self) -> None:
        """Let an embedded Qdrant, which commits every point by itself, sync its files once a commit."""
        for path in self._storage.rglob("*.sqlite") if self._storage else ():
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")

    def _call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the client on the collection; messages of its errors repeat no secret."""
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


def delete_profiles(url: str, collection: str, ids: Collection[str]) -> int:
    """Delete profiles from a collection on a server; return how many were found."""
    index = Qdrant(root=None, url=url, collection=collection, exact=True, m=0, ef_construction=0, ef_search=0)
    index._connect(None)
    with closing(index):
        return index._delete(ids) if index._call("collection_exists") else 0


def _check_url(url: str) -> None:
    """Refuse a text that is no address, or an address with a secret, which the message does not repeat."""
    try:
        parts = urlsplit(url)
        has_secret = any(part for part in (parts.username, parts.password, parts.query))
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_secret = is_address = False
    if has_secret:
        raise UserError(f"index.url must not contain a user, password or key: put the key into the variable {KEY}.")
    if not is_address:
        raise UserError("index.url is not an address; use index.url=https://HOST:6333.")


def _embedded(folder: Path | None) -> QdrantClient:
    """Qdrant in this process, stored in a folder; None: in memory."""
    if folder is None:
        return QdrantClient(":memory:")
    if folder.exists() and hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise UserError(  # qdrant-client reads its storage with pickle
            f"{folder} belongs to another user and could run their code when opened. Choose your own folder with "
            "index.root=FOLDER."
        )
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


def _point_id(profile_id: str) -> str:
    return str(uuid.uuid5(NAMESPACE, profile_id))


def _digest(vector: np.ndarray, cells: Cells) -> str:
    """Digest of a vector's bytes and the cells that are not empty."""
    filled = sorted((name, cell) for name, cell in cells.items() if cell)
    return hashlib.blake2b(vector.tobytes() + json.dumps(filled).encode(), digest_size=16).hexdigest()


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
    key = f"{kind_of_value(condition.values[0])}.{escaped(condition.column)}"
    if condition.op in BOUNDS:
        bounds = models.Range.model_validate({BOUNDS[condition.op]: condition.value})
        return models.Filter(must=[models.FieldCondition(key=key, range=bounds)])
    equal: list[Any] = [_equal(key, value) for value in condition.values]
    if condition.op in ("!=", "not in"):
        empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        return models.Filter(must_not=[empty, *equal])
    return models.Filter(should=equal)


def _equal(key: str, value: Value) -> models.FieldCondition:
    if isinstance(value, float):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def escaped(column: str) -> str:
    """A column name with every character but ASCII letters and digits as _ and its UTF-8 bytes in hexadecimal."""
    return "".join(
        sign if sign.isascii() and sign.isalnum() else "".join(f"_{byte:02x}" for byte in sign.encode())
        for sign in column
    )
