"""Where each address of the feature store stands, for millions of rows in a few tens of bytes each."""

from collections.abc import Iterable, Sequence

import numpy as np

from style_match.features.shard import ADDRESS_BYTES, Shard


def pack_addresses(addresses: Sequence[str]) -> np.ndarray:
    """(m, 32) uint8 of m hex sha256.

    Raises:
        ValueError: not 64 hex digits.
    """
    if any(len(address) != 2 * ADDRESS_BYTES for address in addresses):
        raise ValueError("a row address is a sha256 of 64 hex digits")
    return np.frombuffer(bytes.fromhex("".join(addresses)), dtype=np.uint8).reshape(-1, ADDRESS_BYTES)


class Index:
    """Finds rows by binary search over the first eight bytes of the sorted addresses.

    Of an address that stands in several shards (two writers met) the oldest is found, so that the same store gives the
    same vectors, also after more was written.
    """

    def __init__(self, shards: Iterable[Shard]):
        self.shards = sorted(shards, key=lambda shard: (shard.written_ns, shard.path.name))
        self._rows = np.concatenate([np.empty((0, ADDRESS_BYTES), np.uint8), *(shard.rows for shard in self.shards)])
        self._starts = np.cumsum([0] + [len(shard.rows) for shard in self.shards])
        heads = _head(self._rows)
        self._order = _argsort(heads)
        self._heads = heads[self._order]

    def find(self, wanted: np.ndarray) -> np.ndarray:
        """(m,) int64 places of (m, 32) addresses; -1 where unknown."""
        places = np.full(len(wanted), -1, dtype=np.int64)
        heads = _head(wanted)
        at = np.searchsorted(self._heads, heads)
        open_ = np.arange(len(wanted))
        while True:  # once for each address that shares its first eight bytes with another: nearly always once
            open_ = open_[at[open_] < len(self._heads)]
            open_ = open_[self._heads[at[open_]] == heads[open_]]
            if not len(open_):
                return places
            candidates = self._order[at[open_]]
            same = (self._rows[candidates] == wanted[open_]).all(axis=1)
            places[open_[same]] = candidates[same]
            open_ = open_[~same]
            at[open_] += 1

    def locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard number and row in that shard, both (m,), of (m,) places."""
        shard = np.searchsorted(self._starts, places, side="right") - 1
        return shard, places - self._starts[shard]


def _argsort(heads: np.ndarray) -> np.ndarray:
    """A stable argsort, in half the time of numpy's where few heads are alike: only those are sorted twice."""
    order = np.argsort(heads)
    in_order = heads[order]
    first = np.flatnonzero(in_order[1:] == in_order[:-1])
    alike = np.union1d(first, first + 1)
    order[alike] = order[alike][np.lexsort((order[alike], in_order[alike]))]
    return order


def _head(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows[:, :8]).view("<u8").reshape(-1)
