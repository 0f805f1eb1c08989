"""A new split: disjoint, sized as asked, people together, classes spread, whatever the order of the rows."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.utils.errors import UserError

from .memory_folder import (
    FRACTIONS,
    NAMES,
    brute_force_groups,
    counts,
    couple_graphs,
    folder_of,
    folds_of,
    pairs_of_sizes,
    places,
    singles,
    split_of,
)


def exact_counts(number: int) -> tuple[int, int, int]:
    train, val = int(0.7 * number + 1e-9), int(0.15 * number + 1e-9)
    return train, val, number - train - val


@pytest.mark.parametrize(
    ("number", "expected"), [(495, (346, 74, 75)), (1000, (700, 150, 150)), (10, (7, 1, 2)), (7, (4, 1, 2))]
)
def test_exact_counts(tmp_path: Path, number: int, expected: tuple[int, ...]) -> None:
    split = split_of(folder_of(singles(number)), tmp_path)
    assert counts(split) == expected and split.notes == ()
    assert list(split.name_of) == [f"f{i}\tm{i}" for i in range(number)]


def test_fractions(tmp_path: Path) -> None:
    assert counts(split_of(folder_of(singles(30)), tmp_path, fractions=(1 / 3, 1 / 3, 1 / 3))) == (10, 10, 10)
    assert counts(split_of(folder_of(singles(100)), tmp_path, fractions=(0.29, 0.57, 0.14))) == (29, 57, 14)
    for fractions in [(0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5), (0.7, 0.1, 0.1)]:
        with pytest.raises(UserError, match=r"split\.fractions=\[.*\] must be three numbers from 0 that add up to 1"):
            split_of(folder_of(singles(100)), tmp_path, fractions=fractions)


def test_the_draw_is_pinned(tmp_path: Path) -> None:
    """A later version that draws differently would silently change everyone's test set."""
    split = split_of(folder_of(singles(20)), tmp_path)
    assert split.items("test") == ("f10\tm10", "f15\tm15", "f18\tm18")
    assert split.items("val") == ("f9\tm9", "f12\tm12", "f19\tm19")


def test_seeds_differ(tmp_path: Path) -> None:
    one, other = (split_of(folder_of(singles(100)), tmp_path, seed).name_of for seed in (0, 1))
    assert 40 < sum(one[item] == other[item] for item in one) < 70, "chance is 53.5"


@given(pairs=couple_graphs(), seed=st.integers(0, 3), shuffle=st.randoms(use_true_random=False))
def test_couples(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], seed: int, shuffle: random.Random
) -> None:
    try:
        split = split_of(folder_of(pairs), tmp_path_factory.mktemp("splits"), seed)
    except UserError as error:
        assert "connected people" in str(error)
        return
    items = {f"{left}\t{right}": {left, right} for left, right in pairs}
    assert set(split.name_of) == set(items) and split.excluded == ()
    groups = brute_force_groups(items)
    assert all(len({split.name_of[item] for item in group}) == 1 for group in groups)
    exact = exact_counts(len(items))
    assert bool(split.notes) == (counts(split) != exact)
    if max(map(len, groups)) <= exact[1]:  # there are at least ten single couples, which fill the splits up
        assert counts(split) == exact
    again = split_of(folder_of(shuffle.sample(pairs, len(pairs))), tmp_path_factory.mktemp("splits"), seed)
    assert again.name_of == split.name_of, "the order of the rows does not matter"


@given(sizes=st.lists(st.integers(1, 9), min_size=4, max_size=30), seed=st.integers(0, 5))
def test_counts_are_off_by_less_than_a_group(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int
) -> None:
    exact = exact_counts(sum(sizes))
    try:
        split = split_of(folder_of(pairs_of_sizes(sizes)), tmp_path_factory.mktemp("splits"), seed)
    except UserError:
        assert len(sizes) < 8 or exact[1] < 2 or max(sizes) > exact[1]
        return
    if max(sizes) <= exact[1]:
        assert max(abs(have - count) for have, count in zip(counts(split), exact, strict=True)) < max(sizes)


@pytest.mark.parametrize("sizes", [[2, 2, 2, 2], [6, 2, 2, 1], [5, 1, 1, 1, 2]])
def test_no_split_stays_empty_for_few_groups(tmp_path: Path, sizes: list[int]) -> None:
    assert min(counts(split_of(folder_of(pairs_of_sizes(sizes)), tmp_path))) > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_of_one_size_in_another_order(tmp_path: Path, seed: int) -> None:
    """Each of 12 women has two couples, which are one group; either of the two may be the first row."""
    pairs = [(f"w{i}", f"v{2 * i + j}") for i in range(12) for j in range(2)] + singles(20)
    one, other = folder_of(pairs), folder_of(pairs[::-1])
    assert split_of(one, tmp_path / "one", seed).name_of == split_of(other, tmp_path / "other", seed).name_of
    assert places(folds_of(one, tmp_path / "one", seed=seed)) == places(folds_of(other, tmp_path / "other", seed=seed))


@given(per_class=st.lists(st.integers(3, 60), min_size=2, max_size=6), seed=st.integers(0, 5))
def test_styles_are_spread_by_class(tmp_path_factory: pytest.TempPathFactory, per_class: list[int], seed: int) -> None:
    labels = {f"p{number}-{i}": f"class{number}" for number, size in enumerate(per_class) for i in range(size)}
    exact = exact_counts(len(labels))
    if exact[1] == 0:
        return
    split = split_of(folder_of(labels=labels), tmp_path_factory.mktemp("splits"), seed)
    assert counts(split) == exact
    have = Counter((labels[item], name) for item, name in split.name_of.items())
    for number, size in enumerate(per_class):
        for name, share in zip(NAMES, FRACTIONS, strict=True):
            assert abs(have[f"class{number}", name] - share * size) < 1.7


@pytest.mark.parametrize("seed", [2, 6, 7])
def test_styles_of_people_with_several_photos(tmp_path: Path, seed: int) -> None:
    """Each person has three profiles in up to three classes: exact, together, and near each class's share."""
    rng = random.Random(0)
    labels = {f"u{user}-{i}": f"class{rng.randrange(4)}" for user in range(200) for i in range(3)}
    users = {profile_id: profile_id.split("-")[0] for profile_id in labels}
    split = split_of(folder_of(labels=labels, users=users), tmp_path, seed)
    assert counts(split) == (420, 90, 90)
    assert all(len({split.name_of[f"{user}-{i}"] for i in range(3)}) == 1 for user in set(users.values()))
    totals, have = Counter(labels.values()), Counter((labels[item], name) for item, name in split.name_of.items())
    for each, total in totals.items():
        for name, share in zip(NAMES, FRACTIONS, strict=True):
            assert abs(have[each, name] - share * total) <= 6


def test_a_placeholder_photo_is_named(tmp_path: Path) -> None:
    same = {f"f{i}.png": "same" for i in range(50)}
    split = split_of(folder_of(singles(60), photo_sha256=same), tmp_path)
    assert counts(split) == (50, 5, 5)
    assert split.notes == (
        "train/val/test are 50/5/5 couples instead of 42/9/9: 50 couples of connected people stay together, most of "
        "them by the same photo (f0.png, f1.png, f10.png).",
    )


def test_large_groups_go_anywhere(tmp_path: Path) -> None:
    """A group of five lands in test about as often as others."""
    folder = folder_of([("g", f"m-{i}") for i in range(5)] + singles(90))
    where = Counter(split_of(folder, tmp_path, seed).name_of["g\tm-0"] for seed in range(60))
    assert 28 <= where["train"] <= 54 and where["val"] >= 2 and where["test"] >= 2


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (singles(4), "4 couples give train/val/test 2/0/2. .*Add couples or change split.fractions"),
        ([("f", f"m{i}") for i in range(40)], r"\d \(40 couples of connected people stay together, most .*f\)"),
    ],
)
def test_too_little_to_split(tmp_path: Path, pairs: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_of(folder_of(pairs), tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is stored for a split that cannot be"
