"""What is written without a feature store: one file of one pooling, and a text file of the rows' addresses."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

NUMPY, TORCH, IDS = "mean.npy", "mean.pt", "ids.txt"


class PlainRows:
    """Rows found by a dict and read from a memory map, unverified.

    Args:
        name: NUMPY for a memory map of numpy, TORCH for one of `torch.load`.
    """

    def __init__(self, folder: Path, name: str = NUMPY):
        path = folder / name
        self.matrix = np.load(path, mmap_mode="r") if name == NUMPY else torch.load(path, mmap=True, weights_only=True)
        self.place = {address: row for row, address in enumerate((folder / IDS).read_text().split())}

    def load(self, addresses: Sequence[str]) -> torch.Tensor:
        """(len(addresses), D) float32."""
        return torch.as_tensor(self.matrix[[self.place[address] for address in addresses]])


def write_plain(folder: Path, addresses: Sequence[str], dim: int, rows: Sequence[int], vectors: torch.Tensor) -> None:
    """Both files at their full size, holding the `rows` that are read; in place of all others are holes.

    What stands in the page cache costs the same to read, and the disk need not hold the vectors three times.
    """
    (folder / IDS).write_text("\n".join(addresses))
    matrix = np.lib.format.open_memmap(folder / NUMPY, "w+", np.float32, (len(addresses), dim))
    matrix[rows] = vectors.numpy()
    with torch.serialization.skip_data():
        torch.save(torch.empty(len(addresses), dim), folder / TORCH)
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        torch.load(folder / TORCH, mmap=True, weights_only=True)[list(rows)] = vectors
