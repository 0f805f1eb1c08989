"""Recognises drawn figures in pictures, and answers as a labeler would."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from style_match.labeling.offline import describe
from style_match.synthetic.dataset import couple_profiles, style_profiles
from style_match.synthetic.world import Look, WorldParams

SIDE = 32
# Mean absolute difference of two thumbnails (0..255): about 1 after another size and JPEG, 20 for another figure.
SAME_BELOW = 6.0


class Figures:
    """The figures of drawn dataset folders, found by their look.

    Args:
        folders: Dataset folders of `style_match.synthetic`, with their `demo.json`.
    """

    def __init__(self, folders: list[Path]) -> None:
        self.names: list[str] = []
        self.looks: list[Look] = []
        thumbnails = []
        for folder in folders:
            for name, look in looks_of(folder).items():
                thumbnails.append(thumbnail((folder / name).read_bytes()))
                self.names.append(name)
                self.looks.append(look)
        self.thumbnails = np.stack(thumbnails)

    def find(self, jpeg: bytes) -> int | None:
        """Return the number of the figure that the picture shows, or None."""
        differences = np.abs(self.thumbnails - thumbnail(jpeg)).mean(axis=(1, 2, 3))
        nearest = int(differences.argmin())
        return nearest if differences[nearest] < SAME_BELOW else None


def looks_of(folder: Path) -> dict[str, Look]:
    """Image name -> look, computed from the numbers in `demo.json`."""
    spec = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    params = WorldParams(**spec["params"])
    if spec["kind"] == "couples":
        couples = couple_profiles(world_seed=spec["world_seed"], num_couples=spec["num_couples"], params=params)
        profiles = [profile for couple in couples for profile in couple]
    else:
        profiles = style_profiles(world_seed=spec["world_seed"], num_photos=spec["num_photos"], params=params)
    return {profile.image: profile.look for profile in profiles}


def thumbnail(jpeg: bytes) -> np.ndarray:
    """Return (SIDE, SIDE, 3) float32, nearly the same for every size and quality of one picture."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


def values_for(look: Look, json_schema: dict[str, Any], *, korean: bool) -> dict[str, Any]:
    """Return the values of a schema for a figure."""
    known = describe(look, "ko" if korean else "en")
    return {name: _value(name, known.get(name), asked) for name, asked in json_schema["properties"].items()}


def _value(name: str, known: str | None, asked: dict[str, Any]) -> Any:
    classes = asked.get("enum")
    if classes and known not in classes:
        print(f"synthetic: {name} of a figure is {known}, which is none of {classes}", file=sys.stderr)
        return classes[0]
    if asked.get("type") == "array":
        return [known] if known else []
    return known if known is not None else "not drawn"
