"""Pooled backbone features on disk: computed once, found by the address of what they were computed from.

A store is one folder for each key (everything global that changes a vector) with immutable safetensors shards. The name
of a shard is the digest of its content, which is compared when the shard is first read. Nothing is locked: several
processes may write at once, and of a row in two shards the older one is served.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from style_match.utils.errors import UserError
from style_match.utils.files import replace_whole, write_whole

FORMAT = 2
SUFFIX = ".safetensors"
ADDRESS = np.dtype("S32")  # sha256
NO_OWNER = bytes(ADDRESS.itemsize)
REMEDY = "Free some space or set features.root=FOLDER, then run the command again."


def pack_addresses(addresses: Sequence[str]) -> np.ndarray:
    """Return (M,) S32 of M hex sha256."""
    return np.frombuffer(bytes.fromhex("".join(addresses)), dtype=ADDRESS)


def pack(
    key: str, addresses: Sequence[bytes], vectors: dict[str, np.ndarray], owners: Sequence[bytes]
) -> tuple[str, bytes]:
    """Return the file name and the content of a shard.

    Args:
        key: Key of the store.
        addresses: (n,) addresses of 32 bytes.
        vectors: Pooling -> (n, D) float32.
        owners: (n,) hashes of 32 bytes; `NO_OWNER` if unknown.
    """
    hashes = {
        name: np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, ADDRESS.itemsize)
        for name, values in (("rows", addresses), ("owners", owners))
    }
    content = save({**vectors, **hashes}, metadata={"key": key})
    return f"{_digest(content)}{SUFFIX}", content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


@dataclass
class _Shard:
    """The part of a shard that is read when it is found; `rows` and `owners` (n,) S32."""

    path: Path
    written_ns: int
    key: str
    rows: np.ndarray
    owners: np.ndarray
    verified: bool = False

    @classmethod
    def open(cls, path: Path) -> "_Shard":
        """Raises ValueError if the file is not a shard, OSError if it cannot be read."""
        written_ns = path.stat().st_mtime_ns
        path.open("rb").close()  # safetensors reports every error of the system as "no such file"
        try:
            with safe_open(path, "numpy") as file:
                rows = file.get_tensor("rows")
                owners = file.get_tensor("owners")
                rows, owners = (np.ascontiguousarray(each).view(ADDRESS).reshape(-1) for each in (rows, owners))
                return cls(path, written_ns, file.metadata()["key"], rows, owners)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"it is not a shard: {error}") from error

    def read(self, pooling: str) -> np.ndarray:
        """Return (n, D) float32."""
        with safe_open(self.path, "numpy") as file:
            return file.get_tensor(pooling)


class _Index:
    """Finds the shard and row of an address by binary search."""

    def __init__(self, shards: Collection[_Shard]):
        self.shards = sorted(shards, key=lambda shard: (shard.written_ns, shard.path.name))
        lengths = [len(shard.rows) for shard in self.shards]
        rows = np.concatenate([pack_addresses([]), *(shard.rows for shard in self.shards)])
        self._addresses, first = np.unique(rows, return_index=True)  # the first is in the oldest shard
        self._shard = np.repeat(np.arange(len(lengths)), lengths)[first]
        self._row = first - np.concatenate([[0], np.cumsum(lengths)])[self._shard]

    def find(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return shard number (-1 if unknown) and row in the shard, both (M,), of (M,) addresses."""
        if not len(self._addresses):
            return np.full(len(wanted), -1), np.zeros(len(wanted), int)
        at = np.searchsorted(self._addresses, wanted).clip(max=len(self._addresses) - 1)
        return np.where(self._addresses[at] == wanted, self._shard[at], -1), self._row[at]


class FeatureStore:
    """The rows of one key below `root`.

    Args:
        root: Folder of all stores; created with the first row.
        identity: Everything global that changes a vector, as JSON values (`feature_key.identity`).
        shard_rows: Rows of a shard; a killed process loses at most these.

    Raises:
        UserError: The folder cannot be read.
    """

    def __init__(self, root: Path, identity: dict, *, shard_rows: int):
        self.shard_rows = shard_rows
        self.identity: dict = json.loads(json.dumps(identity))
        canonical = json.dumps({"format": FORMAT, "identity": self.identity}, sort_keys=True)
        self.key = hashlib.sha256(canonical.encode()).hexdigest()
        self.folder = Path(root).expanduser() / self.key[:16]
        self._shards: dict[str, _Shard] = {}
        self._index = _Index([])
        self._refresh()

    def missing(self, addresses: Sequence[str]) -> list[str]:
        """Return the distinct addresses (hex sha256) that no sound shard contains, in their order.

        A damaged shard is removed with a warning, so that its rows are missing and computed again.
        """
        shard_M, _ = self._locate(pack_addresses(addresses))
        return list(dict.fromkeys(addresses[i] for i in np.flatnonzero(shard_M < 0).tolist()))

    def load(self, addresses: Sequence[str], pooling: str) -> torch.Tensor:
        """Return (M, D) float32 features of one pooling.

        Raises:
            UserError: Some rows are in no sound shard, or the folder cannot be read.
        """
        if not addresses:
            return torch.empty(0, 0)
        shard_M, row_M = self._locate(pack_addresses(addresses))
        if (shard_M < 0).any():
            raise UserError(
                f"{(shard_M < 0).sum()} of {len(addresses)} rows are not in the feature store {self.folder} (first: "
                f"{addresses[int((shard_M < 0).argmax())]}). Run the command again to compute them."
            )
        order = np.argsort(shard_M, kind="stable")
        features = None
        for part in np.split(order, np.flatnonzero(np.diff(shard_M[order])) + 1):  # one part for each shard
            try:
                block = self._index.shards[shard_M[part[0]]].read(pooling)
            except FileNotFoundError:  # another process removed the shard just now
                return self.load(addresses, pooling)
            if features is None:
                features = np.empty((len(order), block.shape[1]), np.float32)
            features[part] = block[row_M[part]]
        return torch.from_numpy(features)

    def writer(self) -> "ShardWriter":
        """Return a context manager with `add(address, vectors, owner)`."""
        return ShardWriter(self)

    def _locate(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find (M,) addresses in the shards that are there now; every shard with one of them is verified."""
        while True:
            self._refresh()
            shard_M, row_M = self._index.find(wanted)
            shards = [self._index.shards[number] for number in np.unique(shard_M[shard_M >= 0])]
            if all([self._is_sound(shard) for shard in shards]):
                return shard_M, row_M

    def _is_sound(self, shard: _Shard) -> bool:
        if not shard.verified:
            try:
                shard.verified = _digest(shard.path.read_bytes()) == shard.path.stem
            except FileNotFoundError:
                return False  # removed by another process
            except OSError as error:
                raise self._unreadable(error) from error
            if not shard.verified:
                self._remove_damaged(shard.path, "its content does not match its digest")
        return shard.verified

    def _refresh(self) -> None:
        """Add the shards that other processes have written, drop those that were removed."""
        shards = {}
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise self._unreadable(error) from error
        for path in (self.folder / name for name in sorted(names) if name.endswith(SUFFIX)):
            try:
                shard = self._shards.get(path.name) or _Shard.open(path)
                if shard.key != self.key:
                    raise ValueError("it belongs to another store")
            except FileNotFoundError:
                continue  # removed by another process
            except OSError as error:
                raise self._unreadable(error) from error
            except ValueError as error:
                self._remove_damaged(path, str(error))
            else:
                shards[path.name] = shard
        if shards.keys() != self._shards.keys():
            self._shards, self._index = shards, _Index(shards.values())

    def _unreadable(self, error: OSError) -> UserError:
        where = error.filename or self.folder
        return UserError(f"Could not read the feature store: {where}: {error.strerror}. Set features.root=FOLDER.")

    def _remove_damaged(self, path: Path, reason: str) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path} is damaged ({reason}). Delete it ({error.strerror}).") from error
        warnings.warn(f"{path} is damaged ({reason}); its rows are computed again.", stacklevel=2)


class ShardWriter:
    """Adds rows to a store, one shard for every `shard_rows` rows; the rest is written at the end of the block.

    Rows added before an exception or an interrupt are written too.

    Raises:
        UserError: On entering or when a shard is written: the folder cannot be written or the disk is full.
    """

    def __init__(self, store: FeatureStore):
        self._store = store
        self._rows: list[tuple[bytes, dict[str, np.ndarray], bytes]] = []

    def __enter__(self) -> "ShardWriter":
        store = self._store
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write the feature store {store.folder}: {error.strerror}. {REMEDY}") from error
        identity = {"key": store.key, "identity": store.identity}
        content = json.dumps(identity, indent=2, ensure_ascii=False) + "\n"
        write_whole(store.folder / "manifest.json", content, remedy=REMEDY)  # fails before anything is computed
        return self

    def add(self, address: str, vectors: dict[str, torch.Tensor], owner: str | None = None) -> None:
        """Add a row.

        Args:
            address: Hex sha256.
            vectors: Pooling -> (D,) on any device.
            owner: Hex hash that `remove_rows` finds the row by.
        """
        arrays = {name: vector.detach().to("cpu", torch.float32).numpy().copy() for name, vector in vectors.items()}
        self._rows.append((bytes.fromhex(address), arrays, bytes.fromhex(owner) if owner else NO_OWNER))
        if len(self._rows) >= self._store.shard_rows:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        addresses, vectors, owners = zip(*self._rows, strict=True)
        self._rows = []
        stacked = {pooling: np.stack([row[pooling] for row in vectors]) for pooling in vectors[0]}
        name, content = pack(self._store.key, addresses, stacked, owners)
        lost = f"The {len(addresses)} rows computed last are lost, earlier ones are kept. {REMEDY}"
        write_whole(self._store.folder / name, content, remedy=lost)

    def __exit__(self, *_: Any) -> None:
        self._flush()


def remove_rows(root: Path, owners: Collection[str], *, dry_run: bool = False) -> int:
    """Remove a person's rows from every store below `root`. Other processes may read and write meanwhile.

    Files that cannot be read as shards are removed with the rows, and so are unfinished ones that contain an owner.

    Args:
        root: Folder of all stores.
        owners: Hex sha256 of photos, and `feature_key.owner_of` profiles.
        dry_run: Only count.

    Returns:
        The number of rows.

    Raises:
        UserError: A store cannot be read or written; run again to remove the rest.
    """
    num_rows = 0
    for folder in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []:
        try:
            num_rows += _remove_from(folder, owners, dry_run=dry_run)
        except OSError as error:
            raise UserError(
                f"Could not search or remove the features in {error.filename or folder}: {error.strerror}. Run again."
            ) from error
    return num_rows


def _remove_from(folder: Path, owners: Collection[str], *, dry_run: bool) -> int:
    num_rows, wanted = 0, pack_addresses([*owners])
    unreadable = [path for path in folder.glob("*.tmp") if _mentions(path, owners)]
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            shard = _Shard.open(path)
        except FileNotFoundError:
            continue  # removed by another process
        except ValueError:
            unreadable.append(path)
            continue
        theirs = np.isin(shard.owners, wanted)
        num_rows += int(theirs.sum())
        if theirs.any() and not dry_run:
            _rewrite(shard, ~theirs)
    for path in unreadable if not dry_run else ():
        path.unlink(missing_ok=True)
    return num_rows


def _mentions(path: Path, owners: Collection[str]) -> bool:
    content = path.read_bytes()
    return any(bytes.fromhex(owner) in content for owner in owners)


def _rewrite(shard: _Shard, keep: np.ndarray) -> None:
    """Replace a shard by one with the rows (n,) `keep`; if it is damaged, remove it."""
    content = shard.path.read_bytes()
    if keep.any() and _digest(content) == shard.path.stem:
        kept = {name: tensor[keep] for name, tensor in load(content).items()}
        rows, owners = ([row.tobytes() for row in kept.pop(name)] for name in ("rows", "owners"))
        name, content = pack(shard.key, rows, kept, owners)
        path = shard.path.with_name(name)
        replace_whole(path, content)
        os.utime(path, ns=(shard.written_ns, shard.written_ns))  # of a row in two shards the older one is served
    shard.path.unlink(missing_ok=True)
