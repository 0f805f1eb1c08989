"""The output folder: killed runs, updates, names of photos, and folders that must not be touched."""

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from style_match.curation.candidates import file_stems
from style_match.data.dataset import read_folder
from style_match.utils.errors import UserError
from style_match.utils.files import hold

from .sources import CLASSES, add_profiles, edit_table, files_of, jpeg, jsonl, left_out, photo, read_rows, write


class Killed(BaseException):
    """Ends the step at once, as a kill would."""


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Raise the error in place of the rename of that number, from 0: 18 files are written, then moved."""
    replace, count = os.replace, iter(range(1000))

    def stopped(*paths) -> None:
        if next(count) == number:
            raise error
        replace(*paths)

    monkeypatch.setattr(os, "replace", stopped)


def add_metadata(source: Path) -> None:
    write(source / "metadata.jsonl", jsonl({"image": row["image"], "caption": "x"} for row in read_rows(source)))


@pytest.mark.parametrize("number", [0, 14, 18, 24, 33, 35])
def test_a_killed_run_looks_unfinished_and_the_same_command_gives_the_same_bytes(number, source, run, monkeypatch):
    add_metadata(source)
    complete = run(source, out="complete").folder.root
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, number, Killed())
        run(source)
    assert not (source.parent / "out/prepared.json").exists()
    assert files_of(run(source).folder.root) == files_of(complete)


@pytest.mark.parametrize("number", [12, 20, 27])
def test_a_killed_update_is_finished_by_the_same_command(number, source, run, monkeypatch):
    add_metadata(source)
    for out in ("complete", "out"):
        run(source, out=out)
    add_profiles(source, *((f"p{each}", jpeg(photo(each)), ("Artsy", "Street")[each % 2]) for each in range(20, 30)))
    complete = run(source, out="complete").folder.root
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, number, Killed())
        run(source)
    assert files_of(run(source).folder.root) == files_of(complete)


def test_a_killed_first_run_may_be_repeated_with_other_options(source, run, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, 32, Killed())
        run(source)
    assert (source.parent / "out/splits").exists()
    options = ["split.fractions=[0.34,0.33,0.33]", "min_side_px=10"]
    complete = run(source, *options, out="complete").folder.root
    assert files_of(run(source, *options).folder.root) == files_of(complete)


def test_a_failed_run_is_one_message_and_leaves_nothing(source, run, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 5, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(UserError, match=r"No space left on device. Free some space"):
            run(source)
    assert files_of(source.parent / "out") == {}
    edit_table(source, lambda rows: rows[:6])
    with pytest.raises(UserError, match=r"change split.fractions") as error:
        run(source)
    assert ".partial" not in str(error.value)
    assert files_of(source.parent / "out") == {}


def test_an_update_adds_rows_and_keeps_classes_splits_and_files_of_others(source, run):
    first = run(source)
    out = first.folder.root
    write(out / "mine.txt", "mine")
    before = files_of(out)
    assert first.changed and not run(source).changed and files_of(out) == before
    add_profiles(source, *((f"p{number}", jpeg(photo(number)), "Artsy") for number in range(20, 26)))
    edit_table(source, lambda rows: rows[::-1])
    second = run(source)
    assert second.changed and first.split.name_of.items() <= second.split.name_of.items()
    assert second.record["classes"] == [*CLASSES, "Artsy"]  # the new class comes last, though its name is first
    assert (out / "mine.txt").read_text() == "mine"


def test_what_the_source_no_longer_has_is_removed_and_changed_photos_are_replaced(source, run):
    add_metadata(source)
    assert "metadata.jsonl" in files_of(run(source).folder.root)
    (source / "metadata.jsonl").unlink()
    edit_table(source, lambda rows: rows[2:])
    new = write(source / "photos/p2.jpg", jpeg(photo(80))).read_bytes()
    prepared = run(source)
    files = files_of(prepared.folder.root)
    assert prepared.changed and not {"metadata.jsonl", "photos/p0.jpg"} & {*files} and files["photos/p2.jpg"] == new
    assert read_rows(prepared.folder.root)[0]["profile_id"] == "p2"


def test_a_copy_of_two_settled_profiles_is_left_out_and_moves_nobody(source, run):
    first = run(source)
    add_profiles(source, ("both", jpeg(photo(0), 35), "Chic"), ("other", jpeg(photo(1), 35), "Chic"))
    edit_table(source, lambda rows: [*rows[:-1], {**rows[-1], "profile_id": "both"}])
    for _ in range(2):
        second = run(source)
        assert first.split.name_of.items() <= second.split.name_of.items()
        assert "already in different groups" in left_out(second.folder.root)["both"]
        assert [row["image"] for row in read_rows(second.folder.root) if row["left_out"]] == ["photos/both+2.jpg"]


def test_folders_of_others_and_overlaps_with_the_source_are_refused(source, run, tmp_path: Path):
    write(tmp_path / "out/thesis.txt", "mine")
    with pytest.raises(UserError, match=r"has other content \(thesis.txt\); choose an empty or a new folder"):
        run(source)
    assert files_of(tmp_path / "out") == {"thesis.txt": b"mine"}
    for out in ("source", "source/prepared", "."):
        with pytest.raises(UserError, match="overlaps with the source; choose a folder outside"):
            run(source, out=out)


def test_another_process_another_source_and_other_options_are_refused(source, run, tmp_path: Path):
    run(source)
    with hold(tmp_path / "out/.lock"), pytest.raises(UserError, match="another process is writing there"):
        run(source)
    with pytest.raises(UserError, match=r'{"min_side_px": null}, now {"min_side_px": 10}'):
        run(source, "min_side_px=10")
    source.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r'was prepared with {"source": ".*source"}, now {"source": ".*moved"}'):
        run(tmp_path / "moved")


def test_hard_links_share_the_file(source, run):
    out = run(source, "photos=link").folder.root
    assert (out / "photos/p0.jpg").samefile(source / "photos/p0.jpg")
    assert not run(source, "photos=link").changed


def test_a_prepared_folder_can_be_a_source_and_keeps_its_reasons(source, run):
    edit_table(source, lambda rows: [{**row, "visual_quality": ("High", "Low")[n == 3]} for n, row in enumerate(rows)])
    write(source / "photos/p4.jpg", b"broken")
    first = run(source, "on_bad_image=exclude").folder.root
    second = run(first, "leave_out.visual_quality=[]", out="second").folder.root
    assert left_out(first) == left_out(second) and left_out(first).keys() == {"p3", "p4"}


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8))
@example(["a", "a+2", "a", "A", "con", ".", "..", "/", "e\u0301", "\u00e9", "ﬁ", "fi", "a" * 200, "a" * 199 + "b"])
def test_names_are_valid_and_unique_without_regard_to_case(ids):
    stems = file_stems(ids)
    assert len({stem.casefold() for stem in stems}) == len(ids)
    for stem in stems:
        assert re.fullmatch(r"[\w.+-]+", stem) and not stem.startswith((".", "-")) and len(stem.encode()) <= 140
    assert file_stems(["p1", "사람"]) == ["p1", "사람"]


def test_photos_of_any_profile_ids_are_found_again(source, run):
    ids = ["a/b", "A/b", "../../x", "지우", "Lee", "lee", "e\u0300", "\u00e9", "con", "x" * 300, " sp ace", "p11"]
    edit_table(source, lambda rows: [{**row, "profile_id": new} for new, row in zip(ids, rows, strict=True)])
    folder = read_folder(run(source).folder.root, task="style")
    names = [each.image for each in folder.photos]
    assert names[3] == "photos/지우.jpg" and names[11] == "photos/p11.jpg" and len(names) == 12
    for number, each in enumerate(folder.photos):
        assert each.path.read_bytes() == (source / f"photos/p{number}.jpg").read_bytes()
