"""Folds: everybody in one test part, connected people together, each fold its own validation part, only added to."""

import fcntl
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.folds import make_fold
from style_match.data.splits import Split
from style_match.utils.errors import UserError

from .memory_folder import (
    FRACTIONS,
    brute_force_groups,
    counts,
    couple_graphs,
    folder_of,
    folds_of,
    pairs_of_sizes,
    places,
    singles,
)


def test_495_couples(tmp_path: Path) -> None:
    splits = folds_of(folder_of(singles(495)), tmp_path)
    assert [counts(split) for split in splits] == [(327, 69, 99)] * 5, "val is 0.15 / 0.85 of 396"
    assert [split.notes for split in splits] == [()] * 5
    assert list(places(splits)) == [f"f{i}\tm{i}" for i in range(495)]
    vals = [set(split.items("val")) for split in splits]
    overlap = sum(len(one & other) for one in vals for other in vals if one is not other) / 20
    assert 4 < overlap < 16, "each is drawn by itself: by chance two share 69 * 69 / 495 = 9.6"


def test_what_is_stored(tmp_path: Path) -> None:
    (split, *_) = folds_of(folder_of(singles(20)), tmp_path, folds=3)
    assert split.path == tmp_path / "couple-seed0-folds3-0.7-0.15-0.15.csv"
    header, first, *rest = split.path.read_text().splitlines()
    assert header == "female_id,male_id,fold0,fold1,fold2"
    assert first.startswith("f0,m0,") and len(rest) == 19
    assert folds_of(folder_of(singles(20)), tmp_path, folds=3, seed=1)[0].items("test") != split.items("test")


def test_other_fractions_have_the_same_test_parts(tmp_path: Path) -> None:
    folder = folder_of(singles(60))
    others = folds_of(folder, tmp_path, fractions=(0.4, 0.4, 0.2))
    for one, other in zip(folds_of(folder, tmp_path), others, strict=True):
        assert one.items("test") == other.items("test")
        assert (len(one.items("val")), len(other.items("val"))) == (8, 24)


def test_the_draw_itself_is_pinned(tmp_path: Path) -> None:
    """A later version that draws otherwise would quietly change everyone's test sets."""
    split, *_ = folds_of(folder_of(singles(12)), tmp_path, folds=3)
    assert split.items("test") == ("f2\tm2", "f3\tm3", "f7\tm7", "f10\tm10")
    assert split.items("val") == ("f0\tm0",)


@given(pairs=couple_graphs(), folds=st.integers(2, 5))
def test_couples(tmp_path_factory: pytest.TempPathFactory, pairs: list, folds: int) -> None:
    items = {f"{left}\t{right}": {left, right} for left, right in pairs}
    groups = brute_force_groups(items)
    try:
        splits = folds_of(folder_of(pairs), tmp_path_factory.mktemp("splits"), folds, 0, (0.5, 0.3, 0.2))
    except UserError as error:
        assert "test needs two" in str(error)
        assert max(map(len, groups)) > max(1, len(items) / (2 * folds)), "there was room"
        return
    found = places(splits)
    assert set(found) == set(items) and splits[0].excluded == ()
    for group in groups:
        assert len({found[item] for item in group}) == 1, "together in every fold"


@given(sizes=st.lists(st.integers(1, 6), min_size=6, max_size=40), folds=st.integers(2, 4), seed=st.integers(0, 5))
def test_sizes_of_test_parts_differ_by_less_than_two_groups(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], folds: int, seed: int
) -> None:
    number = sum(sizes)
    equal = sorted(number // folds + (j < number % folds) for j in range(folds))
    try:
        splits = folds_of(folder_of(pairs_of_sizes(sizes)), tmp_path_factory.mktemp("s"), folds, seed, (0.5, 0.3, 0.2))
    except UserError as error:
        assert "needs two" in str(error)
        return
    have = sorted(len(split.items("test")) for split in splits)
    assert any("the test parts of the folds have" in note for note in splits[0].notes) == (have != equal)
    if max(sizes) <= number // folds:
        assert have[-1] - have[0] <= 2 * max(sizes)
    if sizes.count(1) >= folds * max(sizes):
        assert have == equal


def test_a_group_above_its_share_leaves_the_others_equal(tmp_path: Path) -> None:
    splits = folds_of(folder_of([("f", f"n{i}") for i in range(40)] + singles(60)), tmp_path)
    assert sorted(len(split.items("test")) for split in splits) == [15, 15, 15, 15, 40]
    for split in splits:
        assert "/15 couples instead of 20/20/20/20/20: 40 couples of connected people" in split.notes[0]


@given(per_class=st.lists(st.integers(6, 40), min_size=2, max_size=5), folds=st.integers(2, 6), seed=st.integers(0, 5))
def test_styles_are_spread_by_class(
    tmp_path_factory: pytest.TempPathFactory, per_class: list[int], folds: int, seed: int
) -> None:
    labels = {f"p{number}-{i}": f"class{number}" for number, size in enumerate(per_class) for i in range(size)}
    splits = folds_of(folder_of(labels=labels), tmp_path_factory.mktemp("s"), folds, seed, (0.5, 0.3, 0.2))
    for split in splits:
        tests, vals = (Counter(labels[item] for item in split.items(name)) for name in ("test", "val"))
        for number, size in enumerate(per_class):
            name = f"class{number}"
            assert abs(tests[name] - size / folds) < 2
            assert abs(vals[name] - 0.375 * (size - tests[name])) < 2


def test_more_rows_fill_the_smallest_test_parts(tmp_path: Path) -> None:
    folds_of(folder_of(singles(26)), tmp_path)
    splits = folds_of(folder_of(singles(40)), tmp_path)
    assert [(counts(split), split.notes) for split in splits] == [((27, 5, 8), ())] * 5


def test_a_row_between_two_folds_is_left_out_of_all_and_named(tmp_path: Path) -> None:
    splits = folds_of(folder_of(singles(20)), tmp_path, folds=2)
    one, other = (split.items("test")[0].split("\t") for split in splits)
    again = folds_of(folder_of([*singles(20), (one[0], other[1])]), tmp_path, folds=2)
    assert places(again) == places(splits)
    for split in again:
        (left_out,) = split.excluded
        assert (left_out.id, left_out.row) == (f"{one[0]} + {other[1]}", 22)
        assert left_out.reason.startswith("connects the splits test of fold 0")
        assert f"(by profile {one[0]}, as {one[0]} + {one[1]}) and test of fold 1" in left_out.reason


def test_the_users_own_split_column(tmp_path: Path) -> None:
    folder = replace(folder_of(singles(20)), given_splits={"f0\tm0": "train"})
    with pytest.raises(UserError, match=r"split column divides /data: remove the column or split\.folds"):
        folds_of(folder, tmp_path)


@pytest.mark.parametrize(
    ("number", "options", "message"),
    [
        (20, {"folds": 5, "fold": 5}, r"split\.fold=5: of 5 folds, choose one from 0 to 4"),
        (20, {"folds": 1, "fold": 0}, r"split\.folds=1: set it to 2 or more"),
        (9, {"folds": 5, "fold": 0}, r"split\.folds=5: /data has 9 couples and each test part needs two: use fewer"),
        (6, {"folds": 3, "fold": 0}, r"6 couples give fold 0 train/val/test 4/0/2; .*lower split\.folds=3 or change"),
        (20, {"folds": 2, "fold": 0, "fractions": (0.0, 0.5, 0.5)}, r"split\.fractions=.* a share for train and one"),
    ],
)
def test_what_cannot_be_folded(tmp_path: Path, number: int, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_fold(folder_of(singles(number)), **{"seed": 0, "fractions": FRACTIONS, "store": tmp_path, **options})
    assert os.listdir(tmp_path) == [], "nothing is stored for folds that cannot be"


def test_two_processes_that_begin_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither finds a stored file; one of them knows fewer couples, so it would draw differently."""
    both, lock = threading.Barrier(2), fcntl.flock

    def wait(file: object, how: int) -> None:
        both.wait(timeout=20)
        lock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", wait)

    def run(number: int) -> Split:
        return make_fold(folder_of(singles(number)), folds=3, fold=1, seed=0, fractions=FRACTIONS, store=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        fewer, more = pool.map(run, (40, 46))
    assert {item: more.name_of[item] for item in fewer.name_of} == fewer.name_of
    monkeypatch.undo()
    text = more.path.read_text()
    assert len(text.splitlines()) == 1 + 46
    assert folds_of(folder_of(singles(46)), tmp_path, 3)[1].name_of == more.name_of
    assert more.path.read_text() == text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("f0,m0,test,test", "line 2: must be in the test part of exactly one fold"),
        ("f0,m0,val,train", "line 2: must be in the test part of exactly one fold"),
        ("f0,m0,test", "line 2, column fold1: '' is none of train, val, test"),
    ],
)
def test_a_broken_file(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "couple-seed0-folds2-0.7-0.15-0.15.csv"
    path.write_text(f"female_id,male_id,fold0,fold1\n{row}\n")
    with pytest.raises(UserError, match=message):
        folds_of(folder_of(singles(20)), tmp_path, folds=2)
