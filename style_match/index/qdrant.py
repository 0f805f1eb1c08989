"""index=qdrant: a collection of Qdrant, embedded in a folder or on a server (`index.url`).

The collection is what counts: each point holds its profile's id, digest and matcher, so that it is brought up to date
wherever a writer was stopped. Embedded, it is meant for some ten thousand profiles: it scans in Python.
"""

import hashlib
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from style_match.errors import UserError
from style_match.index import folder as folders
from style_match.index import qdrant_server as servers
from style_match.index.base import Index, NoIndex, checked_profiles, columns_of, digest, each_cells
from style_match.index.folder import FORMAT, STORAGE
from style_match.index.ranking import Candidates
from style_match.progress import say
from style_match.where import Condition, check, without_not

if TYPE_CHECKING:
    from style_match.index.qdrant_points import Points

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
            servers.check_url(url)
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
            servers.commit_fast(self._storage)

    def upsert(self, ids, vectors, payload) -> None:
        from qdrant_client.models import PointStruct

        from style_match.index.qdrant_filter import payload_of

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
            servers.scrub(self._storage)
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
        from style_match.index.qdrant_filter import translated

        asked = columns_of(where)
        check(where, {name: self._some_cells(name) if name in asked else [] for name in self.columns})
        return translated(without_not(where))

    def _some_cells(self, column: str) -> list[str]:
        """Some cells that are of the same kind as all of the column, for `where.check`."""
        from style_match.index.qdrant_filter import escaped, lacking

        if column not in self._cells:
            # one that is no number and one that is no flag, where there are such
            found = [self.points.first(["text"], lacking(column, kind)) for kind in ("number", "flag")]
            self._cells[column] = [payload["text"][escaped(column)] for payload in found if payload]
        return self._cells[column]

    def _learn(self, columns: Mapping[str, None]) -> None:
        """Remember columns; a server gets an index for each, which makes filters fast."""
        from style_match.index.qdrant_filter import SCHEMAS, escaped

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
        folders.save(folder, manifest, {})

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
        from style_match.index.qdrant_filter import unescaped

        try:
            manifest = folders.read_manifest(folder)
            folders.check_manifest(folder, manifest, kind=self.kind, matcher=matcher)
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
            raise folders.other_matcher(where, own["matcher"], self.matcher)

    def _connect(self, folder: Path | None) -> None:
        from style_match.index.qdrant_points import Points

        self.close()
        if self.collection is None:
            # the folder above is named after the matcher and the dataset folder
            self.collection = f"style_match-{folder.parent.name if folder is not None else self.matcher[:16]}"
        self._storage = folder / STORAGE if folder is not None and self.url is None else None
        client = servers.connected(self.url, self.timeout_s) if self.url else servers.embedded(self._storage)
        self._opened = Points(client, self.collection, url=self.url, batch=self.batch)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.client.close()
            self._opened = None


def _point(profile_id: str) -> str:
    return str(uuid.uuid5(NAMESPACE, profile_id))
