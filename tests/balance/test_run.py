"""A run with everything: told in its provenance, repeated after a kill, and blind to views where it is scored."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = (
    "balance.cap=median",
    "balance.fill=true",
    "balance.views=2",
    "sampler.num_classes=3",
    "sampler.num_samples=3",
    "trainer.max_epochs=4",
    "backbone.num_workers=0",
)


@pytest.fixture
def train(styles: Path, tmp_path: Path, cache: Path):
    """`train(name, *words)` runs a training in a process of its own; returns its folder and what it said."""

    def run(name: str, *words: str) -> tuple[Path, str]:
        own = [] if any(word.startswith("run=") for word in words) else [f"hydra.run.dir={tmp_path / name}"]
        data = [] if not own else ["data=styles", f"data.root={styles}", f"split.store={tmp_path / 'splits'}", *WORDS]
        done = subprocess.run(
            [sys.executable, "-m", "style_match.train", "progress=false", *own, *data, *words],
            cwd=tmp_path,
            env={**os.environ, "STYLE_MATCH_CACHE": str(cache)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return tmp_path / name, done.stderr

    return run


@pytest.mark.slow
def test_a_balanced_run_says_so_and_goes_on_where_it_was(train):
    whole, said = train("whole")
    assert "balance: training profiles in an epoch: basic 20 -> 6, chic 6, hip 4 -> 6" in said
    balance = json.loads((whole / "provenance.json").read_text())["balance"]
    assert balance["profiles_in_an_epoch"] == {"basic": 6, "chic": 6, "hip": 6}
    assert "balance.profiles_in_an_epoch.hip" in (whole / "report.html").read_text()

    plain, _ = train("plain", "balance.cap=null", "balance.fill=false", "balance.views=0")
    assert json.loads((plain / "provenance.json").read_text())["balance"] is None
    frozen = [json.loads((folder / "metrics.json").read_text())["frozen"] for folder in (whole, plain)]
    assert frozen[0] == frozen[1]
    assert (whole / "seen.txt").read_bytes() == (plain / "seen.txt").read_bytes()

    half, _ = train("half", "trainer.max_epochs=2")
    train("half", f"run={half}", "ckpt_path=last", "trainer.max_epochs=4")
    for name in ("ranks.parquet", "embeddings.safetensors"):
        assert (half / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_a_closed_form_says_that_balancing_changes_nothing(train):
    folder, said = train("closed", "head=whitened")
    assert "a closed form is fitted to every training photo, once" in said
    other, _ = train("other", "head=whitened", "balance.cap=null", "balance.fill=false", "balance.views=0")
    assert (folder / "ranks.parquet").read_bytes() == (other / "ranks.parquet").read_bytes()
