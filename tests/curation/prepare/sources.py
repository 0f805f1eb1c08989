"""Small sources of photos, none of which is a copy of another."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("Chic", "Street")
HEADER = ("profile_id", "image", "fashion_style", "visual_quality")


def photo(seed: int, size: tuple[int, int] = (48, 64)) -> Image.Image:
    """Random patches of every size, the large ones strongest, as in photos; two seeds give no copies."""
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


def jsonl(objects: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)


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


def edit_table(source: Path, edit) -> None:
    """Write the table again with the rows (dicts) that `edit` returns."""
    rows = edit(read_rows(source))
    write_table(source / "profiles.csv", tuple(rows[0]), [list(row.values()) for row in rows])


def add_profiles(source: Path, *profiles: tuple[str, bytes, str]) -> None:
    """Add profiles (id, photo, class) to the table."""
    for profile_id, content, _ in profiles:
        write(source / f"photos/{profile_id}.jpg", content)
    new = [
        dict(zip(HEADER, (profile_id, f"photos/{profile_id}.jpg", label, "High"), strict=True))
        for profile_id, _, label in profiles
    ]
    edit_table(source, lambda rows: rows + new)


def left_out(out: Path) -> dict[str, str]:
    """Profile id -> reason of each photo left out."""
    return {row["profile_id"]: row["left_out"] for row in read_rows(out) if row["left_out"]}


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file but locks by its path."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
