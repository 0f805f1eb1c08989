"""The id that is typed is the one that goes, whatever word of YAML or number it could be taken for."""

import csv

import pytest
from omegaconf import OmegaConf

from style_match.cli.quoting import path_as_value
from tests.composed import composed

from .conftest import World

IDS = ("12", "1_2", "0012", "1e3", "null", "true", "1000.0", "김 하나", "a,b", "[x]")


def profile_of(line: str) -> object:
    profile = composed("forget", "data.root=x", path_as_value(line)).profile
    return OmegaConf.to_container(profile) if OmegaConf.is_config(profile) else profile


@pytest.mark.parametrize("prefix", ["", "++"])
@pytest.mark.parametrize("word", IDS[:-1])
def test_a_word_is_taken_as_it_is_typed(prefix: str, word: str) -> None:
    assert profile_of(f"{prefix}profile={word}") == word


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
@pytest.mark.parametrize(
    "word", [word if word in ("1_2", "null") else pytest.param(word, marks=pytest.mark.thorough) for word in IDS[:6]]
)
def test_the_command_removes_the_typed_id_alone(world: World, run_step, word: str) -> None:
    for name in ("profiles.csv", "couples.csv"):
        text = (world.root / name).read_text(encoding="utf-8")
        for number, each in enumerate(IDS[:6], start=1):
            text = text.replace(f"gent-{number},", f"{each},").replace(f"gent-{number}\n", f"{each}\n")
        (world.root / name).write_text(text, encoding="utf-8")
    run_step("forget", "data.root=data", f"profile={word}", cwd=world.base, STYLE_MATCH_CACHE=str(world.cache))
    with open(world.root / "profiles.csv", encoding="utf-8", newline="") as file:
        left = {row["profile_id"] for row in csv.DictReader(file)}
    assert set(IDS[:6]) - left == {word}
