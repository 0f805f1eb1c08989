"""A stored split is kept: rows added later are added to it, and nothing already there moves."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.splits import Split, make_split
from style_match.utils.errors import UserError

from .memory_folder import NAMES, counts, folder_of, folds_of, singles, split_of


def files(store: Path) -> list[str]:
    return sorted(set(os.listdir(store)) - {".lock"})


def test_what_is_stored(tmp_path: Path) -> None:
    split = split_of(folder_of(singles(20)), tmp_path)
    lines = split.path.read_text().splitlines()
    assert lines[:3] == ["female_id,male_id,split", "f0,m0,train", "f1,m1,train"] and len(lines) == 21
    split_of(folder_of(labels={f"p{i}": "xy"[i % 2] for i in range(20)}), tmp_path)
    names = ["couple-seed0-0.7-0.15-0.15.csv", "style-fashion_style-seed0-0.7-0.15-0.15.csv"]
    assert files(tmp_path) == names, "no temporary file stays"
    ids = [(f'f"{i}, x', f"남자 {i}") for i in range(20)]
    for _ in range(2):
        split = make_split(folder_of(ids, root=tmp_path), seed=7, fractions=(0.6, 0.2, 0.2))
        assert split.path == tmp_path / "splits" / "couple-seed7-0.6-0.2-0.2.csv" and len(split.name_of) == 20


def test_it_is_read_not_drawn_again(tmp_path: Path) -> None:
    split = split_of(folder_of(singles(20)), tmp_path)
    text = split.path.read_text()
    fewer = split_of(folder_of(singles(20)[5:]), tmp_path)
    assert fewer.name_of == {item: split.name_of[item] for item in fewer.name_of}
    assert split.path.read_text() == text, "rows may go and come back"
    turned = text.replace(",train", ",x").replace(",test", ",train").replace(",x", ",test")
    split.path.write_text(turned)
    again = split_of(folder_of(singles(20)), tmp_path)
    assert again.items("test") == split.items("train")
    assert again.notes == ("train/val/test are 3/3/14 couples instead of 14/3/3: stored rows are never moved.",)
    assert split.path.read_text() == turned


@given(first=st.integers(10, 40), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_appended_rows(tmp_path_factory: pytest.TempPathFactory, first: int, sizes: list[int]) -> None:
    """Old items keep their split, and counts stay exact while they can."""
    store, pairs = tmp_path_factory.mktemp("splits"), singles(first)
    before = split_of(folder_of(pairs), store)
    for size in sizes:
        pairs = singles(size, start=len(pairs)) + pairs
        text = before.path.read_text()
        split = split_of(folder_of(pairs), store)
        assert split.path.read_text().startswith(text), "the file only grows"
        assert {item: split.name_of[item] for item in before.name_of} == before.name_of
        train, val = int(0.7 * len(pairs) + 1e-9), int(0.15 * len(pairs) + 1e-9)
        exact = (train, val, len(pairs) - train - val)
        assert sum(abs(a - b) for a, b in zip(counts(split), exact, strict=True)) <= 2
        assert set(split.name_of) == {f"{left}\t{right}" for left, right in pairs}
        before = split


def test_appended_styles_make_up_for_what_is_stored(tmp_path: Path) -> None:
    """Every x is in train so far: the new ones go to val and test until the classes are even again."""
    stored = [("x", "train")] * 50 + [("y", "train")] * 20 + [("y", "val")] * 15 + [("y", "test")] * 15
    rows = [f"p{i},{name}" for i, (_, name) in enumerate(stored)]
    path = tmp_path / "style-fashion_style-seed0-0.7-0.15-0.15.csv"
    path.write_text("\n".join(["profile_id,split", *rows, ""]))
    labels = {f"p{i}": label for i, (label, _) in enumerate(stored)}
    new = {f"{label}{i}": label for label in "xy" for i in range(50)}
    split = split_of(folder_of(labels=labels | new), tmp_path)
    for label, expected in (("x", [20, 15, 15]), ("y", [50, 0, 0])):
        assert [sum(new.get(item) == label for item in split.items(name)) for name in NAMES] == expected


@pytest.fixture
def splits(tmp_path: Path) -> Callable[..., Split]:
    """Twenty couples are stored; then more rows come."""
    pairs = singles(20)
    split_of(folder_of(pairs), tmp_path)

    def add(*more: tuple[str, str], users: dict[str, str] | None = None) -> Split:
        return split_of(folder_of([*pairs, *more], users=users), tmp_path)

    return add


def one_of(splits: Callable[..., Split], name: str) -> str:
    """The number of a stored couple of this split."""
    return splits().items(name)[0].split("\t")[0][1:]


@pytest.mark.parametrize("name", NAMES)
def test_new_rows_join_the_split_of_their_person(splits: Callable[..., Split], name: str) -> None:
    old = one_of(splits, name)
    rows = [("newer", "new"), (f"f{old}", "new"), ("a", "b"), ("c", "b"), ("c", "d"), ("x", "y")]
    split = splits(*rows, users={"d": "u", f"m{old}": "u"})
    assert [split.name_of["\t".join(row)] for row in rows[:-1]] == [name] * 5, "also through others"
    assert f"newer,new,{name}" in split.path.read_text().splitlines()


def test_a_row_between_two_splits_is_left_out_and_named(splits: Callable[..., Split]) -> None:
    train, test = one_of(splits, "train"), one_of(splits, "test")
    before = splits()
    for _ in range(2):
        split = splits((f"f{train}", f"m{test}"))
        assert split.name_of == before.name_of
        (left_out,) = split.excluded
        assert (left_out.kind, left_out.id) == ("couple", f"f{train} + m{test}")
        assert (left_out.file, left_out.row) == ("couples.csv", 22)
        assert left_out.reason == (
            f"connects the splits train (by profile f{train}, as f{train} + m{train}) "
            f"and test (by profile m{test}, as f{test} + m{test})"
        )


def test_of_a_chain_between_two_splits_the_later_row_is_left_out(splits: Callable[..., Split]) -> None:
    train, test = one_of(splits, "train"), one_of(splits, "test")
    split = splits((f"f{train}", "a"), ("b", "a"), ("b", f"m{test}"))
    assert split.name_of[f"f{train}\ta"] == split.name_of["b\ta"] == "train"
    assert [each.id for each in split.excluded] == [f"b + m{test}"]


def test_styles_between_two_splits(tmp_path: Path) -> None:
    labels = {f"p{i}": "xy"[i % 2] for i in range(20)}
    before = split_of(folder_of(labels=labels), tmp_path)
    train, test = before.items("train")[0], before.items("test")[0]
    same = {f"{train}.png": "aa", "new.png": "aa"}
    split = split_of(
        folder_of(labels=labels | {"new": "x"}, users={test: "u", "new": "u"}, photo_sha256=same), tmp_path
    )
    assert [(each.kind, each.id, each.row) for each in split.excluded] == [("profile", "new", 22)]
    assert "the same photo" in split.excluded[0].reason and "user_id u" in split.excluded[0].reason


@pytest.mark.parametrize("folds", [0, 4])
@given(data=st.data())
def test_rows_between_anybody_move_nobody(
    tmp_path_factory: pytest.TempPathFactory, folds: int, data: st.DataObject
) -> None:
    """Rows are added in three steps: nobody moves, and nobody is in two splits of any fold."""
    store, pairs = tmp_path_factory.mktemp("splits"), singles(24)

    def make() -> list[Split]:
        return folds_of(folder_of(pairs), store, folds) if folds else [split_of(folder_of(pairs), store)]

    splits = make()
    for _ in range(3):
        before, text = [split.name_of for split in splits], splits[0].path.read_text()
        people = st.integers(0, 40)
        new = data.draw(st.sets(st.tuples(people, people), max_size=8))
        pairs += [pair for pair in ((f"f{a}", f"m{b}") for a, b in sorted(new)) if pair not in pairs]
        splits = make()
        assert splits[0].path.read_text().startswith(text), "the file only grows"
        for split, old in zip(splits, before, strict=True):
            assert {item: split.name_of[item] for item in old} == old
            where: dict[str, str] = {}
            for item, name in split.name_of.items():
                assert all(where.setdefault(person, name) == name for person in item.split("\t"))
            excluded = {each.id.replace(" + ", "\t") for each in split.excluded}
            assert excluded.isdisjoint(split.name_of) and len(excluded) + len(split.name_of) == len(pairs)


def test_old_rows_that_turn_out_to_be_one_person(splits: Callable[..., Split]) -> None:
    train, test = one_of(splits, "train"), one_of(splits, "test")
    with pytest.raises(
        UserError, match=r"puts connected people into two splits; if that is right, delete .*"
    ) as caught:
        splits(users={f"f{train}": "u1", f"f{test}": "u1"})
    assert "user_id u1 connects" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("female_id,male_id\nf0,m0\n", "no column 'split'"),
        ("female_id,male_id,split\nf0,m0,tr", "line 2, column split: 'tr' is none of train, val, test"),
        ("female_id,male_id,split\nf0,m0,train\nf0,m0,test\n", "line 3: occurs twice"),
    ],
)
def test_a_broken_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "couple-seed0-0.7-0.15-0.15.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        split_of(folder_of(singles(20)), tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).endswith("Restore the file, or delete it to draw a new split.")
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot store .*: Not a dir.* Make the folder writable or set split\.store"):
        split_of(folder_of(singles(20)), tmp_path / "file" / "splits")
    before = split_of(folder_of(singles(20)), tmp_path / "full")
    text = before.path.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"\.csv: No space left on device\. Make .* split\.store"):
        split_of(folder_of(singles(30)), tmp_path / "full")
    assert before.path.read_text() == text and files(tmp_path / "full") == [before.path.name]
