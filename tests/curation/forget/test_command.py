"""The command line, after real features were computed under every prompt."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from style_match.backbone.feature_key import owner_of
from style_match.backbone.feature_store import find_rows
from tests.commands import HEAVY, Done, unimportable

from .conftest import World

pytestmark = pytest.mark.integration

Step = Callable[..., Done]


@pytest.fixture
def step(world: World, run_step: Step) -> Step:
    def run(name: str, *words: str, code: int = 0) -> Done:
        return run_step(name, *words, code=code, cwd=world.base, STYLE_MATCH_CACHE=str(world.cache))

    return run


def test_mistakes(world: World, step: Step) -> None:
    with unimportable(*HEAVY):
        assert "write profile=VALUE" in step("forget", "data.root=data", code=2).stderr
    said = step("forget", "data.root=data", "profile=woman-77", code=2).stderr
    assert (
        said.startswith("profile=woman-77: no such profile in the profiles of ") and "the nearest are woman-7" in said
    )
    assert "data.root=dta: there is no such folder." in step("forget", "data.root=dta", "profile=a", code=2).stderr
    assert "dry_run=true" in step("forget", "data.root=data", "profile=woman-1", "dry_runn=true", code=2).stderr
    assert (world.root / "images/woman-1.png").exists()


@pytest.mark.parametrize("prompt", ["image", pytest.param("image_metadata", marks=pytest.mark.thorough), "metadata"])
def test_real_features_of_every_prompt(world: World, step: Step, prompt: str) -> None:
    embed = ("embed", "data=couples", "data.root=data", f"prompt={prompt}")
    step(*embed)
    hashes = [hashlib.sha256(world.photos[image]).hexdigest() for image in ("images/woman-0.png", "images/later.png")]
    owners = [*hashes, owner_of("woman-0"), owner_of("woman-0-later")]
    features = world.cache / "features"
    before = sum(found.rows for found in find_rows(features, owners, []))
    done = step("forget", "data.root=data", "profile=woman-0")
    assert f"{features}: " in done.stdout
    # two photos in the fixture's store (one of them by its address), a text there, and what the command embedded
    assert before == (3 if prompt == "metadata" else 4), "both of her captions are one row"
    assert sum(found.rows for found in find_rows(features, owners, [])) == 0
    others = len(world.photos) - 2
    assert f"features: {others} of {others} from the store (" in step(*embed).stderr


def test_several_ids_with_the_runs(world: World, step: Step) -> None:
    step("forget", "data.root=data", "profile=[woman-5,gent-5]", "runs=[runs]", "runs_too=true")
    with open(world.root / "profiles.csv", encoding="utf-8", newline="") as file:
        assert not {"woman-5", "gent-5"} & {row["profile_id"] for row in csv.DictReader(file)}
    (entry,) = json.loads(Path(world.root / "forgotten.json").read_text(encoding="utf-8"))
    assert entry["trained_on_them"] == [str(world.runs / "two")]
