"""Small sources of photos that differ enough to be nobody's copies."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("Chic", "Street")
HEADER = ("profile_id", "image", "fashion_style", "visual_quality")


def photo(seed: int, size: tuple[int, int] = (48, 64)) -> Image.Image:
    """Random patches of every size, large ones strongest, as photos have them; two seeds are nobody's copies."""
    rng = np.random.default_rng(seed)
    total = np.full((size[1], size[0], 3), 128.0)
    for cells, strength in ((3, 60), (6, 40), (12, 25), (24, 15)):
        patches = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        total += (np.asarray(patches.resize(size, Image.Resampling.BICUBIC), float) - 128) * strength / 64
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 92) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_source(root: Path) -> Path:
    """Twelve labelled profiles, six of each class, one photo each."""
    rows = []
    for number in range(12):
        write(root / f"photos/p{number}.jpg", jpeg(photo(number)))
        rows.append((f"p{number}", f"photos/p{number}.jpg", CLASSES[number % 2], "High"))
    write_table(root / "profiles.csv", HEADER, rows)
    return root


def read_rows(out: Path, name: str = "profiles.csv") -> list[dict[str, str]]:
    with open(out / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file but locks, by its path."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
