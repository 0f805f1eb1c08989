"""What the labeler wrote beside the photos of a dataset folder goes with the person."""

import csv
import hashlib
import json
from pathlib import Path

import pytest

from style_match.labeling.ledger import Ledger
from style_match.labeling.outputs import Failure, refuse_foreign, write_dry_run, write_failed, write_metadata

from .conftest import World
from .test_ledger import answer


def label(world: World, images: Path, out: Path, *names: str) -> None:
    """What `style_match.label images=... out=...` leaves behind, without its pictures."""
    photos = {name: (images / name).read_bytes() for name in names}
    with Ledger(out) as ledger:
        refuse_foreign(out, images, ledger)
        for name, photo in photos.items():
            answer(ledger, photo, f"a caption of {name}")
        write_dry_run(out, ledger, b"of anybody")
        write_metadata(out, ledger, {name: hashlib.sha256(photo).hexdigest() for name, photo in photos.items()})
    write_failed(out, [Failure(name, "refused", "no answer", 1) for name in names])


@pytest.mark.parametrize("out", ["images", "labels", "images/deep/er"])
def test_labels_of_the_folder_of_photos(world: World, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = world.root / out
    label(world, world.root / "images", folder, "woman-0.png", "gent-1.png")
    world.forget(dry_run=True)
    would = capsys.readouterr().out
    for line in ("metadata.jsonl: 1 lines", "failed.csv: 1 rows", "dry_run.jpg: 1 files"):
        assert f"  {out}/{line}\n" in would
    assert f"  {folder / 'labels.sqlite'}: 1 answers of the labeler\n" in would
    world.forget()
    assert world.where(b"caption of woman-0", b"woman-0.png") == []
    (line,) = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"image": "gent-1.png", "caption": "a caption of gent-1.png"}
    with open(folder / "failed.csv", encoding="utf-8", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["gent-1.png"]
    with Ledger(folder) as ledger:
        assert refuse_foreign(folder, world.root / "images", ledger) == {"gent-1.png"}


def test_a_photo_of_the_same_name_in_another_folder_keeps_its_lines(world: World) -> None:
    (world.root / "images/more").mkdir()
    (world.root / "images/more/woman-0.png").write_bytes(b"somebody else")
    label(world, world.root / "images", world.root / "images", "woman-0.png", "more/woman-0.png")
    world.forget()
    (line,) = (world.root / "images/metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["image"] == "more/woman-0.png"
    assert "more/woman-0.png,refused" in (world.root / "images/failed.csv").read_text(encoding="utf-8")


def test_photos_outside_of_the_dataset_folder(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.base / "photos").mkdir()
    (world.root / "images").rename(world.base / "photos/images")
    folder = world.base / "photos/images"
    label(world, folder, folder, "woman-0.png", "gent-1.png")
    world.forget(**{"data.image_root": str(world.base / "photos")})  # type: ignore[arg-type]
    assert f"  {folder / 'metadata.jsonl'}: 1 lines\n" in capsys.readouterr().out
    assert not (folder / "woman-0.png").exists() and (folder / "gent-1.png").exists()
    for path in folder.iterdir():
        assert b"woman-0" not in path.read_bytes(), path


def test_a_photo_that_is_called_as_a_dry_run_stays(world: World) -> None:
    label(world, world.root / "images", world.root / "images", "woman-0.png")
    (world.root / "images/dry_run.jpg").write_bytes(b"a photo of a gent")
    world.forget()
    assert (world.root / "images/dry_run.jpg").read_bytes() == b"a photo of a gent"


def test_looks_that_prepare_remembers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    from style_match.curation.duplicates import MEMO
    from style_match.utils.cache import Memo

    hers, his = (hashlib.sha256(world.photos[f"images/{name}.png"]).hexdigest() for name in ("woman-0", "gent-1"))
    memo = Memo(world.cache / MEMO)
    for sha256 in (hers, his):
        memo.put(f"{sha256} prepare v1", [sha256, 8, 8, ".png", "", "ff", "ff"])
    memo.close()
    for dry_run in (True, False):
        world.forget(dry_run=dry_run)
        assert "  remembered looks of photos: 1 entries\n" in capsys.readouterr().out
    content = (world.cache / MEMO).read_bytes()
    assert hers.encode() not in content and his.encode() in content
