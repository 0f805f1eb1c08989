"""A run with everything: named in its provenance, the same after a resume, and scored without views."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.commands import QUICK

pytestmark = pytest.mark.integration

WORDS = (
    "balance.cap=median",
    "balance.fill=true",
    "balance.views=2",
    "sampler.num_classes=3",
    "sampler.num_samples=3",
    "trainer.max_epochs=2",
    "backbone.num_workers=0",
    "progress=false",
    *QUICK,
)


PLAIN = ("balance.cap=null", "balance.fill=false", "balance.views=0")


@pytest.fixture
def train(styles: Path, tmp_path: Path, run_step):
    """`train(folder, *words)` trains a balanced run into a folder; returns what the step printed as information."""

    def run(folder: Path, *words: str) -> str:
        data = ("data=styles", f"data.root={styles}", f"split.store={tmp_path / 'splits'}", *WORDS)
        return run_step("train", f"hydra.run.dir={folder}", *data, *words).stderr

    return run


@pytest.fixture
def balanced(once, train) -> Path:
    """A finished run of two epochs; what it printed is in said.txt."""

    def make(folder: Path) -> None:
        said = train(folder)
        (folder / "said.txt").write_text(said)

    return once("balanced_run", make)


def test_a_balanced_run_tells_it(balanced):
    line = "balance: training profiles in an epoch: basic 20 -> 6, chic 6, hip 4 -> 6"
    assert line in (balanced / "said.txt").read_text()
    balance = json.loads((balanced / "provenance.json").read_text())["balance"]
    assert balance["profiles_in_an_epoch"] == {"basic": 6, "chic": 6, "hip": 6}
    assert "balance.profiles_in_an_epoch.hip" in (balanced / "report.html").read_text()


def test_what_is_scored_is_that_of_a_run_without_balance(balanced, train, tmp_path):
    train(plain := tmp_path / "plain", *PLAIN)
    assert json.loads((plain / "provenance.json").read_text())["balance"] is None
    frozen = [json.loads((folder / "metrics.json").read_text())["frozen"] for folder in (balanced, plain)]
    assert frozen[0] == frozen[1]
    assert (balanced / "seen.txt").read_bytes() == (plain / "seen.txt").read_bytes()


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(balanced, train, run_step, tmp_path):
    train(half := tmp_path / "half", "trainer.max_epochs=1")
    run_step("train", f"run={half}", "ckpt_path=last", "trainer.max_epochs=2")
    assert (half / "ranks.parquet").read_bytes() == (balanced / "ranks.parquet").read_bytes()
    one, other = (load_file(folder / "embeddings.safetensors") for folder in (half, balanced))
    assert np.array_equal(one["embeddings"], other["embeddings"])


def test_a_closed_form_says_that_balancing_changes_nothing(train, tmp_path):
    said = train(tmp_path / "closed", "head=whitened")
    assert "a closed form is fitted once, to every training photo" in said
