"""The labeler's answers and files about the photos of the person are removed."""

import csv
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from style_match.labeling.answers import Answer, Status
from style_match.labeling.ledger import Ledger
from style_match.labeling.outputs import Failure, refuse_foreign, write_dry_run, write_failed, write_metadata
from style_match.utils.errors import UserError

from .conftest import World


def label(images: Path, out: Path, *names: str) -> None:
    """Write what `style_match.label images=... out=...` writes, with long captions."""
    photos = {name: (images / name).read_bytes() for name in names}
    hashes = {name: hashlib.sha256(photo).hexdigest() for name, photo in photos.items()}
    with Ledger(out) as ledger:
        refuse_foreign(out, images, ledger)
        for name, sha256 in hashes.items():
            request = SimpleNamespace(key=sha256[::-1], sha256=sha256, schema=SimpleNamespace(name="style"))
            answer = Answer(Status.ANSWERED, {"caption": f"a caption of {name} " * 500}, model="m")
            ledger.answered([(request, answer)])  # type: ignore[list-item]
        write_dry_run(out, ledger, b"an example photo")
        write_metadata(out, ledger, hashes)
    write_failed(out, [Failure(name, "refused", "no answer", 1) for name in names])


@pytest.mark.parametrize("out", ["images", "images/deep/er"])
def test_files_of_the_labeler(world: World, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = world.root / out
    label(world.root / "images", folder, "woman-0.png", "gent-1.png")
    world.forget(dry_run=True)
    output = capsys.readouterr().out
    for line in ("metadata.jsonl: 1 lines", "failed.csv: 1 rows", "dry_run.jpg: 1 files"):
        assert f"  {out}/{line}\n" in output
    assert f"  {folder / 'labels.sqlite'}: 1 answers of the labeler\n" in output
    world.forget()
    assert world.where(b"caption of woman-0", b"woman-0.png") == []
    (line,) = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["image"] == "gent-1.png"
    with open(folder / "failed.csv", encoding="utf-8", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["gent-1.png"]
    with Ledger(folder) as ledger:
        assert list(ledger.values()) == [world.sha256("images/gent-1.png")]
        assert refuse_foreign(folder, world.root / "images", ledger) == {"gent-1.png"}, "the labeler may replace it"


def test_photos_of_the_same_name_keep_their_lines(world: World) -> None:
    """A photo in another folder, and one named like the picture of a dry run."""
    (world.root / "images/more").mkdir()
    (world.root / "images/more/woman-0.png").write_bytes(b"somebody else")
    label(world.root / "images", world.root / "images", "woman-0.png", "more/woman-0.png")
    (world.root / "images/dry_run.jpg").write_bytes(b"a photo of a gent")
    world.forget()
    assert (world.root / "images/dry_run.jpg").read_bytes() == b"a photo of a gent"
    (line,) = (world.root / "images/metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["image"] == "more/woman-0.png"
    assert "more/woman-0.png,refused" in (world.root / "images/failed.csv").read_text(encoding="utf-8")


def test_photos_outside_of_the_dataset_folder(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.base / "photos").mkdir()
    (world.root / "images").rename(world.base / "photos/images")
    folder = world.base / "photos/images"
    label(folder, folder, "woman-0.png", "gent-1.png")
    world.forget(**{"data.image_root": world.base / "photos"})
    assert f"  {folder / 'metadata.jsonl'}: 1 lines\n" in capsys.readouterr().out
    assert not (folder / "woman-0.png").exists() and (folder / "gent-1.png").exists()
    for path in (*folder.iterdir(), world.root / "metadata.jsonl", world.root / "failed.csv"):
        assert b"woman-0" not in path.read_bytes(), path


def test_nothing_is_removed_while_a_labeler_runs(world: World) -> None:
    label(world.root / "images", world.root / "labels", "woman-0.png")

    def state() -> dict[str, bytes]:
        return {name: content for name, content in world.state().items() if "labels.sqlite-" not in name}

    before = state()
    with Ledger(world.root / "labels"), pytest.raises(UserError, match="Another process labels into"):
        world.forget()
    assert state() == before
