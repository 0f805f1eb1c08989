"""Dataset folders in memory, for the tests of splits."""

from pathlib import Path

from style_match.data.folder import Couple, DatasetFolder, Photo
from style_match.data.split import Split, make_split

FRACTIONS = (0.7, 0.15, 0.15)
NAMES = ("train", "val", "test")


def folder_of(
    pairs: list[tuple[str, str]] | None = None,
    labels: dict[str, str] | None = None,
    users: dict[str, str] | None = None,
    photo_sha256: dict[str, str] | None = None,
    root: Path = Path("/data"),
) -> DatasetFolder:
    """Couples, or labelled profiles, one photo each, called after its profile."""
    ids = list(labels) if labels else list(dict.fromkeys(each for pair in pairs or [] for each in pair))
    return DatasetFolder(
        root=root,
        task="style" if labels else "couple",
        profiles_file=root / "profiles.csv",
        couples_file=None if labels else root / "couples.csv",
        photos=tuple(Photo(each, f"{each}.png", root / f"{each}.png", row) for row, each in enumerate(ids, start=2)),
        profile_ids=tuple(ids),
        columns={each: {"user_id": (users or {}).get(each, "")} for each in ids},
        couples=tuple(Couple(left, right, None, row) for row, (left, right) in enumerate(pairs or [], start=2)),
        left_name="female",
        right_name="male",
        label_column="fashion_style" if labels else None,
        labels=labels or {},
        given_splits={},
        metadata={},
        photo_sha256=photo_sha256 or {},
    )


def split_of(folder: DatasetFolder, store: Path, seed: int = 0, fractions: tuple = FRACTIONS) -> Split:
    return make_split(folder, seed=seed, fractions=fractions, store=store)


def counts(split: Split) -> tuple[int, ...]:
    return tuple(len(split.items(name)) for name in NAMES)


def singles(number: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"f{i}", f"m{i}") for i in range(start, start + number)]
