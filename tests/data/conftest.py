"""Small dataset folders for the tests of this folder."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from style_match.data.dataset import read_folder
from style_match.utils.errors import UserError

MakeFolder = Callable[..., Path]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_photo(path: Path, color: tuple[int, int, int] = (200, 30, 40), size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def message(root: Path, task: str = "couple", **options: object) -> str:
    """The error of reading a folder."""
    with pytest.raises(UserError) as caught:
        read_folder(root, task=task, **options)  # type: ignore[arg-type]
    return str(caught.value)


def faults(root: Path, task: str = "couple", **options: object) -> list[str]:
    """The faults of a folder, without the title."""
    title, *lines = message(root, task, **options).split("\n  ")
    assert title.endswith(f"in the dataset folder {root}:")
    return lines


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes a folder; every image named gets a file of its own colour unless `photos` is false.

    `profiles` and `couples` are rows under `header` and `sides`; text is written as it stands.
    """

    def make(
        *,
        name: str = "data",
        profiles: str | Iterable[Sequence[str]] | None = None,
        header: Sequence[str] = ("profile_id", "image"),
        couples: str | Iterable[Sequence[str]] | None = None,
        sides: Sequence[str] = ("female_id", "male_id"),
        metadata: str | Iterable[dict] | None = None,
        photos: bool = True,
    ) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for stem, columns, rows in (("profiles", header, profiles), ("couples", sides, couples)):
            if isinstance(rows, str):
                (root / f"{stem}.csv").write_text(rows, encoding="utf-8", newline="")
            elif rows is not None:
                write_csv(root / f"{stem}.csv", columns, rows)
        if isinstance(metadata, str):
            (root / "metadata.jsonl").write_text(metadata, encoding="utf-8", newline="")
        elif metadata is not None:
            lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in metadata]
            (root / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
        if photos and (root / "profiles.csv").exists():
            with open(root / "profiles.csv", encoding="utf-8-sig", newline="") as file:
                for number, row in enumerate(csv.DictReader(file)):
                    image = (row.get("image") or "").strip()
                    if image and "\\" not in image and ".." not in image and not image.startswith("/"):
                        write_photo(root / image, (number % 256, number // 256, 90))
        return root

    return make


@pytest.fixture
def couple_folder(make_folder: MakeFolder) -> Path:
    """Ten couples f0 + m0 ... f9 + m9."""
    ids = [f"{side}{number}" for number in range(10) for side in "fm"]
    return make_folder(
        profiles=[(profile_id, f"images/{profile_id}.png") for profile_id in ids],
        couples=[(f"f{number}", f"m{number}") for number in range(10)],
    )
