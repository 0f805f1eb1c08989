"""`python -m style_match.label` with recorded answers: what is asked, kept, merged, refused."""

import json
import os
import shutil

import pytest

from style_match.labeling.outputs import counts, leaking
from tests.labeling.makers import make_schema, picture, style_values

COUPLE = {
    "appearance_type": "dandy",
    "style_vibe": "calm and tidy",
    "personality_impression": "friendly",
    "grooming_level": "high",
    "photo_style": "Others_Cam",
    "image_quality": "High",
    "physical_features": "glasses",
    "caption": "a man in a navy suit",
}
ALL = ("a", "b", "c", "d", "deep/f", "e")
FILES = {f"{name}.jpg" for name in ALL}


@pytest.mark.integration
def test_answers_are_written_counted_and_not_asked_again(replay, photos, answers):
    shutil.copy(photos / "a.jpg", photos / "z.jpg")
    done = replay(answers(*ALL), typed=True)
    assert "photos: 7, 6 different" in done.err and "to send: 6 photos, free of charge" in done.err
    assert "style labels of 7 of 7 photos, labeler=replay" in done.out and "Street_Hip" in done.out
    assert list(done.lines) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "z.jpg", "deep/f.jpg"]
    assert done.lines["b.jpg"] == style_values(1) and done.lines["z.jpg"] == done.lines["a.jpg"] == style_values(0)
    assert not done.failed
    before = (photos / "metadata.jsonl").read_bytes()
    done = replay(answers(*ALL), typed=True)
    assert "to send: nothing, all answers are stored" in done.err and "6 of 6 are stored" in done.err
    assert (photos / "metadata.jsonl").read_bytes() == before
    files = {name for name in os.listdir(photos) if not name.endswith("jpg")}
    assert files == {".labels.lock", "deep", "failed.csv", "labels.sqlite", "metadata.jsonl"}


def test_a_few_failures_warn_and_many_fail(replay, answers):
    bad = {**style_values(), "fashion_style": "Casual"}
    file = answers("a", "b", "c", "d", ("e", bad))
    done = replay(file, code=2)
    assert "2 of 6 photos have no answer, more than max_failed_share=0.05" in done.err and "failed.csv" in done.err
    failed = [(image, row["status"], row["attempts"]) for image, row in done.failed.items()]
    assert failed == [("e.jpg", "invalid", "1"), ("deep/f.jpg", "error", "1")]
    assert len(done.lines) == 4
    done = replay(file, "max_failed_share=0.5")
    assert "no answer, invalid: 1 (e.jpg)" in done.err and "4 of 6 are stored, 2 failed before" in done.err


def test_schemas_are_merged_and_nothing_is_lost(replay, answers):
    replay(answers(*ALL))
    done = replay(answers(*((name, COUPLE) for name in ALL), name="couple.jsonl"), "schema=couple")
    assert done.lines["a.jpg"] == {**style_values(0), **COUPLE}
    done = replay(answers("a", name="less.jsonl"), code=2)  # five photos fail: they keep what they had
    assert "5 of these keep answers of earlier commands" in done.err
    assert set(done.lines) == FILES


def test_a_left_out_attribute_is_removed_and_comes_back(replay, answers):
    file = answers(*ALL)
    replay(file)
    assert "caption" not in replay(file, "schema.leave_out=[caption]").lines["a.jpg"]
    assert "caption" in replay(file).lines["a.jpg"]


def test_files_of_others_are_not_overwritten(replay, photos, answers):
    metadata, failed, file = photos / "metadata.jsonl", photos / "failed.csv", answers(*ALL)
    metadata.write_text(mine := '{"image": "a.jpg", "caption": "mine"}\n')
    done = replay(file, code=2)
    assert "metadata.jsonl was written or changed by hand and is not overwritten. Move it away" in done.err
    assert metadata.read_text() == mine
    metadata.unlink()
    replay(file)
    metadata.write_text(metadata.read_text() + mine)
    assert "changed by hand" in replay(file, code=2).err
    metadata.unlink()
    failed.write_text("image,why\na.jpg,mine\n")
    assert "failed.csv was not written by this step and is not overwritten" in replay(file, code=2).err
    assert failed.read_text() == "image,why\na.jpg,mine\n"


def test_one_out_is_about_one_folder(replay, photos, answers, tmp_path):
    out = f"out={tmp_path / 'out'}"
    replay(answers(*ALL), out)
    assert not (photos / "labels.sqlite").exists()
    shutil.copytree(photos, tmp_path / "others")
    done = replay(answers(*ALL), out, images=tmp_path / "others", code=2)
    assert f"is about the photos in {photos}" in done.err
    (photos / "a.jpg").unlink()
    done = replay(answers(*ALL), out)
    assert "1 photos of the previous metadata.jsonl are not labelled any more" in done.err
    assert "a.jpg" not in done.lines


def test_texts_that_name_the_class_are_reported(replay, answers):
    done = replay(answers(("a", {**style_values(0), "caption": "a casual basic look"}), *ALL[1:]))
    assert "1 photos have texts that name their class" in done.err and "(a.jpg)" in done.err
    lines = {
        "a": style_values(),
        "b": {**style_values(), "caption": "very STREET-HIP today"},
        "c": {**style_values(), "style_vibe": "Chic Modern"},
        "d": {"fashion_style": "Street_Hip"},
    }
    assert leaking(make_schema(), lines) == ["b", "c"]
    assert leaking(make_schema(leave_out=["fashion_style"]), lines) == leaking(make_schema("couple"), lines) == []


def test_counts_by_class():
    lines = {"a": style_values(0), "b": style_values(1), "c": {"caption": "x"}}
    printed = counts(make_schema(), lines, 4, "synthetic data")
    assert printed.startswith("style labels of 3 of 4 photos, synthetic data")
    assert [line.split() for line in printed.splitlines() if "Casual" in line] == [["Casual_Basic", "1", "33.3", "%"]]
    assert printed.count("(none)") == 3


def test_a_dry_run_shows_one_request_and_sends_nothing(replay, photos, answers):
    for _ in range(2):
        done = replay(answers(*ALL), "labeler.dry_run=true")
        assert json.loads(done.out)["answer"] == style_values(0) and "nothing was sent" in done.err
    assert (photos / "dry_run.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert not (photos / "metadata.jsonl").exists()
    assert set(replay(answers(*ALL)).lines) == FILES  # the file of the dry run is no photo


def test_a_photo_that_is_called_dry_run_is_a_photo(replay, photos, answers):
    (photos / "dry_run.jpg").write_bytes(mine := picture(8))
    done = replay(answers(*ALL, "dry_run"), "labeler.dry_run=true", code=2)
    assert "dry_run.jpg was not written by a dry run and is not overwritten" in done.err
    assert "dry_run.jpg" in replay(answers(*ALL, "dry_run")).lines and (photos / "dry_run.jpg").read_bytes() == mine


def test_a_ledger_is_replayed_by_the_bytes_of_the_photos(replay, photos, answers, tmp_path):
    replay(answers(*ALL))
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved, ignore=shutil.ignore_patterns("*.jsonl", "*.csv", "labels*"))
    (moved / "a.jpg").rename(moved / "renamed.jpg")
    assert replay(photos / "labels.sqlite", images=moved).lines["renamed.jpg"] == style_values(0)
    assert "is the ledger of out itself" in replay(photos / "labels.sqlite", code=2).err


@pytest.mark.parametrize(
    "content, word",
    [
        ("{no\n", "line 1: is broken JSON"),
        ('{"image": "a.jpg"}\n{"image": "a.jpg"}\n', "line 2: image 'a.jpg' already has an answer in line 1"),
        ('{"caption": "x"}\n', 'line 1: has no "image"'),
        ("\n", "contains no answers"),
    ],
)
def test_a_broken_recording_is_named(replay, tmp_path, content, word):
    (tmp_path / "broken.jsonl").write_text(content)
    assert word in replay(tmp_path / "broken.jsonl", code=2).err


def test_bad_photos_stop_or_are_left_out(replay, photos, answers):
    (photos / "bad.jpg").write_bytes(picture(9)[:100])
    (photos / "worse.png").write_bytes(b"")
    said = replay(answers(*ALL), code=2).err
    assert "2 of 8 photos cannot be used" in said and "bad.jpg" in said and "worse.png: is empty" in said
    assert "on_bad_image=exclude" in said
    done = replay(answers(*ALL), "on_bad_image=exclude")
    assert {image: row["status"] for image, row in done.failed.items()} == dict.fromkeys(
        ("bad.jpg", "worse.png"), "unreadable"
    )
    assert "left out, unreadable: 2 (bad.jpg, worse.png)" in done.err


@pytest.mark.integration
@pytest.mark.parametrize(
    "words, said",
    [
        ([], "images is required. Set images=FOLDER."),
        (["images=photos", "labeler=replay"], "labeler.file is required by labeler=replay"),
        (["images=photos", "schema=style,couple", "-m"], "style_match.label cannot be swept. Run one command for each"),
        (["images=photos", "schema=stlye"], "Did you mean schema=style?"),
        (["images=photos", "labeler.language=kr"], "labeler.language must be en or ko"),
        (["images=photos", "labeler.jpeg_quality=100"], "an integer >= 1 and <= 95"),
        (["images=photos", "labeler.max_cost_usd=-1"], "labeler.max_cost_usd must be a number >= 0"),
    ],
)
def test_mistakes_on_the_command_line_are_answered(command, photos, tmp_path, words, said):
    assert said in command(*words, code=2, typed=True).err
    assert not (photos / "labels.sqlite").exists() and not (tmp_path / "multirun").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["images=nowhere"], "images=nowhere: the folder does not exist"),
        (["images=empty"], "contains no photos"),
        (["images=photos", "labeler=replay", "labeler.file=no.jsonl"], "labeler.file=no.jsonl: cannot be read"),
        (["images=photos", "schema.leave_out=[captoin]"], "schema/style.yaml: leave_out: captoin is no attribute"),
        (["images=photos", "profiles=no.csv"], "profiles=no.csv: the file does not exist"),
        (["images=photos", "profiles=photos/a.jpg"], "the name must be profiles.csv or .parquet"),
        (["images=photos", "labeler.audit=no.csv"], "labeler.audit=no.csv: the file does not exist"),
        (["images=photos", "out=photos/a.jpg"], "Cannot write to photos/a.jpg"),
        (["images=photos", "labeler.folder=empty"], "labeler.folder=empty: contains no demo.json"),
    ],
)
def test_mistakes_are_answered(command, photos, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    assert said in command(*words, code=2).err
    assert not (photos / "labels.sqlite").exists()


@pytest.mark.integration
def test_a_schema_of_the_users_own_is_one_file(replay, answers, tmp_path):
    hats = tmp_path / "mine" / "schema" / "hats.yaml"
    hats.parent.mkdir(parents=True)
    hats.write_text(
        "name: hats\ntask: hats\nmodel: m\nlabel: null\nleave_out: []\ninstructions: Look.\ntext: '{attributes}'\n"
        "attributes:\n  hat:\n    description: the hat\n    classes: {Cap: a cap, Bare: none}\n"
    )
    words = [answers(*((name, {"hat": "Cap"}) for name in ALL)), "schema=hats", "--config-dir", "mine"]
    done = replay(*words, typed=True)
    assert "Cap" in done.out and done.lines["a.jpg"] == {"hat": "Cap"}
    hats.write_text(hats.read_text().replace("Bare: none", "Cap: none"))
    done = replay(*words, typed=True, code=2)
    assert "hats.yaml" in done.err and "found duplicate key Cap" in done.err
