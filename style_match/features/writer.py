"""Adds rows to a feature store, a shard at a time."""

import errno
import json
import secrets
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch

from style_match.errors import UserError
from style_match.features.index import pack_addresses
from style_match.features.shard import ADDRESS_BYTES, RESERVED, pack
from style_match.files import replace_whole

if TYPE_CHECKING:
    from style_match.features.store import FeatureStore

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
