"""Tables as spreadsheets and data frames write them: read, or the cause named first, with a remedy that works."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from style_match.data.dataset import DatasetFolder, read_folder

from .conftest import faults, write_csv, write_photo

PROFILES = [(f"{kind}{number}", f"{kind}{number}.png") for number in range(24) for kind in "fm"]
COUPLES = [(f"f{number}", f"m{number}") for number in range(24)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for _, image in PROFILES:
        write_photo(tmp_path / image)
    write_csv(tmp_path / "profiles.csv", ("profile_id", "image"), PROFILES)
    write_csv(tmp_path / "couples.csv", ("female_id", "male_id"), COUPLES)
    return tmp_path


def read(root: Path) -> DatasetFolder:
    return read_folder(root, task="couple")


def rewrite(path: Path, change) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "sep=,\n" + text,
        lambda text: "\ufeffsep=,\r\n" + text,
        lambda text: '"sep=;"\n' + text.replace(",", ";"),
        lambda text: "SEP=|\n" + text.replace(",", "|"),
        lambda text: "sep=\t\n" + text.replace(",", "\t"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace("\n", ",,,\n") + ",,,\n,,,\n",
        lambda text: text.replace("\n", ",note\n", 1),  # rows that stop after their last filled cell
        lambda text: text.replace("\n", ",note,more\n", 1).replace("f1.png", "f1.png,x"),
    ],
)
def test_profiles_as_a_spreadsheet_writes_them(root: Path, change) -> None:
    was = [photo.image for photo in read(root).photos]
    rewrite(root / "profiles.csv", change)
    assert [photo.image for photo in read(root).photos] == was


def test_headers(root: Path) -> None:
    rewrite(root / "profiles.csv", lambda text: text.replace("\n", ',"a;b;c;d"\n', 1))
    assert "a;b;c;d" in read(root).columns["f0"], "commas separate, whatever is in a cell"
    rewrite(root / "profiles.csv", lambda text: text.replace("profile_id", "id").replace(".png", ".png,x,y"))
    assert faults(root) == ["profiles.csv: no column 'profile_id'; the columns are id, image, a;b;c;d"]


@pytest.mark.parametrize(
    "written", ["1.23E+18", "1.2345678901234568e+18", "1e+16", "9007199254740993.0", "123456789012342000"]
)
def test_rounded_ids_are_the_only_fault(root: Path, written: str) -> None:
    write_csv(root / "couples.csv", ("female_id", "male_id"), [(written, f"m{number}") for number in range(9)])
    (found,) = faults(root)
    assert found.startswith(
        f"couples.csv, line 2, column female_id: {written!r} is a rounded number, and so are 9 of 9 ids"
    )


@pytest.mark.parametrize(
    "ids", [["1e5", "null"], ["007", "7"], ["1.0", "2.0"], ["1234567890123456789", "1e"], ["NaN", "e+1"]]
)
def test_ids_that_look_like_something_else_stay_texts(tmp_path: Path, ids: list[str]) -> None:
    for image in ("a.png", "b.png"):
        write_photo(tmp_path / image)
    write_csv(tmp_path / "profiles.csv", ("profile_id", "image"), zip(ids, ("a.png", "b.png"), strict=True))
    write_csv(tmp_path / "couples.csv", ("female_id", "male_id"), [ids])
    assert read(tmp_path).profile_ids == tuple(ids)


@pytest.mark.parametrize(
    ("in_profiles", "in_couples"), [("{}", "{}.0"), ("{}.0", "{}"), ("00{}", "{}"), ("{}", "00{}"), ("{}.00", "{}.0")]
)
def test_ids_that_became_numbers_in_one_table(root: Path, in_profiles: str, in_couples: str) -> None:
    number = {one: str(place) for place, (one, _) in enumerate(PROFILES, start=10)}
    rows = [(in_profiles.format(number[a]), image) for a, image in PROFILES]
    write_csv(root / "profiles.csv", ("profile_id", "image"), rows)
    pairs = [(in_couples.format(number[a]), in_couples.format(number[b])) for a, b in COUPLES]
    write_csv(root / "couples.csv", ("female_id", "male_id"), pairs)
    found = faults(root)
    places = [f"couples.csv, line 2, column {side}" for side in ("female_id", "male_id")]
    assert [each.partition(":")[0] for each in found] == places
    assert "24 ids differ like this: one of the two columns was stored as numbers. Store both as text" in found[0]


def test_bytes_in_a_parquet_table_are_not_printed(root: Path) -> None:
    (root / "profiles.csv").unlink()
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    photos = pyarrow.array([{"bytes": (root / image).read_bytes() * 99, "path": image} for _, image in PROFILES], kind)
    columns = {"profile_id": [one for one, _ in PROFILES], "image": photos}
    parquet.write_table(pyarrow.table(columns), root / "profiles.parquet")
    (found,) = faults(root)
    assert found == (
        "profiles.parquet, column image: contains bytes or structs, no text; make a dataset folder of it: "
        f"python -m style_match.prepare source={root} kind=parquet out=DATASET"
    )
    columns["image"] = pyarrow.array([(root / image).read_bytes() for _, image in PROFILES])
    parquet.write_table(pyarrow.table(columns), root / "profiles.parquet")
    assert "contains bytes or structs" in faults(root)[0] and len(faults(root)[0]) < 400


@pytest.mark.parametrize("words", [("female", "male"), ("F", "M"), ("여", "남"), ("여자", "남자"), ("Woman", "MAN")])
def test_swapped_couples(root: Path, words: tuple[str, str]) -> None:
    rows = [(one, image, words[one[0] == "m"]) for one, image in PROFILES]
    write_csv(root / "profiles.csv", ("profile_id", "image", "gender"), rows)
    assert read(root).notes == ()
    swapped = [pair[::-1] for pair in COUPLES[:2]] + COUPLES[2:]
    write_csv(root / "couples.csv", ("female_id", "male_id"), swapped)
    found = faults(root)
    assert len(found) == 4 and "are the columns swapped?" in found[0]
    write_csv(root / "couples.csv", ("left_id", "right_id"), swapped)
    read(root)  # the second remedy


def test_unknown_words_of_gender_are_said(root: Path) -> None:
    rows = [(one, image, {"f": "femme", "m": "homme"}[one[0]]) for one, image in PROFILES]
    write_csv(root / "profiles.csv", ("profile_id", "image", "gender"), rows)
    (note,) = read(root).notes
    assert note == (
        "gender: 'femme', 'homme' are unknown, so couples.csv was not checked for swapped columns there; "
        "use female or male"
    )


def test_links_into_a_store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.mktemp("store")
    for number, (_, image) in enumerate(PROFILES):
        (root / image).rename(store / str(number))
        (root / image).symlink_to(store / str(number))
    found = faults(root)
    assert (
        f"is a symbolic link out of {root}; copy the file or, if all photos are links, set data.image_root to a folder "
        f"that holds their targets, such as {store}/0" in found[0]
    )
    folder = read_folder(root, task="couple", image_root=store)
    assert folder.photos[0].path.read_bytes() == (store / "0").read_bytes()
    assert "none of the 48" in faults(root, image_root=tmp_path_factory.mktemp("other"))[0]
    (root / "f0.png").unlink()
    write_photo(root / "f0.png")  # a file of the folder itself does not stand in for one of image_root
    assert "'f0.png' does not exist" in faults(root, image_root=store)[0]
