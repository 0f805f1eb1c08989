"""After the command nothing of the person is left, nobody else's data is changed, and the printed list is right."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.csv
import pytest
from PIL import Image
from pyarrow import parquet

from style_match.curation.forgotten import hashed
from style_match.data.dataset import read_folder
from style_match.data.fingerprints import Fingerprints
from style_match.data.splits import make_split
from style_match.serving.web.running import registered
from style_match.utils.errors import UserError

from .conftest import CAPTION, HER, World

IMAGES = ("images/woman-0.png", "images/later.png")
NAMES = (b"woman-0.png", b"woman-0-later", b"woman-0\n", b"woman-0,", b"later.png", CAPTION.encode())


def test_nothing_of_the_person_is_left(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    photos = [world.photos[image] for image in IMAGES]
    hashes = [world.sha256(image).encode() for image in (*IMAGES, "images/gent-1.png")]
    assert len(world.where(*photos)) == 3 and len(world.where(b"woman-0")) > 5
    world.forget()
    assert world.where(*photos, *NAMES, b"woman-0") == [str(world.root / "rejected.csv")]
    assert "no woman-00" in (world.root / "rejected.csv").read_text(), "another profile's id starts alike"
    remembered = (world.cache / "fingerprints.sqlite").read_bytes()
    assert [each in remembered for each in hashes] == [False, False, True]
    output = capsys.readouterr().out
    tables = ("couples.csv: 2 rows", "profiles.csv: 2 rows", "rejected.csv: 2 rows", "failed.csv: 1 rows")
    features = f"{world.cache / 'features'}: 3 rows of features"
    for line in (*tables, "metadata.jsonl: 2 lines", "photos: 3 files", "prepared.html: 1 files", features):
        assert f"  {line}\n" in output
    assert "note: profile woman-0-later belongs to woman-0: same user_id" in output
    assert "note: profile woman-3 has a near copy of a photo and stays; near_copies=true removes it" in output
    assert "not removed: the source named in prepared.json" in output


def test_everybody_else_stays_byte_for_byte(world: World) -> None:
    (world.root / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + (world.root / "metadata.jsonl").read_bytes())
    (split,) = (f"splits/{path.name}" for path in (world.root / "splits").glob("*.csv"))
    before = {
        name: (world.root / name).read_bytes().splitlines(keepends=True)
        for name in ("profiles.csv", "couples.csv", "metadata.jsonl", split)
    }
    world.forget()
    for name, lines in before.items():
        others = [line for line in lines if not any(hers in line for hers in NAMES)]
        assert (world.root / name).read_bytes() == b"".join(others) and len(others) < len(lines), name
    folder = read_folder(world.root, task="couple")
    assert len(folder.couples) == 11 and not set(HER) & set(folder.profile_ids)
    after = (world.root / split).read_bytes()
    make_split(folder, seed=0, fractions=(0.5, 0.25, 0.25))
    assert (world.root / split).read_bytes() == after, "nobody is drawn again"
    others = [image for image in world.photos if image not in IMAGES]
    assert world.store.missing([world.address(image) for image in others]) == []
    assert len(world.store.missing([world.address(image) for image in world.photos])) == 2
    assert all((world.root / image).read_bytes() == world.photos[image] for image in others)


def test_forgotten_json_names_nobody(world: World) -> None:
    world.forget()
    text = (world.root / "forgotten.json").read_text(encoding="utf-8")
    (entry,) = json.loads(text)
    assert not any(name.decode() in text for name in (*NAMES, b"woman-0", b"later"))
    assert entry["trained_on_them"] == [str(world.runs / "one")]
    assert {"where": "couples.csv", "what": "rows", "count": 2} in entry["removed"]
    for profile_id, found in zip(HER, entry["profiles"], strict=True):
        salt = bytes.fromhex(found["salt"])
        assert found == hashed(profile_id, salt) != hashed("woman-1", salt)
    world.forget(["gent-3", "gent-4"])
    assert not {"gent-3", "gent-4"} & world.ids()
    assert len(json.loads((world.root / "forgotten.json").read_text(encoding="utf-8"))) == 2


def test_dry_run_removes_nothing_and_prints_the_same_list(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = world.state()
    with registered("http://127.0.0.1:7860", world.root):
        world.forget(dry_run=True)
    listed = capsys.readouterr().out
    assert world.state() == before
    assert listed.endswith("dry_run=true: nothing was removed\n")
    assert "running app: http://127.0.0.1:7860 (process " in listed
    world.forget()
    removed = capsys.readouterr().out
    places = [line for line in removed.splitlines() if line.startswith("  ")]
    assert places == [line for line in listed.splitlines() if line.startswith("  ")] and len(places) > 10
    assert "running app" not in removed


def test_runs_and_matchers_are_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    matchers = world.base / "matchers"
    (matchers / "m").mkdir(parents=True)
    (matchers / "m/seen.txt").write_text((world.runs / "one/seen.txt").read_text())
    world.forget(runs=[str(world.runs), str(matchers)])
    output = capsys.readouterr().out
    trained = f"  {matchers / 'm'}\n  {world.runs / 'one'}\n"
    assert f"2 runs and matchers (not removed; train them again)\n{trained}" in output
    for name in ("ranks.parquet", "embeddings.safetensors", "report.html"):
        assert f"not removed: {world.runs / 'two' / name}: holds the person; runs_too=true removes it" in output
        assert (world.runs / "two" / name).exists()
        assert str(world.runs / "one" / name) not in output


def test_runs_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Recommendations and report pages of other steps go too; lists without the person stay."""
    for name, who in (("recommend", "woman-0"), ("search", "woman-0-later"), ("others", "woman-00")):
        (folder := world.runs / name).mkdir()
        (folder / "recommendations.html").write_text(f"<td>{who}</td>", encoding="utf-8")
        (folder / "recommendations.json").write_text(json.dumps({"query": who}), encoding="utf-8")
        parquet.write_table(pyarrow.table({"recommended": [who]}), folder / "recommendations.parquet")
    (world.runs / "report.html").write_text('<img src="data:image/jpeg;base64,AAAA">')
    with open(world.runs / "two/config.yaml", "a") as file:
        file.write("logger: {log_images: true}\n")
    (world.runs / "two/wandb").mkdir()
    world.forget(runs_too=True)
    output = capsys.readouterr().out
    assert sorted(path.name for path in (world.runs / "two").iterdir()) == ["config.yaml", "seen.txt", "wandb"]
    assert len(list((world.runs / "one").iterdir())) == 5 and not (world.runs / "report.html").exists()
    assert {path.parent.name for path in world.runs.rglob("recommendations.*")} == {"others"}
    assert f"  {world.runs / 'two' / 'ranks.parquet'}: 1 files" in output and "holds the person" not in output
    assert f"not removed: {world.runs / 'two/wandb'}: pictures for a logger" in output


def test_the_same_id_in_a_run_of_another_dataset_is_somebody_else(world: World) -> None:
    (world.runs / "two/config.yaml").write_text("data: {root: elsewhere}\n")
    (world.runs / "two/seen.txt").write_text("0\n")
    world.forget(runs_too=True)
    assert len(list((world.runs / "two").iterdir())) == 5


def test_near_copies(world: World) -> None:
    world.forget(near_copies=True)
    assert not {*HER, "woman-3"} & world.ids()


@pytest.mark.parametrize("has_user", [True, False])
def test_the_same_photo_in_another_profile(world: World, has_user: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The photo stays for another user; a profile without a user_id is the same person."""
    (world.root / "images/gent-8.png").write_bytes(world.photos["images/gent-7.png"])
    if not has_user:
        world.edit("profiles.csv", "user of gent-8", "")
    world.forget("gent-7")
    assert ({"gent-7", "gent-8"} & world.ids() == {"gent-8"}) is has_user
    assert (world.store.missing([world.address("images/gent-7.png")]) == []) is has_user
    assert (world.where(world.photos["images/gent-7.png"]) != []) is has_user
    message = "note: images/gent-7.png and its features stay: a profile with another user_id"
    assert (message in capsys.readouterr().out) is has_user


def test_copies_with_other_bytes_go_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The same pixels with other metadata or another format: in a profile without user_id, in no table, in a run."""
    with Image.open(world.root / "images/gent-7.png") as image:
        for name in ("gent-8.png", "exported.webp"):
            exif = Image.Exif()
            exif[0x010E] = name
            image.save(world.root / "images" / name, exif=exif, lossless=True)
    facts = Fingerprints(None).photo(world.root / "images/gent-8.png")
    assert facts.sha256 != world.sha256("images/gent-7.png")
    (world.runs / "two/seen.txt").write_text(f"pixels {facts.pixels}\n")
    world.edit("profiles.csv", "user of gent-8", "")
    world.forget("gent-7")
    assert not {"gent-7", "gent-8"} & world.ids()
    left = {path.name for path in (world.root / "images").iterdir()}
    assert not {"gent-7.png", "gent-8.png", "exported.webp"} & left and "gent-6.png" in left
    assert f"  {world.runs / 'two'}\n" in capsys.readouterr().out


def test_what_a_killed_prepare_left_goes_too(world: World) -> None:
    (world.root / ".partial/photos").mkdir(parents=True)
    (world.root / ".partial/photos/woman-0.png").write_bytes(world.photos["images/woman-0.png"])
    (world.root / ".partial/profiles.csv").write_text("profile_id,image\nwoman-0,photos/woman-0.png\n")
    world.forget()
    assert not [path for path in (world.root / ".partial").rglob("*") if path.is_file()]


def test_mistakes_change_nothing(world: World) -> None:
    before = world.state()
    for message, options in (
        (r"profile=womann-3: no such profile in the profiles of .* \(did you mean ", {"profile": "womann-3"}),
        ("profile=12 is not an id. In a YAML file, write ids in quotes", {"profile": 12}),  # YAML reads 1_2 as 12
        ("runs=nowhere: there is no such folder", {"runs": "nowhere"}),
        ("data.root=dta: there is no such folder", {"data.root": "dta"}),
    ):
        with pytest.raises(UserError, match=message):
            world.forget(**options)
    for name in ("profiles.csv", "couples.csv"):
        content = (world.root / name).read_text()
        (world.root / name).write_text(content + '"an open quote\n')
        with pytest.raises(UserError, match=f"{name}.*line"):
            world.forget()
        (world.root / name).write_text(content)
    assert world.state() == before


def test_parquet_tables(world: World) -> None:
    for stem in ("profiles", "couples"):
        parquet.write_table(pyarrow.csv.read_csv(world.root / f"{stem}.csv"), world.root / f"{stem}.parquet")
        (world.root / f"{stem}.csv").unlink()
    world.forget()
    folder = read_folder(world.root, task="couple")
    assert len(folder.couples) == 11 and not set(HER) & set(folder.profile_ids)
    assert world.where(b"woman-0-later", b"images/woman-0.png") == []


def test_rows_left_out_or_without_an_image(world: World) -> None:
    lines = (world.root / "profiles.csv").read_text().splitlines()
    rows = [f"{lines[0]},left_out", *(f"{line},{'Low' if 'later' in line else ''}" for line in lines[1:])]
    rows += ["woman-0,,user of woman-0,,", "woman-1,,user of woman-1,,"]
    (world.root / "profiles.csv").write_text("\n".join(rows) + "\n")
    world.forget()
    others = [row for row in rows if not row.startswith("woman-0")]
    assert (world.root / "profiles.csv").read_text().splitlines() == others
    assert world.where(world.photos["images/later.png"]) == []


def test_links_to_a_photo(world: World) -> None:
    (world.base / "photos").mkdir()
    (world.root / "images/woman-0.png").rename(world.base / "photos/a.png")
    (world.root / "images/woman-0.png").symlink_to(world.base / "photos/a.png")
    world.forget(**{"data.image_root": world.base})
    assert not (world.base / "photos/a.png").exists() and not (world.root / "images/woman-0.png").is_symlink()


class Killed(BaseException):
    pass


def limited(function: Callable, calls: Iterator[int]) -> Callable:
    """Let the process end at a call once `calls` is used up."""

    def call(*args: object, **keywords: object) -> object:
        if next(calls, None) is None:
            raise Killed
        return function(*args, **keywords)

    return call


@pytest.mark.parametrize("first", [0, 1, 2])
def test_the_same_command_finishes(world: World, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """The process ends before its n-th call that puts a file into its place or deletes one; so do the next ones."""
    num_killed = 0
    for allowed in range(first, first + 100, 3):
        calls = iter(range(allowed))
        with monkeypatch.context() as patch:
            for module, name in ((os, "replace"), (os, "unlink"), (Path, "unlink")):
                patch.setattr(module, name, limited(getattr(module, name), calls))
            try:
                world.forget(runs_too=True)
                break
            except Killed:
                num_killed += 1
        if (world.root / ".forget.json").exists():
            with pytest.raises(UserError, match=r"removal of profile=\[woman-0\] was interrupted. Run that command ag"):
                world.forget("gent-3")
    assert num_killed > 0
    photos = [world.photos[image] for image in IMAGES]
    assert world.where(*photos, b"woman-0,", b"woman-0.png", b"woman-0-later", CAPTION.encode()) == []
    assert not (world.root / ".forget.json").exists()
    assert sorted(path.name for path in (world.runs / "two").iterdir()) == ["config.yaml", "seen.txt"]
    assert world.store.missing([world.address("images/gent-3.png")]) == []
    entry, *_ = json.loads((world.root / "forgotten.json").read_text())
    assert {"where": "profiles.csv", "what": "rows", "count": 2} in entry["removed"]
