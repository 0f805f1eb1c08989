"""The command line: mistakes, ids as they are typed, and features computed by the commands themselves."""

import json
from collections.abc import Callable

import pytest

from style_match.backbone.feature_key import owner_of
from style_match.backbone.feature_store import remove_rows
from tests.commands import HEAVY, Done, unimportable

from .conftest import HER, World

pytestmark = pytest.mark.integration

Step = Callable[..., Done]


@pytest.fixture
def step(world: World, run_step: Step) -> Step:
    def run(name: str, *words: str, code: int = 0) -> Done:
        return run_step(name, *words, code=code, cwd=world.base, STYLE_MATCH_CACHE=str(world.cache))

    return run


def test_mistakes(world: World, step: Step) -> None:
    with unimportable(*HEAVY):
        assert "profile" in step("forget", "data.root=data", code=2).stderr
    with unimportable("starlette", "uvicorn"):
        message = step("forget", "data.root=data", "profile=woman-77", code=2).stderr
    assert message.startswith("profile=woman-77: no such profile in the profiles of ") and "woman-7'" in message
    assert "dry_run=true" in step("forget", "data.root=data", "profile=woman-1", "dry_runn=true", code=2).stderr
    assert (world.root / "images/woman-1.png").exists()


@pytest.mark.parametrize("prompt", ["image_metadata", "metadata"])
def test_features_of_every_prompt(world: World, step: Step, prompt: str) -> None:
    embed = ("embed", "data=couples", "data.root=data", f"prompt={prompt}")
    step(*embed)
    owners = [*map(world.sha256, ("images/woman-0.png", "images/later.png")), *map(owner_of, HER)]
    features = world.cache / "features"
    # three rows of the fixture, and those of the command; the two profiles have the same metadata, so one text
    assert remove_rows(features, owners, dry_run=True) == (4 if prompt == "metadata" else 5)
    assert f"{features}: " in step("forget", "data.root=data", "profile=woman-0").stdout
    assert remove_rows(features, owners, dry_run=True) == 0
    others = len(world.photos) - 2
    assert f"features: {others} of {others} from the store (" in step(*embed).stderr


def test_ids_are_taken_as_they_are_typed(world: World, step: Step) -> None:
    """No word is read as a number or as null of YAML."""
    for name in ("profiles.csv", "couples.csv"):
        for number, each in enumerate(("12", "1_2", "0012", "1e3", "null", "true"), start=1):
            world.edit(name, f"gent-{number},", f"{each},")
            world.edit(name, f"gent-{number}\n", f"{each}\n")
    before = world.ids()
    step("forget", "data.root=data", "profile=[1_2,null,woman-5]", "runs=[runs]", "runs_too=true")
    assert before - world.ids() == {"1_2", "null", "woman-5"}
    step("forget", "data.root=data", "profile=1e3")
    assert before - world.ids() == {"1_2", "null", "woman-5", "1e3"}
    first, _ = json.loads((world.root / "forgotten.json").read_text(encoding="utf-8"))
    assert first["trained_on_them"] == [str(world.runs / "two")]
