"""Indexes lose the person; those that cannot be read or reached never stop the removal elsewhere."""

import json

import pytest

from style_match.serving.index.folder import delete_everywhere, known_indexes
from style_match.utils.errors import UserError

from .conftest import HER, World


def test_an_index_loses_the_person_and_keeps_the_others(world: World) -> None:
    world.forget()
    for profile_ids, num_left in ((HER, 0), (["gent-5"], 1)):
        (line,) = delete_everywhere(world.root, profile_ids)
        assert line.endswith(f": {num_left} profiles deleted")


@pytest.mark.parametrize("damage", ["not JSON", "another manifest", "other data", "no data"])
def test_an_index_that_cannot_be_read_is_deleted(world: World, damage: str) -> None:
    (known,) = known_indexes()
    if "data" in damage:
        for path in known.folder.glob("*.safetensors"):
            path.unlink() if damage == "no data" else path.write_bytes(b"PAR1")
    else:
        (known.folder / "manifest.json").write_text("[]" if damage == "another manifest" else "{")
    world.forget()
    assert [path.name for path in known.folder.iterdir()] == [".lock"]
    assert world.where(b"woman-0-later", b"images/woman-0.png") == []
    assert not (world.root / ".forget.json").exists()


def test_a_failing_index_is_named_and_everything_else_is_done(world: World) -> None:
    (known,) = known_indexes()
    (known.folder / "manifest.json").write_text("{")
    (known.folder / "vectors.npz").write_bytes(b"of another version")
    with pytest.raises(UserError, match=r"vectors\.npz.*\nEverything else was removed\. Fix this and run the same"):
        world.forget()
    assert not any(each in (world.root / "profiles.csv").read_text() for each in ("woman-0,", *HER[1:]))
    (known.folder / "vectors.npz").unlink()
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
