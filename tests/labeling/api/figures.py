"""Recognises drawn figures in pictures, and answers as a labeler would."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from style_match.labeling.offline import describe, looks_of
from style_match.synthetic.world import Look

SIDE = 32
# Mean absolute difference of two thumbnails (0..255): about 1 after another size and JPEG, 20 for another figure.
SAME_BELOW = 6.0


class Figures:
    """The figures of dataset folders drawn by `style_match.synthetic`, found by how they look."""

    def __init__(self, folders: list[Path]) -> None:
        self.looks = {name: look for folder in folders for name, look in looks_of(folder).items()}
        self.names = list(self.looks)
        photos = [(folder / name).read_bytes() for folder in folders for name in looks_of(folder)]
        self.thumbnails = np.stack([thumbnail(photo) for photo in photos])

    def find(self, jpeg: bytes) -> str | None:
        """Return the name of the figure that the picture shows."""
        differences = np.abs(self.thumbnails - thumbnail(jpeg)).mean(axis=(1, 2, 3))
        nearest = int(differences.argmin())
        return self.names[nearest] if differences[nearest] < SAME_BELOW else None


def thumbnail(jpeg: bytes) -> np.ndarray:
    """Return (SIDE, SIDE, 3) float32, nearly the same for every size and quality of one picture."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


def values_for(look: Look, json_schema: dict[str, Any], *, korean: bool) -> dict[str, Any]:
    """Return the values of a schema for a figure."""
    known = describe(look, "ko" if korean else "en")
    return {
        name: known.get(name, asked.get("enum", ["not drawn"])[0]) for name, asked in json_schema["properties"].items()
    }
