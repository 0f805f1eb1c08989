"""The same command again: goes on after a kill, adds what is new, and touches nobody else's folder."""

import errno
import json
from pathlib import Path

import pytest

from style_match.utils import files
from style_match.utils.errors import UserError

from .sources import CLASSES, HEADER, files_of, jpeg, photo, read_rows, write, write_table

NUM_WRITES = 12 + 7  # photos; the two markers, classes, metadata, profiles, split, rejected


class Killed(BaseException):
    """Ends the step at once, as a kill would."""


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """The write of that number, from 0, does not happen."""
    write_really, count = files.replace_whole, iter(range(1000))

    def replace_whole(path: Path, content: bytes) -> None:
        if next(count) == number:
            raise error
        write_really(path, content)

    monkeypatch.setattr(files, "replace_whole", replace_whole)


def add_metadata(source: Path) -> None:
    images = [row["image"] for row in read_rows(source)]
    write(source / "metadata.jsonl", "".join(json.dumps({"image": image, "caption": "x"}) + "\n" for image in images))


@pytest.mark.parametrize("number", [0, 1, 6, *range(12, NUM_WRITES)])
def test_stopped_at_any_write_the_same_command_ends_with_the_same_bytes(number, source, run, monkeypatch):
    add_metadata(source)
    whole = run(source, out="whole").folder.root
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, number, Killed())
        run(source)
    assert files_of(run(source).folder.root) == files_of(whole)


@pytest.mark.parametrize("number", [0, 7, 14, 16])
def test_stopped_while_rows_are_added_the_same_command_ends_with_the_same_bytes(number, source, run, monkeypatch):
    add_metadata(source)
    for out in ("whole", "out"):
        run(source, out=out)
    rows = [list(row.values()) for row in read_rows(source)]
    for each in range(20, 30):
        write(source / f"photos/p{each}.jpg", jpeg(photo(each)))
        rows.append([f"p{each}", f"photos/p{each}.jpg", ("Artsy", "Street")[each % 2], "High"])
    write_table(source / "profiles.csv", HEADER, rows)
    whole = run(source, out="whole").folder.root
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, number, Killed())
        run(source)
    assert files_of(run(source).folder.root) == files_of(whole)


def test_a_full_disk_is_one_message_and_nothing_is_half_written(source, run, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 5, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(UserError, match=r"No space left on device. Free some space"):
            run(source)
    out = source.parent / "out"
    assert not list(out.rglob("*.tmp")) and not (out / "profiles.csv").exists()
    for name, content in files_of(out / "photos").items():
        assert content == (source / "photos" / name).read_bytes()
    assert run(source).record["counts"]["kept"] == 12


def test_nothing_new_says_so(source, run):
    assert run(source).changed
    before = files_of(source.parent / "out")
    assert not run(source).changed
    assert files_of(source.parent / "out") == before


def test_new_rows_are_added_and_classes_and_splits_stay(source, run):
    first = run(source)
    split, rows = dict(first.split.name_of), [list(row.values()) for row in read_rows(source)]
    for number in range(20, 26):
        write(source / f"photos/p{number}.jpg", jpeg(photo(number)))
        rows.insert(0, [f"p{number}", f"photos/p{number}.jpg", "Artsy", "High"])
    write_table(source / "profiles.csv", HEADER, rows)
    second = run(source)
    assert second.changed and split.items() <= second.split.name_of.items()
    assert second.record["classes"] == [*CLASSES, "Artsy"]  # the new class comes last, though its name is first


def test_photos_that_the_source_no_longer_has_are_gone(source, run):
    run(source)
    rows = [list(row.values()) for row in read_rows(source)][2:]
    write_table(source / "profiles.csv", HEADER, rows)
    out = run(source).folder.root
    assert "p0.jpg" not in files_of(out / "photos") and "p0" not in {row["profile_id"] for row in read_rows(out)}


def test_a_copy_of_two_settled_people_is_left_out_and_moves_nobody(source, run):
    first = run(source)
    rows = [list(row.values()) for row in read_rows(source)]
    for number, original in ((0, 0), (1, 1)):
        write(source / f"photos/both{number}.jpg", jpeg(photo(original), 35))
        rows.append(["both", f"photos/both{number}.jpg", "Chic", "High"])
    write_table(source / "profiles.csv", HEADER, rows)
    for _ in range(2):
        second = run(source)
        assert first.split.name_of.items() <= second.split.name_of.items()
        reasons = {row["image"]: row["left_out"] for row in read_rows(second.folder.root) if row["left_out"]}
        assert list(reasons) == ["photos/both+2.jpg"] and "no one group" in reasons["photos/both+2.jpg"]


def test_a_folder_of_others_is_refused(source, run, tmp_path: Path):
    write(tmp_path / "out/thesis.txt", "mine")
    with pytest.raises(UserError, match=r"is not empty \(thesis.txt is there\).*give an empty or a new folder"):
        run(source)
    assert files_of(tmp_path / "out") == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("out", ["source", "source/prepared", "."])
def test_out_and_source_do_not_lie_in_each_other(out, source, run):
    with pytest.raises(UserError, match="give a folder outside of"):
        run(source, out=out)


def test_another_source_or_other_options_are_refused(source, run, tmp_path: Path):
    run(source)
    source.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"was prepared otherwise: source was .*source\", now .*moved"):
        run(tmp_path / "moved")
    (tmp_path / "moved").rename(source)
    with pytest.raises(UserError, match="min_side_px was null, now 10"):
        run(source, "min_side_px=10")


def test_a_photo_that_was_changed_replaces_the_old_one(source, run):
    run(source)
    new = write(source / "photos/p0.jpg", jpeg(photo(80))).read_bytes()
    prepared = run(source)
    assert prepared.changed and (prepared.folder.root / "photos/p0.jpg").read_bytes() == new


def test_links_share_the_file(source, run):
    out = run(source, "photos=link").folder.root
    assert (out / "photos/p0.jpg").samefile(source / "photos/p0.jpg")
    assert not run(source, "photos=link").changed


def test_a_prepared_folder_may_be_a_source_and_keeps_its_reasons(source, run):
    rows = read_rows(source)
    rows[3]["visual_quality"] = "Low"
    write_table(source / "profiles.csv", HEADER, [list(row.values()) for row in rows])
    write(source / "photos/p4.jpg", b"broken")
    first = run(source, "on_bad_image=exclude").folder.root
    second = run(first, "leave_out.visual_quality=[]", out="second").folder.root
    reasons = [
        {row["profile_id"]: row["left_out"] for row in read_rows(out) if row["left_out"]} for out in (first, second)
    ]
    assert reasons[0] == reasons[1] and reasons[0].keys() == {"p3", "p4"}


def test_metadata_and_couples_that_are_gone_from_the_source_are_gone(source, run):
    add_metadata(source)
    assert "metadata.jsonl" in files_of(run(source).folder.root)
    (source / "metadata.jsonl").unlink()
    assert "metadata.jsonl" not in files_of(run(source).folder.root)


def test_what_was_begun_and_never_finished_is_begun_anew_with_other_options(source, run):
    rows = read_rows(source)[:6]
    write_table(source / "profiles.csv", HEADER, [list(row.values()) for row in rows])
    with pytest.raises(UserError, match=r"change split.fractions"):
        run(source)
    assert (source.parent / "out/prepared.partial.json").exists()
    words = ["split.fractions=[0.34,0.33,0.33]", "min_side_px=10"]
    assert files_of(run(source, *words).folder.root) == files_of(run(source, *words, out="whole").folder.root)
    with pytest.raises(UserError, match="min_side_px was 10, now null"):
        run(source, words[0])


def test_what_was_begun_from_another_source_is_refused(source, run, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, 6, Killed())
        run(source)
    before = files_of(source.parent / "out")
    source.rename(source.parent / "moved")
    with pytest.raises(UserError, match=r"was prepared otherwise: source was"):
        run(source.parent / "moved")
    assert files_of(source.parent / "out") == before
