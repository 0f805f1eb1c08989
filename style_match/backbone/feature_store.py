"""Pooled backbone features on disk: computed once, found by what they were computed from, verified when read.

A store is one folder for each identity (all that is global and changes a vector); in it, immutable shards. Nothing is
locked: a shard gets its name when it is whole, every name is new, and a row that two writers computed stands twice.
"""

import errno
import hashlib
import itertools
import json
import os
import secrets
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from safetensors.numpy import save

from style_match.utils.errors import UserError
from style_match.utils.files import replace_whole

# One shard of the feature store: a safetensors file that is never changed once it bears its final name.
#
# Tensors: one float32 (n, D) per pooling, `rows` uint8 (n, 32) the addresses, `checksums` uint8 (n, P, 8), one for
# each row and pooling (poolings in the order of their names), so that reading one pooling reads no other. Then
# `owners` uint8 (n, 32), where the writer was told them: whom a row is of, so that `style_match.forget` finds it;
# nothing else reads it.
#
# Every byte is covered, and what is trusted was verified first: the file name carries a digest of the header (length
# prefix included), the header digests of `rows` and `checksums` and of `owners`, and the checksums are of each float
# row. Opening a shard reads the header, `rows` and `checksums`; a float row is verified when it is read. Reads go
# through `pread`: a shard that shrinks under a reader is an error, where a memory map would kill the process.


FORMAT = 1
SUFFIX = ".safetensors"
ADDRESS_BYTES = 32  # sha256
CHECKSUM_BYTES = 8
DIGEST_BYTES = 16
PREFIX_BYTES = 8  # safetensors: length of the JSON header, little endian
HEAD_BYTES = 4096  # read at first: more than the header of a shard with a few poolings, so that one call is enough
OWNERS = "owners"
RESERVED = ("rows", "checksums", OWNERS)


class ShardFault(Exception):
    """Why a file is not a shard of this store; the message completes "shard X ..."."""


def pack(
    key: str, addresses: Sequence[bytes], vectors: dict[str, np.ndarray], owners: Sequence[bytes] = ()
) -> tuple[str, bytes]:
    """A file name that no other writer uses, and the file's bytes.

    Args:
        key: the store's key, kept in the header: a shard copied from another store is not served.
        addresses: n addresses of 32 bytes.
        vectors: pooling -> (n, D) float32.
        owners: n hashes of 32 bytes, zeros where it is not known; or none.
    """
    poolings = sorted(vectors)
    rows = np.frombuffer(b"".join(addresses), dtype=np.uint8).reshape(-1, ADDRESS_BYTES)
    sums = [_checksum(a, vectors[p][i].data) for i, a in enumerate(addresses) for p in poolings]
    checksums = np.frombuffer(b"".join(sums), dtype=np.uint8).reshape(len(rows), len(poolings), CHECKSUM_BYTES)
    tensors = {**vectors, "rows": rows, "checksums": checksums}
    about = {"key": key, "index": _digest(rows, checksums)}
    if any(map(any, owners)):
        tensors[OWNERS] = np.frombuffer(b"".join(owners), dtype=np.uint8).reshape(len(rows), ADDRESS_BYTES)
        about[OWNERS] = _digest(tensors[OWNERS])
    content = save(tensors, metadata=about)
    header = content[: PREFIX_BYTES + int.from_bytes(content[:PREFIX_BYTES], "little")]
    return f"{secrets.token_hex(6)}-{_digest(header)}{SUFFIX}", content


@dataclass(frozen=True)
class Shard:
    """What a verified shard says of itself; `places` is pooling -> (first byte in the file, D)."""

    path: Path
    written_ns: int
    places: dict[str, tuple[int, int]]
    rows: np.ndarray  # (n, 32)
    checksums: np.ndarray  # (n, P, 8)
    owners_at: tuple[int, str] | None  # first byte in the file, digest

    @classmethod
    def open(cls, path: Path, key: str) -> "Shard":
        """Read and verify all but the float rows.

        Raises:
            ShardFault: not a shard, or not of this store.
            OSError: cannot be read.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            size = status.st_size
            start = os.pread(descriptor, HEAD_BYTES, 0)
            length = int.from_bytes(start[:PREFIX_BYTES], "little")
            if not 0 < length <= size - PREFIX_BYTES:
                raise ShardFault("is cut short or its first bytes are changed")
            end = PREFIX_BYTES + length
            head = start[:end] if end <= HEAD_BYTES else os.pread(descriptor, end, 0)
            if _digest(head) != path.name.removesuffix(SUFFIX).rpartition("-")[2]:
                raise ShardFault("has a changed header (its digest is not the one in the file name)")
            header = json.loads(head[PREFIX_BYTES:])
            metadata = header.pop("__metadata__")
            if metadata["key"] != key:
                raise ShardFault("belongs to another store")
            if size != len(head) + max(tensor["data_offsets"][1] for tensor in header.values()):
                raise ShardFault(f"is {size} bytes long, which its header contradicts")
            owners = header.pop(OWNERS, None)
            rows, checksums = (_read(descriptor, header.pop(name), len(head)) for name in RESERVED[:2])
        finally:
            os.close(descriptor)
        if _digest(rows, checksums) != metadata["index"]:
            raise ShardFault("has changed addresses or checksums")
        places = {
            name: (len(head) + tensor["data_offsets"][0], tensor["shape"][1]) for name, tensor in sorted(header.items())
        }
        owners_at = None if owners is None else (len(head) + owners["data_offsets"][0], metadata[OWNERS])
        return cls(path, status.st_mtime_ns, places, rows, checksums, owners_at)

    def owners(self) -> np.ndarray | None:
        """(n, 32) uint8: whom each row is of, zeros where it is not known; None where an older version wrote the shard.

        Raises:
            ShardFault: they are changed.
            OSError: cannot be read.
        """
        if self.owners_at is None:
            return None
        first_byte, digest = self.owners_at
        with open(self.path, "rb") as file:
            found = os.pread(file.fileno(), self.rows.nbytes, first_byte)
        if _digest(found) != digest:
            raise ShardFault("has changed owners")
        return np.frombuffer(found, dtype=np.uint8).reshape(self.rows.shape)

    def read(self, wanted: np.ndarray, pooling: str, out: np.ndarray, to: np.ndarray) -> list[int]:
        """Copy rows into places of `out` (k, D) float32.

        Args:
            wanted: (m,) row numbers in this shard.
            to: (m,) the row of `out` that each is copied to.

        Returns:
            the row numbers that do not match their checksum.

        Raises:
            OSError: cannot be read; FileNotFoundError where the shard is gone.
        """
        first_byte, _ = self.places[pooling]
        column = list(self.places).index(pooling)
        bad = []
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            for row, place in zip(wanted.tolist(), to.tolist(), strict=True):
                vector = out[place].data
                num_read = os.preadv(descriptor, [vector], first_byte + row * vector.nbytes)
                checksum = _checksum(self.rows[row].tobytes(), vector)
                if num_read != vector.nbytes or checksum != self.checksums[row, column].tobytes():
                    bad.append(row)
        finally:
            os.close(descriptor)
        return bad


def _read(descriptor: int, tensor: dict, data_start: int) -> np.ndarray:
    first, end = tensor["data_offsets"]
    content = os.pread(descriptor, end - first, data_start + first)
    if len(content) != end - first:
        raise ShardFault("was cut short while it was read")
    return np.frombuffer(content, dtype=np.uint8).reshape(tensor["shape"])


def _digest(*parts: bytes | np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.data)
    return digest.hexdigest()


def _checksum(address: bytes, vector: memoryview) -> bytes:
    digest = hashlib.blake2b(address, digest_size=CHECKSUM_BYTES)
    digest.update(vector)
    return digest.digest()


# Where each address of the feature store stands, for millions of rows in a few tens of bytes each.


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


# Adds rows to a feature store, a shard at a time.


TEMPORARY_SUFFIX = ".tmp"
ABANDONED_S = 3600.0  # writing a shard takes less than a second: a temporary file this old was left by a killed process


_REMEDY = "Free some space or name another folder with features.root=FOLDER."


class ShardWriter:
    """Context manager that adds rows to a store: a shard when `shard_rows` are complete, the rest at the end.

    Rows complete so far are kept when the block is left by an exception or an interrupt. Whether the store can be
    written is found out on entering, before anything is computed.

    Raises:
        UserError: on entering or writing: the folder cannot be made or written, or the disk is full. Nothing that was
            written before is lost, and no half shard stays.
    """

    def __init__(self, store: "FeatureStore"):
        self._store = store
        self._rows: list[tuple[bytes, dict[str, np.ndarray], bytes]] = []
        self._failed = False

    def __enter__(self) -> "ShardWriter":
        folder = self._store.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(folder)
            probe = _temporary(folder)
            probe.touch()
            probe.unlink()
            if not self._store.manifest_path.exists():
                text = json.dumps(self._store.manifest, indent=2, ensure_ascii=False) + "\n"
                replace_whole(self._store.manifest_path, text.encode())
        except OSError as error:
            raise UserError(f"The feature store {folder} cannot be written: {_reason(error)}. {_REMEDY}") from error
        return self

    def add(self, address: str, vectors: dict[str, torch.Tensor], owner: str | None = None) -> None:
        """Add one row: hex address, pooling -> (D,) tensor, on any device, and hex hash that tells whom it is of.

        Raises:
            ValueError: other poolings or dimensions than the row before.
            UserError: the shard that is now complete cannot be written.
        """
        arrays = {name: vector.detach().to("cpu", torch.float32).numpy().copy() for name, vector in vectors.items()}
        if not arrays or set(arrays) & set(RESERVED) or any(array.ndim != 1 for array in arrays.values()):
            raise ValueError(f"a row is one (D,) vector for each pooling, none of them named {' or '.join(RESERVED)}")
        if self._rows and _dims(arrays) != _dims(self._rows[0][1]):
            raise ValueError(f"rows of a store are alike: {_dims(arrays)} after {_dims(self._rows[0][1])}")
        whose = bytes(ADDRESS_BYTES) if owner is None else pack_addresses([owner]).tobytes()
        self._rows.append((pack_addresses([address]).tobytes(), arrays, whose))
        if len(self._rows) >= self._store.shard_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows added since the last shard.

        Raises:
            UserError: it cannot be written; the rows are lost, those of earlier shards are not.
        """
        if not self._rows:
            return
        addresses, rows, owners = zip(*self._rows, strict=True)
        vectors = {pooling: np.stack([row[pooling] for row in rows]) for pooling in rows[0]}
        name, content = pack(self._store.key, addresses, vectors, owners)
        try:
            replace_whole(self._store.folder / name, content)
        except OSError as error:
            self._failed = True
            raise UserError(
                f"{self._store.folder / name} cannot be written: {_reason(error)}. The {len(self._rows)} rows computed "
                f"last are lost, all earlier ones are kept. {_REMEDY} Then run the command again."
            ) from error
        self._rows = []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._failed:
            return
        try:
            self.flush()
        except UserError as unwritten:
            if error is None:
                raise
            warnings.warn(str(unwritten), stacklevel=2)  # what ended the block stays the error that is told


def _temporary(folder: Path) -> Path:
    return folder / f"{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        try:
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
        except FileNotFoundError:
            continue  # its writer has just finished it, or another process removed it


def _dims(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: len(array) for name, array in sorted(arrays.items())}


def _reason(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{error.strerror} (the disk or quota is full)" if full else f"{error.strerror or error}"


# Takes somebody's rows out of every feature store of a folder, while others may read and write there.
#
# A shard that holds such rows is written anew without them, then the old one is removed: a kill in between leaves
# both, and the next call finishes. A reader that has the old one open finds its rows in the new one.


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


CORRUPT_SUFFIX = ".corrupt"


class MissingRows(UserError):
    """Rows were asked for that the store does not hold."""


class CorruptRows(UserError):
    """Rows were asked for whose shard is damaged; it is moved aside, so they are missing from now on.

    Attributes:
        shards: the damaged shards' former paths.
    """

    def __init__(self, message: str, shards: tuple[Path, ...]):
        super().__init__(message)
        self.shards = shards


class FeatureStore:
    """The rows of one identity under `root`.

    Args:
        root: folder of all identities; made when first written to.
        identity: all that is global and changes a vector, as JSON values (`style_match.backbone.feature_key`).
        shard_rows: rows a shard is written at; what a killed run loses at most.

    Raises:
        UserError: the manifest tells another identity than the folder's name, or the folder cannot be read.
    """

    def __init__(self, root: Path, identity: dict, *, shard_rows: int):
        self.shard_rows = shard_rows
        self.identity: dict = json.loads(json.dumps(identity))  # as a manifest gives it back: tuples are lists
        canonical = json.dumps({"format": FORMAT, "identity": self.identity}, sort_keys=True)
        self.key = hashlib.sha256(canonical.encode()).hexdigest()
        self.folder = Path(root).expanduser() / self.key[:16]
        self._shards: dict[str, Shard] = {}
        self._refused: set[str] = set()
        self._built: Index | None = None
        self._check_manifest()
        self.refresh()

    @property
    def manifest(self) -> dict:
        """What `manifest.json` says: the key and, readable, the identity."""
        return {"key": self.key, "identity": self.identity}

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def num_rows(self) -> int:
        """Rows at hand, those that two writers computed counted twice."""
        return sum(len(shard.rows) for shard in self._shards.values())

    def missing(self, addresses: Sequence[str]) -> list[str]:
        """The addresses (hex sha256) no shard holds, each once, in their order. Rows of other writers are seen."""
        self.refresh()
        places = self._index.find(pack_addresses(addresses))
        return list(dict.fromkeys(addresses[i] for i in np.flatnonzero(places < 0).tolist()))

    def load(self, addresses: Sequence[str], pooling: str) -> torch.Tensor:
        """(len(addresses), D) float32, each row verified by its checksum.

        Raises:
            MissingRows: some rows are in no shard, also not in those that other writers finished meanwhile.
            CorruptRows: some rows' shards are damaged; all such shards are moved aside.
            UserError: a pooling the store does not hold, or a shard that cannot be read.
        """
        wanted = pack_addresses(addresses)
        places = self._index.find(wanted)
        if (places < 0).any():
            self.refresh()
            places = self._index.find(wanted)
        absent = [addresses[i] for i in np.flatnonzero(places < 0).tolist()]
        if absent:
            raise MissingRows(
                f"{len(absent)} of {len(addresses)} rows are not in the feature store {self.folder} "
                f"(first: {absent[0]}): run the command again to compute them."
            )
        try:
            return torch.from_numpy(self._read(places, pooling))
        except FileNotFoundError as error:  # removed or moved aside by another process since it was listed
            self._forget(Path(error.filename).name)
            self.refresh()  # most often it is one of many
            return self.load(addresses, pooling)
        except OSError as error:
            where = error.filename or self.folder
            raise UserError(f"Cannot read the feature store: {where}: {error.strerror}.") from error

    def writer(self) -> ShardWriter:
        """A context manager with `add(address, vectors)`; see `ShardWriter`."""
        return ShardWriter(self)

    def refresh(self) -> None:
        """See the shards that came or went since the last look.

        Damaged ones are moved aside with a warning that names them.

        Raises:
            UserError: the folder or a shard cannot be read.
        """
        try:
            names = {name for name in os.listdir(self.folder) if name.endswith(SUFFIX)} - self._refused
        except FileNotFoundError:
            names = set()
        except OSError as error:
            raise UserError(
                f"Cannot read the feature store {self.folder}: {error.strerror}. Name another folder with "
                "features.root=FOLDER."
            ) from error
        gone, new = self._shards.keys() - names, names - self._shards.keys()
        opened, faults = {}, []
        for name in sorted(new):
            try:
                opened[name] = Shard.open(self.folder / name, self.key)
            except FileNotFoundError:
                continue
            except ShardFault as fault:
                faults.append(f"{self.folder / name} {fault} ({self._set_aside(name)})")
            except OSError as error:
                raise UserError(f"Cannot read the feature store: {self.folder / name}: {error.strerror}.") from error
        if gone or opened:
            self._shards |= opened
            self._forget(*gone)
        if faults:
            shards = "\n  ".join(faults)
            warnings.warn(f"Damaged shards are left out, their rows count as missing:\n  {shards}", stacklevel=2)

    @property
    def _index(self) -> Index:
        """Of the shards at hand; sorted when it is asked for, which a writer never does."""
        if self._built is None:
            self._built = Index(self._shards.values())
        return self._built

    def _read(self, places: np.ndarray, pooling: str) -> np.ndarray:
        shards = self._index.shards
        for shard in shards:
            if pooling not in shard.places:
                held = ", ".join(shard.places)
                raise UserError(f"The feature store {self.folder} holds the poolings {held}, not {pooling}.")
        out = np.empty((len(places), shards[0].places[pooling][1] if shards else 0), np.float32)
        order = np.argsort(places)  # shard after shard, and in each as its rows stand
        shard_of, row_of = self._index.locate(places[order])
        bounds = np.flatnonzero(np.diff(shard_of, prepend=-1, append=-1)).tolist()
        bad: dict[str, list[int]] = {}
        for start, end in itertools.pairwise(bounds):
            shard = shards[shard_of[start]]
            if rows := shard.read(row_of[start:end], pooling, out, order[start:end]):
                bad[shard.path.name] = rows
        if bad:
            self._raise_corrupt(bad, pooling)
        return out

    def _raise_corrupt(self, bad: dict[str, list[int]], pooling: str) -> None:
        lines = [
            f"{self.folder / name}: {pooling} of row {', '.join(map(str, sorted(set(rows))[:5]))}"
            f"{' and others' if len(set(rows)) > 5 else ''} ({self._set_aside(name)})"
            for name, rows in bad.items()
        ]
        num_rows = sum(len(self._shards[name].rows) for name in bad)
        self._forget(*bad)
        raise CorruptRows(
            "Features on disk do not match their checksums:\n  " + "\n  ".join(lines) + f"\nRun the command again: the "
            f"{num_rows} rows of {'this shard' if len(bad) == 1 else 'these shards'} are computed anew. If it happens "
            "twice, suspect the disk.",
            tuple(self.folder / name for name in bad),
        )

    def _set_aside(self, name: str) -> str:
        """Rename a damaged shard, so that no process opens it again; say what became of it."""
        self._refused.add(name)
        aside = self.folder / (name + CORRUPT_SUFFIX)
        try:
            (self.folder / name).replace(aside)
        except FileNotFoundError:
            return "moved aside by another process"
        except OSError as error:
            return f"not served; could not be moved aside: {error.strerror}"
        return f"moved aside as {aside.name}"

    def _forget(self, *names: str) -> None:
        for name in names:
            self._shards.pop(name, None)
        self._built = None

    def _check_manifest(self) -> None:
        try:
            found = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return  # not written to yet, or a path that the writer will complain of
        except OSError as error:
            raise UserError(f"Cannot read {self.manifest_path}: {error.strerror}.") from error
        except ValueError as error:
            found = f"not JSON: {error}"
        if found != self.manifest:
            raise UserError(
                f"{self.manifest_path} is not the manifest of this feature folder "
                f"({_difference(found, self.manifest)}). It was changed after it was written, so the features beside "
                f"it are not trusted: move the folder {self.folder} away or delete it; they are computed again."
            )


def _difference(found: object, expected: object, place: str = "") -> str:
    """The first component in which two manifests differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                return _difference(found.get(name), expected.get(name), f"{place}.{name}" if place else name)
    return f"{place or 'all of it'}: {str(found)[:80]!r} instead of {str(expected)[:80]!r}"
