"""`python -m style_match.label` with recorded answers: what is asked, kept, merged, refused."""

import csv
import json
import os
import shutil

import pytest

from tests.labeling.makers import picture, style_values

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


def lines(out) -> dict[str, dict]:
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row.pop("image"): row for row in rows}


def failed(out) -> list[dict[str, str]]:
    with open(out / "failed.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def replay(command, photos):
    """`replay(file, *words)` labels the folder of photos."""

    def run(file, *words, code=0, images=photos):
        return command(f"images={images}", "labeler=replay", f"labeler.file={file}", *words, code=code)

    return run


@pytest.mark.integration
def test_answers_are_written_counted_and_not_asked_again(typed, photos, answers):
    words = [f"images={photos}", "labeler=replay", f"labeler.file={answers(*ALL)}"]
    printed = typed(*words)
    assert "style labels of 6 of 6 photos, labeler=replay" in printed and "Street_Hip" in printed
    assert list(lines(photos)) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "deep/f.jpg"]
    assert lines(photos)["b.jpg"] == style_values(1)
    assert failed(photos) == []
    before = (photos / "metadata.jsonl").read_bytes()
    typed(*words)
    assert "to send: nothing, all answers are stored" in typed.err and "6 of 6 are stored" in typed.err
    assert (photos / "metadata.jsonl").read_bytes() == before
    assert sorted(name for name in os.listdir(photos) if not name.endswith("jpg")) == [
        ".labels.lock",
        "deep",
        "failed.csv",
        "labels.sqlite",
        "metadata.jsonl",
    ]


def test_copies_are_asked_once_and_all_get_the_answer(replay, command, photos, answers):
    shutil.copy(photos / "a.jpg", photos / "z.jpg")
    replay(answers(*ALL))
    assert "photos: 7, 6 different" in command.err and "to send: 6 photos" in command.err
    assert lines(photos)["z.jpg"] == lines(photos)["a.jpg"] == style_values(0)


def test_a_few_failures_warn_and_many_fail(replay, command, photos, answers):
    bad = {**style_values(), "fashion_style": "Casual"}
    file = answers("a", "b", "c", "d", ("e", bad))
    said = replay(file, code=2)
    assert "2 of 6 photos have no answer, more than max_failed_share=0.05" in said and "failed.csv" in said
    assert [(row["image"], row["status"], row["attempts"]) for row in failed(photos)] == [
        ("e.jpg", "invalid", "1"),
        ("deep/f.jpg", "error", "1"),
    ]
    assert len(lines(photos)) == 4
    replay(file, "max_failed_share=0.5")
    assert "no answer, invalid: 1 (e.jpg)" in command.err and "4 of 6 are stored, 2 failed before" in command.err


def test_schemas_are_merged_and_nothing_is_lost(replay, command, photos, answers):
    replay(answers(*ALL))
    replay(answers(*((name, COUPLE) for name in ALL), name="couple.jsonl"), "schema=couple")
    assert lines(photos)["a.jpg"] == {**style_values(0), **COUPLE}
    replay(answers("a", name="less.jsonl"), code=2)  # five photos fail: they keep what they had
    assert "5 of these keep answers of earlier commands" in command.err
    assert set(lines(photos)) == {f"{name}.jpg" for name in ALL}


def test_a_left_out_attribute_is_removed_and_comes_back(replay, photos, answers):
    file = answers(*ALL)
    replay(file)
    replay(file, "schema.leave_out=[caption]")
    assert "caption" not in lines(photos)["a.jpg"]
    replay(file)
    assert "caption" in lines(photos)["a.jpg"]


def test_files_of_others_are_not_overwritten(replay, photos, answers):
    mine = '{"image": "a.jpg", "caption": "mine"}\n'
    (photos / "metadata.jsonl").write_text(mine)
    said = replay(answers(*ALL), code=2)
    assert "metadata.jsonl was written or changed by hand and is not overwritten. Move it away" in said
    assert (photos / "metadata.jsonl").read_text() == mine
    (photos / "metadata.jsonl").unlink()
    replay(answers(*ALL))
    with open(photos / "metadata.jsonl", "a") as file:
        file.write(mine)
    assert "changed by hand" in replay(answers(*ALL), code=2)
    (photos / "metadata.jsonl").unlink()
    (photos / "failed.csv").write_text("image,why\na.jpg,mine\n")
    assert "failed.csv was not written by this step and is not overwritten" in replay(answers(*ALL), code=2)
    assert (photos / "failed.csv").read_text() == "image,why\na.jpg,mine\n"


def test_one_out_is_about_one_folder(replay, command, photos, answers, tmp_path):
    out = tmp_path / "out"
    replay(answers(*ALL), f"out={out}")
    assert not (photos / "labels.sqlite").exists()
    shutil.copytree(photos, tmp_path / "others")
    said = replay(answers(*ALL), f"out={out}", images=tmp_path / "others", code=2)
    assert f"is about the photos in {photos}" in said
    (photos / "a.jpg").unlink()
    replay(answers(*ALL), f"out={out}")
    assert "1 photos of the previous metadata.jsonl are not labelled any more" in command.err
    assert "a.jpg" not in lines(out)


def test_an_interrupted_command_loses_no_answer(replay, command, photos, answers, monkeypatch):
    from style_match.labeling.offline import Replay

    def stop_after_two(self, requests, recorder, progress):
        for request in requests[:2]:
            recorder.store([(request, self._answer(request))])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Replay, "label", stop_after_two)
        replay(answers(*ALL), code=130)
    assert len(lines(photos)) == 2
    assert [row["status"] for row in failed(photos)] == ["unanswered"] * 4
    replay(answers(*ALL))
    assert "2 of 6 are stored" in command.err and len(lines(photos)) == 6


def test_texts_that_name_the_class_are_reported(replay, command, photos, answers):
    told = {**style_values(0), "caption": "a casual basic look"}
    replay(answers(("a", told), *ALL[1:]))
    assert "1 photos have texts that name their class" in command.err and "(a.jpg)" in command.err


def test_a_dry_run_shows_one_request_and_sends_nothing(replay, command, photos, answers):
    printed = replay(answers(*ALL), "labeler.dry_run=true")
    assert json.loads(printed)["answer"] == style_values(0)
    assert (photos / "dry_run.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert not (photos / "metadata.jsonl").exists() and "nothing was sent" in command.err
    replay(answers(*ALL))
    assert len(lines(photos)) == 6  # the file of the dry run is no photo


def test_a_photo_that_is_called_dry_run_is_a_photo(replay, photos, answers):
    (photos / "dry_run.jpg").write_bytes(mine := picture(8))
    said = replay(answers(*ALL, "dry_run"), "labeler.dry_run=true", code=2)
    assert "dry_run.jpg was not written by a dry run and is not overwritten" in said
    replay(answers(*ALL, "dry_run"))
    assert "dry_run.jpg" in lines(photos) and (photos / "dry_run.jpg").read_bytes() == mine
    (photos / "dry_run.jpg").unlink()
    for _ in range(2):
        replay(answers(*ALL), "labeler.dry_run=true")
    replay(answers(*ALL))
    assert set(lines(photos)) == {f"{name}.jpg" for name in ALL}


def test_a_ledger_is_replayed_by_the_bytes_of_the_photos(replay, photos, answers, tmp_path):
    replay(answers(*ALL))
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved, ignore=shutil.ignore_patterns("*.jsonl", "*.csv", "labels*"))
    (moved / "a.jpg").rename(moved / "renamed.jpg")
    replay(photos / "labels.sqlite", images=moved)
    assert lines(moved)["renamed.jpg"] == style_values(0)
    assert "is the ledger of out itself" in replay(photos / "labels.sqlite", code=2)


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
    assert word in replay(tmp_path / "broken.jsonl", code=2)


def test_bad_photos_stop_or_are_left_out(replay, command, photos, answers):
    (photos / "bad.jpg").write_bytes(picture(9)[:100])
    (photos / "worse.png").write_bytes(b"")
    said = replay(answers(*ALL), code=2)
    assert "2 of 8 photos cannot be used" in said and "bad.jpg" in said and "worse.png: is empty" in said
    assert "on_bad_image=exclude" in said
    replay(answers(*ALL), "on_bad_image=exclude")
    assert [(row["image"], row["status"]) for row in failed(photos)] == [
        ("bad.jpg", "unreadable"),
        ("worse.png", "unreadable"),
    ]
    assert "left out, unreadable: 2 (bad.jpg, worse.png)" in command.err


@pytest.mark.integration
@pytest.mark.parametrize(
    "words, said",
    [
        ([], "images is required. Set images=FOLDER."),
        (["images=photos", "labeler=replay"], "labeler.file is required by labeler=replay"),
        (
            ["images=photos", "schema=style,couple", "-m"],
            "style_match.label cannot be swept. Run one command for each",
        ),
        (["images=photos", "schema=stlye"], "Did you mean schema=style?"),
        (["images=photos", "labeler.language=kr"], "labeler.language must be en or ko"),
        (["images=photos", "labeler.jpeg_quality=100"], "an integer >= 1 and <= 95"),
        (["images=photos", "labeler.max_cost_usd=-1"], "labeler.max_cost_usd must be a number >= 0"),
    ],
)
def test_mistakes_on_the_command_line_are_answered(typed, photos, tmp_path, words, said):
    assert said in typed(*words, code=2)
    assert not (photos / "labels.sqlite").exists() and not (tmp_path / "multirun").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["images=nowhere"], "images=nowhere: the folder does not exist"),
        (["images=empty"], "contains no photos"),
        (["images=photos", "labeler=replay", "labeler.file=no.jsonl"], "labeler.file=no.jsonl: cannot be read"),
        (["images=photos", "schema.leave_out=[captoin]"], "schema/style.yaml: leave_out: captoin is no attribute"),
        (["images=photos", "profiles=no.csv"], "profiles=no.csv: the file does not exist"),
        (["images=photos", "labeler.audit=no.csv"], "labeler.audit=no.csv: the file does not exist"),
        (["images=photos", "out=photos/a.jpg"], "Cannot write to photos/a.jpg"),
        (["images=photos", "labeler.folder=empty"], "labeler.folder=empty: contains no demo.json"),
    ],
)
def test_mistakes_are_answered(command, photos, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    assert said in command(*words, code=2)
    assert not (photos / "labels.sqlite").exists()


@pytest.mark.integration
def test_a_schema_of_the_users_own_is_one_file(typed, photos, answers, tmp_path):
    (tmp_path / "mine" / "schema").mkdir(parents=True)
    (tmp_path / "mine" / "schema" / "hats.yaml").write_text(
        "name: hats\ntask: hats\nmodel: m\nlabel: null\nleave_out: []\ninstructions: Look.\ntext: '{attributes}'\n"
        "attributes:\n  hat:\n    description: the hat\n    classes: {Cap: a cap, Bare: none}\n"
    )
    file = answers(*((name, {"hat": "Cap"}) for name in ALL))
    words = [f"images={photos}", "schema=hats", "labeler=replay", f"labeler.file={file}", "--config-dir", "mine"]
    assert "Cap" in typed(*words)
    assert lines(photos)["a.jpg"] == {"hat": "Cap"}
    doubled = (tmp_path / "mine" / "schema" / "hats.yaml").read_text().replace("Bare: none", "Cap: none")
    (tmp_path / "mine" / "schema" / "hats.yaml").write_text(doubled)
    said = typed(*words, code=2)
    assert "hats.yaml" in said and "found duplicate key Cap" in said
