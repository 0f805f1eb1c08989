"""Indexes lose the person; those that cannot be read or reached never stop the removal elsewhere."""

import json

import pytest

from style_match.serving.index.folder import known_indexes
from style_match.utils.errors import UserError

from .conftest import HER, World


@pytest.mark.parametrize("damage", ["none", "other data", "no data", "another version"])
def test_the_files_of_an_index_are_deleted(world: World, damage: str) -> None:
    (known,) = known_indexes()
    graph = known.folder / "graph.safetensors"
    if damage == "other data":
        graph.write_bytes(b"PAR1")
    elif damage != "none":
        graph.unlink()
    if damage == "another version":
        (known.folder / "profiles.parquet").write_bytes(b"woman-0-later")
    world.forget()
    assert [path.name for path in known.folder.iterdir()] == [".lock"]
    assert world.where(b"woman-0-later", b"images/woman-0.png") == []
    assert not (world.root / ".forget.json").exists()


def test_a_failing_index_is_named_and_everything_else_is_done(world: World) -> None:
    path = world.cache / "indexes" / "known.json"
    entries = json.loads(path.read_text())
    for about in entries.values():
        about.update(url="http://127.0.0.1:1", collection="people")
    path.write_text(json.dumps(entries))
    with pytest.raises(
        UserError, match=r"cannot be reached.*\nEverything else was removed\. Fix this and run the same"
    ):
        world.forget()
    assert not any(each in (world.root / "profiles.csv").read_text() for each in ("woman-0,", *HER[1:]))
    path.unlink()
    world.forget()
    assert json.loads((world.root / "forgotten.json").read_text())
    assert not (world.root / ".forget.json").exists()


def test_a_damaged_list_of_indexes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = world.cache / "indexes" / "known.json"
    path.write_text("{")
    world.forget(dry_run=True)
    assert f"not removed: {path}" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"known\.json.*\n.*Everything else was removed"):
        world.forget()
    assert "woman-0," not in (world.root / "profiles.csv").read_text()
    path.unlink()
    world.forget()
    assert (world.root / "forgotten.json").exists()


def test_an_index_on_a_missing_disk_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = world.cache / "indexes" / "known.json"
    entries = json.loads(path.read_text())
    (about,) = entries.values()
    path.write_text(json.dumps({**entries, "/mnt/away/exact": about}))
    for dry_run in (True, False):
        world.forget(dry_run=dry_run)
        assert "not removed: index /mnt/away/exact: " in capsys.readouterr().out
    (entry,) = json.loads((world.root / "forgotten.json").read_text())
    assert any("/mnt/away/exact" in line for line in entry["not_removed"])
