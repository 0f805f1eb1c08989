"""Which drawn figure a picture shows, and what a labeler would say about it."""

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
# Mean absolute difference of two thumbnails (0..255). JPEG again and a new size: about 1; another figure: 20.
SAME_BELOW = 6.0


class Figures:
    """The figures of drawn dataset folders, found again by how they look.

    Args:
        folders: as `style_match.synthetic` drew them, with their `demo.json`; `images` may have been
            removed from tables.
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
        """The number of the figure that the picture shows; None for a picture of something else."""
        differences = np.abs(self.thumbnails - thumbnail(jpeg)).mean(axis=(1, 2, 3))
        nearest = int(differences.argmin())
        return nearest if differences[nearest] < SAME_BELOW else None


def looks_of(folder: Path) -> dict[str, Look]:
    """Image name -> what was drawn; drawn anew from the numbers in `demo.json`, so that no table is needed."""
    spec = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    params = WorldParams(**spec["params"])
    if spec["kind"] == "couples":
        couples = couple_profiles(world_seed=spec["world_seed"], num_couples=spec["num_couples"], params=params)
        profiles = [profile for couple in couples for profile in couple]
    else:
        profiles = style_profiles(world_seed=spec["world_seed"], num_photos=spec["num_photos"], params=params)
    return {profile.image: profile.look for profile in profiles}


def thumbnail(jpeg: bytes) -> np.ndarray:
    """(SIDE, SIDE, 3) float32; the same for every size and quality of one picture, nearly."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


def values_for(look: Look, json_schema: dict[str, Any], *, korean: bool) -> dict[str, Any]:
    """What is said about a figure under a schema: what was drawn, where the schema asks for it."""
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
