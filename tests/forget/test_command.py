"""The command as it is typed, after real features were computed under every prompt."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from style_match.features.identity import owner_of
from style_match.features.removal import find_rows

from .conftest import World

pytestmark = pytest.mark.slow

Step = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def step(world: World) -> Step:
    def run(name: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", f"style_match.{name}", *words],
            cwd=world.base,
            env={**os.environ, "STYLE_MATCH_CACHE": str(world.cache)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def test_mistakes(world: World, step: Step) -> None:
    assert "write profile=VALUE" in step("forget", "data.root=data", code=2).stderr
    said = step("forget", "data.root=data", "profile=woman-77", code=2).stderr
    assert (
        said.startswith("profile=woman-77: no such profile in the profiles of ") and "the nearest are woman-7" in said
    )
    assert "data.root=dta: there is no such folder." in step("forget", "data.root=dta", "profile=a", code=2).stderr
    assert "dry_run=true" in step("forget", "data.root=data", "profile=woman-1", "dry_runn=true", code=2).stderr
    assert (world.root / "images/woman-1.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["image", "image_metadata", "metadata"])
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


@pytest.mark.slow
def test_several_ids_with_the_runs(world: World, step: Step) -> None:
    step("forget", "data.root=data", "profile=[woman-5,gent-5]", "runs=[runs]", "runs_too=true")
    with open(world.root / "profiles.csv", encoding="utf-8", newline="") as file:
        assert not {"woman-5", "gent-5"} & {row["profile_id"] for row in csv.DictReader(file)}
    (entry,) = json.loads(Path(world.root / "forgotten.json").read_text(encoding="utf-8"))
    assert entry["trained_on_them"] == [str(world.runs / "two")]
