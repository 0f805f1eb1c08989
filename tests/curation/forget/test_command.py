"""The command line: options, ids as they are typed, and features computed by the command itself."""

import hashlib
import json
from collections.abc import Callable

import pytest
from omegaconf import OmegaConf

from style_match.backbone.feature_key import owner_of
from style_match.backbone.feature_store import find_rows
from style_match.cli.plan import path_as_value
from tests.commands import HEAVY, Done, unimportable
from tests.composed import composed

from .conftest import World
from .test_forget import ids_of

Step = Callable[..., Done]
IDS = ("12", "1_2", "0012", "1e3", "null", "true", "1000.0", "김 하나", "a,b")


@pytest.fixture
def step(world: World, run_step: Step) -> Step:
    def run(name: str, *words: str, code: int = 0) -> Done:
        return run_step(name, *words, code=code, cwd=world.base, STYLE_MATCH_CACHE=str(world.cache))

    return run


def profile_of(word: str) -> object:
    profile = composed("forget", "data.root=x", path_as_value(word)).profile
    return OmegaConf.to_container(profile) if OmegaConf.is_config(profile) else profile


@pytest.mark.parametrize("word", IDS)
def test_an_id_is_taken_as_it_is_typed(word: str) -> None:
    assert profile_of(f"profile={word}") == profile_of(f"++profile={word}") == word


@pytest.mark.parametrize(
    ("typed", "ids"),
    [
        ("[1_2,0012, true ,A]", ["1_2", "0012", "true", "A"]),
        ("""['a,b',"[x]",c d]""", ["a,b", "[x]", "c d"]),
        ('"12"', "12"),
        ("'[x]'", "[x]"),
    ],
)
def test_lists_and_quotes(typed: str, ids: object) -> None:
    assert profile_of(f"profile={typed}") == ids


@pytest.mark.integration
def test_mistakes(world: World, step: Step) -> None:
    with unimportable(*HEAVY):
        assert "profile" in step("forget", "data.root=data", code=2).stderr
    with unimportable("starlette", "uvicorn"):
        message = step("forget", "data.root=data", "profile=woman-77", code=2).stderr
    assert message.startswith("profile=woman-77: no such profile in the profiles of ") and "woman-7'" in message
    assert "dry_run=true" in step("forget", "data.root=data", "profile=woman-1", "dry_runn=true", code=2).stderr
    assert (world.root / "images/woman-1.png").exists()


@pytest.mark.integration
@pytest.mark.parametrize("prompt", ["image", pytest.param("image_metadata", marks=pytest.mark.thorough), "metadata"])
def test_features_of_every_prompt(world: World, step: Step, prompt: str) -> None:
    embed = ("embed", "data=couples", "data.root=data", f"prompt={prompt}")
    step(*embed)
    hashes = [hashlib.sha256(world.photos[image]).hexdigest() for image in ("images/woman-0.png", "images/later.png")]
    owners = [*hashes, owner_of("woman-0"), owner_of("woman-0-later")]
    features = world.cache / "features"
    # three rows of the fixture, and those of the command; the two profiles have the same metadata, so one text
    assert sum(found.rows for found in find_rows(features, owners, [])) == (4 if prompt == "metadata" else 5)
    assert f"{features}: " in step("forget", "data.root=data", "profile=woman-0").stdout
    assert sum(found.rows for found in find_rows(features, owners, [])) == 0
    others = len(world.photos) - 2
    assert f"features: {others} of {others} from the store (" in step(*embed).stderr


@pytest.mark.integration
@pytest.mark.parametrize("word", ["1_2", pytest.param("null", marks=pytest.mark.thorough)])
def test_the_typed_ids_alone_are_removed(world: World, step: Step, word: str) -> None:
    for name in ("profiles.csv", "couples.csv"):
        text = (world.root / name).read_text(encoding="utf-8")
        for number, each in enumerate(IDS[:6], start=1):
            text = text.replace(f"gent-{number},", f"{each},").replace(f"gent-{number}\n", f"{each}\n")
        (world.root / name).write_text(text, encoding="utf-8")
    before = ids_of(world)
    step("forget", "data.root=data", f"profile=[{word},woman-5]", "runs=[runs]", "runs_too=true")
    assert before - ids_of(world) == {word, "woman-5"}
    (entry,) = json.loads((world.root / "forgotten.json").read_text(encoding="utf-8"))
    assert entry["trained_on_them"] == [str(world.runs / "two")]
