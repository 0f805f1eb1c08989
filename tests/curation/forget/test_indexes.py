"""Indexes lose the person; those that cannot be read or reached never stop the removal elsewhere."""

import json

import pytest

from style_match.serving.index.folder import known_indexes
from style_match.utils.errors import UserError

from .conftest import World


@pytest.mark.parametrize("is_damaged", [False, True])
def test_the_files_of_an_index_are_deleted(world: World, is_damaged: bool) -> None:
    (known,) = known_indexes()
    if is_damaged:
        (known.folder / "graph.safetensors").write_bytes(b"PAR1")
        (known.folder / "profiles.parquet").write_bytes(b"woman-0-later")
    world.forget()
    assert [path.name for path in known.folder.iterdir()] == [".lock"]
    assert world.where(b"woman-0-later", b"images/woman-0.png") == []


def test_a_failing_index_is_named_and_everything_else_is_done(world: World) -> None:
    path = world.cache / "indexes" / "known.json"
    entries = json.loads(path.read_text())
    for about in entries.values():
        about.update(url="http://127.0.0.1:1", collection="people")
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"cannot be reached.*\nEverything else was removed\. Fix this and run"):
        world.forget()
    assert not {"woman-0", "woman-0-later"} & world.ids()
    path.unlink()
    world.forget()
    assert json.loads((world.root / "forgotten.json").read_text())
    assert not (world.root / ".forget.json").exists()


def test_indexes_that_cannot_be_reached_are_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = world.cache / "indexes" / "known.json"
    entries = json.loads(path.read_text())
    path.write_text("{")
    world.forget(dry_run=True)
    assert f"not removed: {path}" in capsys.readouterr().out
    (about,) = entries.values()
    path.write_text(json.dumps({**entries, "/mnt/away/exact": about}))
    world.forget()
    assert "not removed: index /mnt/away/exact: " in capsys.readouterr().out
    (entry,) = json.loads((world.root / "forgotten.json").read_text())
    assert any("/mnt/away/exact" in line for line in entry["not_removed"])
