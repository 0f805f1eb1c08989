"""Killed at any moment, the same command again finishes; nobody else can be begun in between."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from style_match.utils.errors import UserError

from .conftest import CAPTION, World


class Killed(BaseException):
    pass


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The process ends before its n-th call that puts a file into its place or removes one."""

    def arm(moment: int) -> None:
        left = moment
        for module, name in ((os, "replace"), (os, "unlink"), (Path, "unlink")):
            real = getattr(module, name)

            def call(*args: object, real: Callable = real, **keywords: object) -> object:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real(*args, **keywords)

            monkeypatch.setattr(module, name, call)

    return arm


@pytest.mark.parametrize("moment", [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28])
def test_the_same_command_finishes(world: World, kill_at, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    photos = [world.photos[image] for image in ("images/woman-0.png", "images/later.png")]
    kill_at(moment)
    was_killed = False
    try:
        world.forget(runs_too=True)
    except Killed:
        was_killed = True
    monkeypatch.undo()
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(world.cache))
    if (world.root / ".forget.json").exists():
        with pytest.raises(UserError, match=r"forgetting profile=woman-0 was interrupted\. Finish it first"):
            world.forget("gent-3")
    if (world.root / ".forget.json").exists() or not (world.root / "forgotten.json").exists():
        world.forget(runs_too=True)
    assert world.where(*photos, b"woman-0,", b"woman-0.png", b"woman-0-later", CAPTION.encode()) == []
    assert not (world.root / ".forget.json").exists()
    assert sorted(path.name for path in (world.runs / "two").iterdir()) == ["config.yaml", "seen.txt"]
    assert world.store.missing([world.address("images/gent-3.png")]) == []
    assert was_killed, "the last moments are still before the end"


def test_a_journal_that_is_damaged(world: World) -> None:
    (world.root / ".forget.json").write_text("{")
    with pytest.raises(UserError, match=r"\.forget\.json cannot be read"):
        world.forget()
