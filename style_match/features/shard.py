"""One shard of the feature store: a safetensors file that is never changed once it bears its final name.

Tensors: one float32 (n, D) per pooling, `rows` uint8 (n, 32) the addresses, `checksums` uint8 (n, P, 8), one for each
row and pooling (poolings in the order of their names), so that reading one pooling reads no other. Then `owners` uint8
(n, 32), where the writer was told them: whom a row is of, so that `style_match.forget` finds it; nothing else reads it.

Every byte is covered, and what is trusted was verified first: the file name carries a digest of the header (length
prefix included), the header digests of `rows` and `checksums` and of `owners`, and the checksums are of each float row.
Opening a shard reads the header, `rows` and `checksums`; a float row is verified when it is read. Reads go through
`pread`: a shard that shrinks under a reader is an error, where a memory map would kill the process.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

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
