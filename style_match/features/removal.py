"""Takes somebody's rows out of every feature store of a folder, while others may read and write there.

A shard that holds such rows is written anew without them, then the old one is removed: a kill in between leaves both,
and the next call finishes. A reader that has the old one open finds its rows in the new one.
"""

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from style_match.errors import UserError
from style_match.features.shard import PREFIX_BYTES, SUFFIX, Shard, ShardFault, pack
from style_match.files import replace_whole


@dataclass(frozen=True)
class Found:
    """What one store holds of somebody.

    Attributes:
        rows: theirs.
        damaged: files whose rows cannot be told, such as damaged shards; they are removed with the rows.
        unknown: rows of an older version that tell no owner and have no address that was asked for.
    """

    folder: Path
    rows: int
    damaged: int
    unknown: int


def find_rows(root: Path, owners: Collection[str], addresses: Collection[str]) -> list[Found]:
    """Every store below `root` that holds something of it, or rows of which that cannot be told.

    Args:
        owners: hex sha256 of photos, and `owner_of` profiles.
        addresses: hex addresses, for rows that tell no owner.

    Raises:
        UserError: a store cannot be read.
    """
    return [
        found
        for found in _each(root, owners, addresses, remove=False)
        if any((found.rows, found.damaged, found.unknown))
    ]


def remove_rows(root: Path, owners: Collection[str], addresses: Collection[str]) -> list[Found]:
    """Removes what `find_rows` finds, but for the unknown.

    Raises:
        UserError: a store cannot be read or written; what was removed stays removed.
    """
    return list(_each(root, owners, addresses, remove=True))


def _each(root: Path, owners: Collection[str], addresses: Collection[str], *, remove: bool) -> Iterator[Found]:
    wanted = _Wanted(owners, addresses)
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in folders:
        try:
            yield _of_store(folder, wanted, remove=remove)
        except OSError as error:
            where, why = error.filename or folder, error.strerror
            raise UserError(
                f"The features of {where} cannot be looked through or removed: {why}. Run again."
            ) from error


class _Wanted:
    def __init__(self, owners: Collection[str], addresses: Collection[str]):
        self.owners = {bytes.fromhex(owner) for owner in owners}
        self.addresses = {bytes.fromhex(address) for address in addresses}

    def rows_of(self, shard: Shard) -> tuple[np.ndarray, int]:
        """(n,) bool: theirs; and the number of others that tell no owner."""
        theirs = np.array([row.tobytes() in self.addresses for row in shard.rows], dtype=bool)
        owners = shard.owners()
        if owners is None:
            return theirs, int((~theirs).sum())
        theirs |= np.array([owner.tobytes() in self.owners for owner in owners], dtype=bool)
        return theirs, int((~owners.any(axis=1) & ~theirs).sum())

    def in_file(self, path: Path) -> bool:
        content = path.read_bytes()
        return any(each in content for each in (*self.owners, *self.addresses))


def _of_store(folder: Path, wanted: _Wanted, *, remove: bool) -> Found:
    rows = unknown = 0
    leftover = [path for path in folder.iterdir() if path.name.endswith(f"{SUFFIX}.corrupt")]
    leftover += [path for path in folder.iterdir() if path.suffix == ".tmp" and wanted.in_file(path)]
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            shard = Shard.open(path, _key(path))
            theirs, others = wanted.rows_of(shard)
        except FileNotFoundError:
            continue  # another process removed it since
        except (ShardFault, ValueError, KeyError, TypeError):
            leftover.append(path)
            continue
        rows, unknown = rows + int(theirs.sum()), unknown + others
        if remove and theirs.any():
            _rewrite(shard, _key(path), np.flatnonzero(~theirs))
    if remove:
        for path in leftover:
            path.unlink(missing_ok=True)
    return Found(folder, rows, len(leftover), unknown)


def _rewrite(shard: Shard, key: str, kept: np.ndarray) -> None:
    """The shard without the rows that are not `kept`, and without those whose checksum does not hold."""
    bad: set[int] = set()
    vectors = {}
    for pooling, (_, dim) in shard.places.items():
        vectors[pooling] = np.empty((len(kept), dim), np.float32)
        bad.update(shard.read(kept, pooling, vectors[pooling], np.arange(len(kept))))
    sound = np.array([row not in bad for row in kept.tolist()], dtype=bool)
    kept = kept[sound]
    if len(kept):
        owners = shard.owners()
        content_of = {pooling: np.ascontiguousarray(rows[sound]) for pooling, rows in vectors.items()}
        told = () if owners is None else [owners[row].tobytes() for row in kept]
        name, content = pack(key, [shard.rows[row].tobytes() for row in kept], content_of, told)
        path = shard.path.with_name(name)
        replace_whole(path, content)
        os.utime(path, ns=(shard.written_ns, shard.written_ns))  # of rows that stand twice the oldest are served
    shard.path.unlink(missing_ok=True)


def _key(path: Path) -> str:
    """The key of the store that a shard says it is of."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(PREFIX_BYTES), "little")
        if length > path.stat().st_size:
            raise ShardFault("is cut short or its first bytes are changed")
        return json.loads(file.read(length))["__metadata__"]["key"]
