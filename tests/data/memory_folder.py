"""Dataset folders in memory, for the tests of splits."""

from pathlib import Path

from hypothesis import strategies as st

from style_match.data.dataset import DatasetFolder
from style_match.data.folds import make_fold
from style_match.data.records import Couple, Photo
from style_match.data.splits import Split, make_split

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


def folds_of(
    folder: DatasetFolder, store: Path, folds: int = 5, seed: int = 0, fractions: tuple = FRACTIONS
) -> list[Split]:
    return [
        make_fold(folder, folds=folds, fold=fold, seed=seed, fractions=fractions, store=store) for fold in range(folds)
    ]


def places(splits: list[Split]) -> dict[str, tuple[str, ...]]:
    """Item -> its split in each fold; every item is in one test part."""
    assert len({tuple(split.name_of) for split in splits}) == 1, "the folds hold the same items"
    found = {item: tuple(split.name_of[item] for split in splits) for item in splits[0].name_of}
    assert all(words.count("test") == 1 for words in found.values())
    return found


def pairs_of_sizes(sizes: list[int]) -> list[tuple[str, str]]:
    """Couples in connected groups of these sizes."""
    return [(f"f{i}", f"m{i}-{j}") for i, size in enumerate(sizes) for j in range(size)]


@st.composite
def couple_graphs(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Couples, some of which share people; always enough single ones to split."""
    lefts, rights = draw(st.integers(1, 25)), draw(st.integers(1, 25))
    pairs = draw(st.sets(st.tuples(st.integers(0, lefts), st.integers(0, rights)), max_size=30))
    extra = draw(st.integers(10, 40))
    return [(f"f{a}", f"m{b}") for a, b in sorted(pairs)] + [(f"x{i}", f"y{i}") for i in range(extra)]


def brute_force_groups(items: dict[str, set[str]]) -> list[set[str]]:
    """Connected items, by merging each with all groups that share a key."""
    found: list[tuple[set[str], set[str]]] = []
    for item, keys in items.items():
        touched = [group for group in found if group[1] & keys]
        found = [group for group in found if group not in touched]
        found.append(({item}.union(*(group[0] for group in touched)), keys.union(*(group[1] for group in touched))))
    return [group for group, _ in found]
