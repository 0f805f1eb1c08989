"""After the command nothing of the person is left, nothing of anybody else is changed, and the list is right."""

import hashlib
import json
import sqlite3
from pathlib import Path

import pyarrow
import pyarrow.csv
import pytest
import torch
import yaml
from pyarrow import parquet
from safetensors.numpy import load_file

from style_match.backbone.feature_key import row_address
from style_match.curation.forget import trained_on
from style_match.curation.forgotten import hashed
from style_match.data.dataset import read_folder
from style_match.data.fingerprints import Fingerprints
from style_match.data.images import DECODE_POLICY
from style_match.data.prompt import render
from style_match.data.splits import make_split
from style_match.serving.index.folder import known_indexes
from style_match.utils.errors import UserError

from .conftest import CAPTION, HER, World

NAMES = (b"woman-0.png", b"woman-0-later", b"woman-0\n", b"woman-0,", b"later.png", CAPTION.encode())


def test_nothing_of_her_is_left(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    photos = [world.photos[image] for image in ("images/woman-0.png", "images/later.png")]
    assert len(world.where(*photos)) == 3 and len(world.where(b"woman-0")) > 5
    world.forget()
    assert world.where(*photos, *NAMES, b"woman-0", CAPTION.encode()) == [str(world.root / "rejected.csv")]
    assert "no woman-00" in (world.root / "rejected.csv").read_text(), "of another profile, whose id begins alike"
    said = capsys.readouterr().out
    for line in ("couples.csv: 2 rows", "profiles.csv: 2 rows", "metadata.jsonl: 2 lines", "rejected.csv: 2 rows"):
        assert f"  {line}\n" in said
    for line in ("failed.csv: 1 rows", "photos: 3 files", "prepared.html: 1 files"):
        assert f"  {line}\n" in said
    assert f"{world.cache / 'features'}: 3 rows of features" in said
    assert "note: profile woman-0-later goes with woman-0" in said
    assert "note: profile woman-3 has a near copy of one of the photos and stays: near_copies=true forgets it" in said
    assert "the source that prepared.json names" in said


def test_everybody_else_stays_as_they_are(world: World) -> None:
    names = (
        "profiles.csv",
        "couples.csv",
        "metadata.jsonl",
        *(f"splits/{p.name}" for p in (world.root / "splits").glob("*.csv")),
    )
    before = {name: (world.root / name).read_text().splitlines() for name in names}
    assert len(names) == 5
    world.forget()
    for name, lines in before.items():
        hers = ("woman-0", "images/woman-0.png", "images/later.png")
        kept = [
            line for line in lines if not any(f"{each}{end}" in line for each in hers for end in (",", '"', "-later"))
        ]
        assert (world.root / name).read_text().splitlines() == kept and len(kept) < len(lines), name
    folder = read_folder(world.root, task="couple")
    assert len(folder.couples) == 11 and not set(HER) & set(folder.profile_ids)
    make_split(folder, seed=0, fractions=(0.5, 0.25, 0.25))  # nobody is drawn anew: the file stays
    assert (world.root / names[3]).read_text().splitlines()
    others = [image for image in world.photos if image not in ("images/woman-0.png", "images/later.png")]
    assert world.store.missing([world.address(image) for image in others]) == []
    assert len(world.store.missing([world.address(image) for image in world.photos])) == 2
    assert all((world.root / image).read_bytes() == world.photos[image] for image in others)


def test_the_written_list_tells_what_was_removed_and_not_who(world: World) -> None:
    world.forget()
    text = (world.root / "forgotten.json").read_text(encoding="utf-8")
    (entry,) = json.loads(text)
    assert not any(name.decode() in text for name in (*NAMES, b"woman-0", b"later"))
    assert entry["trained_on_them"] == [str(world.runs / "one")]
    assert {"where": "couples.csv", "what": "rows", "count": 2} in entry["removed"]
    for profile_id, kept in zip(HER, entry["profiles"], strict=True):
        assert kept == hashed(profile_id, bytes.fromhex(kept["salt"])) != hashed("woman-1", bytes.fromhex(kept["salt"]))
    world.forget("gent-4")
    assert len(json.loads((world.root / "forgotten.json").read_text(encoding="utf-8"))) == 2


def test_rows_that_do_not_tell_whose_they_are(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.forget()
    said = capsys.readouterr().out
    assert f"not removed: {world.store.folder}: 1 rows of an older version do not tell whose they are" in said
    assert "delete this folder" in said


def test_dry_run_removes_nothing_and_tells_the_same(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = world.state(but=("fingerprints.sqlite",))
    world.forget(dry_run=True)
    would = capsys.readouterr().out
    assert world.state(but=("fingerprints.sqlite",)) == before
    assert would.endswith("dry_run=true: nothing was removed\n")
    world.forget()
    done = capsys.readouterr().out
    listed = [line for line in done.splitlines() if line.startswith("  ")]
    assert listed == [line for line in would.splitlines() if line.startswith("  ")] and len(listed) > 12


def test_matchers_that_learnt_from_her(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.forget()
    said = capsys.readouterr().out
    assert f"1 runs and matchers (listed, not removed; train them anew)\n  {world.runs / 'one'}\n" in said
    for name in ("ranks.parquet", "embeddings.safetensors", "report.html"):
        assert f"not removed: {world.runs / 'two' / name}: holds the person; runs_too=true removes it" in said
        assert (world.runs / "two" / name).exists()
        assert str(world.runs / "one" / name) not in said
    assert trained_on(["0" * 64], [world.runs]) == []


def test_an_exported_matcher_is_named_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    matchers = world.base / "matchers"
    (matchers / "m").mkdir(parents=True)
    (matchers / "m/seen.txt").write_text((world.runs / "one/seen.txt").read_text())
    world.forget(runs=[str(world.runs), str(matchers)])
    assert (
        f"2 runs and matchers (listed, not removed; train them anew)\n  {matchers / 'm'}\n" in capsys.readouterr().out
    )


def test_rows_of_an_older_version_under_a_prompt_that_a_run_tells_of(world: World) -> None:
    prompt = {
        "name": "own",
        "image": True,
        "metadata": True,
        "system": "S.",
        "instruction": "I",
        "template": "{metadata}",
    }
    options = {name: prompt[name] for name in ("image", "system", "instruction", "template")}
    text = render(metadata={"caption": CAPTION}, leave_out=(), **options)  # type: ignore[arg-type]
    address = row_address(hashlib.sha256(world.photos["images/later.png"]).hexdigest(), DECODE_POLICY, text)
    with world.store.writer() as writer:
        writer.add(address, {"mean": torch.zeros(3)})
    config = {"data": {"root": "elsewhere", "label_column": "mood"}, "prompt": prompt}
    (world.runs / "two/config.yaml").write_text(yaml.safe_dump(config))
    world.forget()
    assert world.store.missing([address]) == [address]


def test_runs_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.forget(runs_too=True)
    said = capsys.readouterr().out
    assert sorted(path.name for path in (world.runs / "two").iterdir()) == ["config.yaml", "seen.txt"]
    assert len(list((world.runs / "one").iterdir())) == 5
    assert f"  {world.runs / 'two' / 'ranks.parquet'}: 1 files" in said and "holds the person" not in said


def test_near_copies_go_when_asked(world: World) -> None:
    world.forget(near_copies=True)
    assert "woman-3" not in (world.root / "profiles.csv").read_text()


def test_several_people(world: World) -> None:
    world.forget(["gent-3", "gent-4"])
    folder = read_folder(world.root, task="couple")
    assert len(folder.couples) == 11 and not {"gent-3", "gent-4"} & set(folder.profile_ids)


def test_the_same_photo_of_another_user_stays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "images/gent-8.png").write_bytes(world.photos["images/gent-7.png"])
    world.forget("gent-7")
    assert "note: images/gent-7.png and its features stay: a profile with another user_id" in capsys.readouterr().out
    assert (world.root / "images/gent-8.png").exists()
    assert "gent-7" not in (world.root / "profiles.csv").read_text()
    assert world.store.missing([world.address("images/gent-7.png")]) == []


def test_the_same_photo_without_a_user_is_the_same_person(world: World) -> None:
    (world.root / "images/gent-8.png").write_bytes(world.photos["images/gent-7.png"])
    text = (world.root / "profiles.csv").read_text().replace("user of gent-8", "")
    (world.root / "profiles.csv").write_text(text)
    world.forget("gent-7")
    assert world.where(world.photos["images/gent-7.png"], b"gent-7", b"gent-8") == []


def test_an_unknown_profile(world: World) -> None:
    before = world.state(but=("fingerprints.sqlite",))
    with pytest.raises(
        UserError, match=r"profile=womann-3: no such profile in the profiles of .*; the nearest are woman-3"
    ):
        world.forget("womann-3")
    with pytest.raises(UserError, match=r"profile=1.5: is no id. In a YAML, write an id in quotes"):
        world.forget(1.5)
    with pytest.raises(UserError, match=r"profile=12: is no id"):  # a YAML's 1_2, too
        world.forget(12)
    with pytest.raises(UserError, match=r"runs=nowhere: there is no such folder"):
        world.forget(runs="nowhere")
    assert world.state(but=("fingerprints.sqlite",)) == before


def test_parquet_tables(world: World) -> None:
    for stem in ("profiles", "couples"):
        parquet.write_table(pyarrow.csv.read_csv(world.root / f"{stem}.csv"), world.root / f"{stem}.parquet")
        (world.root / f"{stem}.csv").unlink()
    world.forget()
    folder = read_folder(world.root, task="couple")
    assert len(folder.couples) == 11 and not set(HER) & set(folder.profile_ids)
    assert world.where(b"woman-0-later", b"images/woman-0.png") == []


def test_the_memory_of_hashes_keeps_the_others(world: World) -> None:
    world.forget()
    with sqlite3.connect(world.cache / "fingerprints.sqlite") as memo:
        (count,) = memo.execute("SELECT count(*) FROM memo").fetchone()
    assert count == 2 * (len(world.photos) - 2)
    assert Fingerprints(world.cache / "fingerprints.sqlite").sha256(world.root / "images/gent-1.png")


def test_the_index_loses_her(world: World) -> None:
    (known,) = known_indexes()

    def held() -> str:
        (path,) = known.folder.glob("data-*.safetensors")
        return str(parquet.read_table(pyarrow.BufferReader(load_file(path)["profiles"].tobytes())).to_pydict())

    assert "'woman-0'" in held()
    world.forget()
    assert "'gent-5'" in held() and "woman-0'" not in held() and "woman-0-later" not in held()


def test_what_mentions_her_elsewhere_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "notes.txt").write_text("woman-0 called; woman-00 did not")
    (world.root / "woman-0.txt").write_text("about woman-0")
    world.forget()
    said = capsys.readouterr().out
    assert "not removed: notes.txt mentions the person: look at it yourself" in said
    assert "not removed: a file whose name tells the person mentions" in said


def test_a_photo_that_was_left_out(world: World) -> None:
    lines = (world.root / "profiles.csv").read_text().splitlines()
    rows = [f"{lines[0]},left_out", *(f"{line},{'Low' if 'later' in line else ''}" for line in lines[1:])]
    (world.root / "profiles.csv").write_text("\n".join(rows) + "\n")
    world.forget()
    assert world.where(world.photos["images/later.png"], b"woman-0-later") == []


@pytest.mark.parametrize("name", ["profiles.csv", "couples.csv"])
def test_a_table_that_cannot_be_read_is_told_before_anything_is_removed(world: World, name: str) -> None:
    path: Path = world.root / name
    path.write_text(path.read_text() + '"an open quote\n')
    before = world.state(but=("fingerprints.sqlite",))
    with pytest.raises(UserError, match=f"{name}.*line"):
        world.forget()
    assert world.state(but=("fingerprints.sqlite",)) == before


def test_recommendations_that_show_her(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Of other steps below the roots; a list without her stays unnamed."""
    for name, who in (("recommend", "woman-0"), ("search", "woman-0-later"), ("others", "woman-00")):
        folder = world.runs / name
        folder.mkdir()
        (folder / "recommendations.html").write_text(f"<td>{who}</td>", encoding="utf-8")
        (folder / "recommendations.json").write_text(json.dumps({"query": who}), encoding="utf-8")
        parquet.write_table(pyarrow.table({"recommended": [who]}), folder / "recommendations.parquet")
    world.forget(dry_run=True)
    said = capsys.readouterr().out
    hers = [path for path in sorted(world.runs.rglob("recommendations.*")) if path.parent.name != "others"]
    assert len(hers) == 6
    for path in world.runs.rglob("recommendations.*"):
        assert (f"{path}: holds the person; runs_too=true removes it" in said) == (path in hers)
    world.forget(runs_too=True)
    assert {path.parent.name for path in world.runs.rglob("recommendations.*")} == {"others"}
