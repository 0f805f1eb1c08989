"""The id that is typed is the one that goes, whatever word of YAML or number it could be taken for."""

import csv
import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from style_match import cli
from style_match.plan import path_as_value

from .conftest import World

IDS = ("12", "1_2", "0012", "1e3", "null", "true", "1000.0", "김 하나", "a,b", "[x]")


def composed(line: str) -> object:
    with initialize_config_dir(str(cli.conf_dir()), version_base=cli.VERSION_BASE):
        profile = compose("forget", ["data.root=x", path_as_value(line)]).profile
    return OmegaConf.to_container(profile) if OmegaConf.is_config(profile) else profile


@pytest.mark.parametrize("prefix", ["", "++"])
@pytest.mark.parametrize("word", IDS[:-1])
def test_a_word_is_taken_as_it_is_typed(prefix: str, word: str) -> None:
    assert composed(f"{prefix}profile={word}") == word


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
    assert composed(f"profile={typed}") == ids


@pytest.mark.slow
@pytest.mark.parametrize("word", IDS[:6])
def test_the_command_removes_the_typed_id_alone(world: World, word: str) -> None:
    for name in ("profiles.csv", "couples.csv"):
        text = (world.root / name).read_text(encoding="utf-8")
        for number, each in enumerate(IDS[:6], start=1):
            text = text.replace(f"gent-{number},", f"{each},").replace(f"gent-{number}\n", f"{each}\n")
        (world.root / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "style_match.forget", "data.root=data", f"profile={word}"],
        cwd=world.base,
        env={**os.environ, "STYLE_MATCH_CACHE": str(world.cache)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with open(world.root / "profiles.csv", encoding="utf-8", newline="") as file:
        left = {row["profile_id"] for row in csv.DictReader(file)}
    assert set(IDS[:6]) - left == {word}
