"""Pooled backbone features on disk: computed once, found by what they were computed from, verified when read.

A store is one folder for each identity (all that is global and changes a vector); in it, immutable shards. Nothing is
locked: a shard gets its name when it is whole, every name is new, and a row that two writers computed stands twice.
"""

import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from style_match.errors import UserError
from style_match.features.index import Index, pack_addresses
from style_match.features.shard import FORMAT, SUFFIX, Shard, ShardFault
from style_match.features.writer import ShardWriter

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
        identity: all that is global and changes a vector, as JSON values (`style_match.features.identity`).
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
