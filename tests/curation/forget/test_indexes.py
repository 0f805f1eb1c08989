"""Indexes that cannot be read never keep somebody from being forgotten, and running apps are named."""

import json
from pathlib import Path

import pytest

from style_match.serving.index.folder import known_indexes
from style_match.serving.web.running import registered
from style_match.utils.errors import UserError

from .conftest import HER, World


def rewritten(folder: Path, **changes: object) -> None:
    """Change values of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe"),
        lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: rewritten(folder, format=2),
        lambda folder: rewritten(folder, format="1"),
        lambda folder: rewritten(folder, options={"query_block": 1, "of_the_future": 2}),
        lambda folder: rewritten(folder, kind="of the future"),
        lambda folder: rewritten(folder, file=None),
        lambda folder: rewritten(folder, file="../profiles.csv"),
        lambda folder: [path.write_bytes(b"PAR1") for path in folder.glob("*.safetensors")],
        lambda folder: [path.unlink() for path in folder.glob("*.safetensors")],
    ],
)
def test_an_index_that_cannot_be_read_is_deleted_whole(world: World, spoil, capsys) -> None:
    (known,) = known_indexes()
    spoil(known.folder)
    world.forget()
    assert [path.name for path in known.folder.iterdir()] == [".lock"]
    assert world.where(b"woman-0-later", b"images/woman-0.png") == []
    assert "removed:" in capsys.readouterr().out
    assert not (world.root / ".forget.json").exists()


def test_other_files_in_it_are_named_and_the_rest_is_done(world: World, capsys) -> None:
    (known,) = known_indexes()
    (known.folder / "manifest.json").write_text("{")
    (known.folder / "vectors.npz").write_bytes(b"of another version")
    with pytest.raises(UserError, match=r"but not vectors\.npz: delete .*\nAll else is removed\. Correct this"):
        world.forget()
    assert not set(HER) & {line.partition(",")[0] for line in (world.root / "profiles.csv").read_text().splitlines()}
    (known.folder / "vectors.npz").unlink()
    world.forget()
    assert json.loads((world.root / "forgotten.json").read_text())
    assert not (world.root / ".forget.json").exists()


def test_a_damaged_list_of_indexes_does_not_stop_the_rest(world: World, capsys) -> None:
    path = world.cache / "indexes" / "known.json"
    path.write_text("{")
    world.forget(dry_run=True)
    assert "the list of all indexes, cannot be read" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"the list of all indexes, cannot be read.*\n.*All else is removed"):
        world.forget()
    assert "woman-0," not in (world.root / "profiles.csv").read_text()
    path.unlink()
    world.forget()
    assert (world.root / "forgotten.json").exists()


def test_an_index_that_is_not_there_is_named(world: World, capsys) -> None:
    path = world.cache / "indexes" / "known.json"
    entries = json.loads(path.read_text())
    (about,) = entries.values()
    path.write_text(json.dumps({**entries, "/mnt/away/exact": about}))
    for dry_run in (True, False):
        world.forget(dry_run=dry_run)
        told = "not removed: index /mnt/away/exact: it is not there; if its disk is only not mounted, mount it"
        assert told in capsys.readouterr().out
    (entry,) = json.loads((world.root / "forgotten.json").read_text())
    assert any("/mnt/away/exact" in line for line in entry["not_removed"])


def test_running_apps_are_named(world: World, tmp_path: Path, capsys) -> None:
    with registered("http://127.0.0.1:7860", world.root):
        world.forget(dry_run=True)
        assert "running app: http://127.0.0.1:7860 (process " in capsys.readouterr().out
        world.forget()
        assert "running app: http://127.0.0.1:7860 (process " in capsys.readouterr().out
    with registered("http://127.0.0.1:7861", tmp_path):
        world.forget("gent-5", dry_run=True)
    world.forget("gent-5", dry_run=True)
    assert "running app" not in capsys.readouterr().out
