"""What a run leaves behind repeats bit for bit, also after a kill in any of its phases."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

kills = pytest.importorskip("experiments.kills.kills", reason="experiments are not on the path")

OVERRIDES = kills.PLAN["overrides"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run from an empty cache, and how many seconds its phases took."""
    place = kills.Place(tmp_path_factory.mktemp("kills") / "whole")
    return place, kills.uninterrupted(place)


def again(whole, root: Path, *words: str):
    """Another run on a copy of the cache."""
    place = kills.Place(root)
    shutil.copytree(whole.cache, place.cache)
    place.finish(*OVERRIDES, *words, f"hydra.run.dir={place.run}")
    return place


@pytest.mark.parametrize(
    ("phase", "share", "alone"),
    [
        ("starting", 0.9, False),
        ("drawing", 0.5, True),
        ("embedding", 0.8, False),
        ("training", 0.7, True),
        ("writing", 0.5, False),
    ],
)
def test_a_killed_run_ends_as_one_that_nobody_killed(whole, tmp_path, phase, share, alone):
    place, seconds = whole
    number = kills.PHASES.index(phase)
    *_, outcome, _ = kills.trial(place, kills.Place(tmp_path / "killed"), number, share * seconds[number], alone=alone)
    assert outcome == "identical" or (phase == "embedding" and outcome.startswith("within tolerance"))


def test_the_same_command_on_the_same_store_gives_the_same_files(whole, tmp_path):
    place, _ = whole
    assert kills.differences(place, again(place, tmp_path)) == []


def test_other_batches_give_the_same_features_within_the_tolerance(whole, tmp_path):
    place, _ = whole
    words = (f"features.root={tmp_path / 'cache' / 'cold' / 'features'}", "backbone.token_budget=150")
    other = again(place, tmp_path, *words)
    cold = kills.Place(tmp_path / "cold")
    shutil.copytree(other.cache / "cold", cold.cache)
    assert cold.features.keys() == place.features.keys()
    largest = max(float(vector.abs().max()) for vector in place.features.values())
    for key, vector in place.features.items():
        assert float((cold.features[key] - vector).abs().max()) <= kills.PLAN["tolerance"] * largest
    one, two = (load_file(each.run / "embeddings.safetensors") for each in (place, other))
    assert all(float((one[name] - two[name]).abs().max()) < 1e-3 for name in one)


def test_another_seed_has_the_same_test_set(whole, tmp_path):
    place, _ = whole
    other = again(place, tmp_path, "seed=1")
    asked, ids, found = [], [], []
    for each in (place, other):
        rows = pq.read_table(each.run / "ranks.parquet").to_pylist()
        asked.append([(row["model"], row["query"], row["partner"], row["direction"], row["gallery"]) for row in rows])
        with safe_open(each.run / "embeddings.safetensors", "pt") as file:
            ids.append(file.metadata())
        found.append(json.loads((each.run / "metrics.json").read_text()))
    assert asked[0] == asked[1] and ids[0] == ids[1]
    assert found[0]["frozen"] == found[1]["frozen"] and found[0]["trained"] != found[1]["trained"]
