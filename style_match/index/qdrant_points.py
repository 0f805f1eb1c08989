"""The points of one collection of Qdrant; every error of it as one of the user."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qdrant_client import models

from style_match.index.qdrant_server import answered

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


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
