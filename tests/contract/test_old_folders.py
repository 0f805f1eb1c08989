"""Folders that an earlier version left: runs are scored, gone on with, exported and reported, a matcher answers.

They name no folder of a machine: what they were trained on is drawn where it is not there.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from style_match import StyleMatcher
from tests.commands import QUICK
from tests.contract import observe

pytestmark = pytest.mark.integration
TABLE = """
small:
  title: Small
  task: couple
  metrics: [recall@5, mrr]
  where: {head._target_: style_match.models.head.mlp.MLP, head.dim: 4, loss.temperature: 0.2, pooling.name: mean}
  rows:
    random: {label: Random, model: chance}
    frozen: {label: Frozen, model: frozen, against: random}
    ours: {label: Ours, model: trained, against: frozen}
"""


@pytest.fixture
def old(tmp_path: Path):
    """`old("mlp")` is a copy of the stored run."""
    return lambda name: shutil.copytree(observe.OLD_RUNS / name, tmp_path / "old" / name)


def check_vectors(found: Path, stored: Path) -> None:
    one, other = observe.written(found), observe.written(stored)
    assert set(one) == set(other)
    for name, row in other.items():
        assert 1 - np.dot(one[name], row) <= 1e-3, name


def check_numbers(found: Path, stored: Path) -> None:
    """The stored runs are of a version that did not write `trained_minus_frozen`."""
    numbers = {name: value for name, value in observe.numbers(found).items() if not name.startswith("trained_minus")}
    assert numbers == pytest.approx(observe.numbers(stored), abs=observe.CLOSE)


@pytest.mark.parametrize("name", ["mlp", "styles", "pair_lda"])
def test_a_run_is_scored_as_it_was(old, run_step, tmp_path: Path, name: str):
    run = old(name)
    run_step("evaluate", f"run={run}", *QUICK, f"hydra.run.dir={tmp_path / 'again'}")
    check_numbers(tmp_path / "again", run)
    check_vectors(tmp_path / "again", run)


def test_a_run_is_scored_on_data_that_lies_elsewhere(old, run_step, couples_run: Path, tmp_path: Path):
    run = old("pair_lda")  # without a list of what it was trained on
    photos = shutil.copytree(Path(next(iter(observe.photos_of(couples_run).values()))).parents[1], tmp_path / "data")
    words = ("data=couples", f"data.root={photos}", *QUICK)
    run_step("evaluate", f"run={run}", *words, f"hydra.run.dir={tmp_path / 'again'}")
    check_numbers(tmp_path / "again", run)


def test_a_run_is_not_resumed_by_another_version(old, run_step):
    done = run_step("train", f"run={old('mlp')}", "ckpt_path=last", code=2)
    assert "was made by an earlier version of style_match and cannot be resumed. Evaluate or export it" in done.stderr


def test_a_run_is_exported_as_it_was(old, run_step, tmp_path: Path):
    run_step("export", f"run={old('mlp')}", f"out={tmp_path / 'matcher'}")
    assert observe.matcher_layout(tmp_path / "matcher") == observe.matcher_layout(observe.OLD_MATCHER)
    one, other = (load_file(folder / "head.safetensors") for folder in (tmp_path / "matcher", observe.OLD_MATCHER))
    assert all(np.array_equal(one[name], other[name]) for name in other)
    one, other = (load_file(folder / "text.safetensors") for folder in (tmp_path / "matcher", observe.OLD_MATCHER))
    assert all(one[name] == pytest.approx(other[name], abs=1e-3) for name in other)


def test_a_run_is_reported(run_step, tmp_path: Path):
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "small.yaml").write_text(TABLE)
    run = observe.OLD_RUNS / "mlp"
    words = (f"sweep={run}", f"out={tmp_path / 'out'}", "report.min_seeds=1")
    done = run_step("report", "--config-dir", tmp_path, "table=small", *words)
    stored = json.loads((run / "metrics.json").read_text())
    table = (tmp_path / "out" / "small.md").read_text(encoding="utf-8")
    for label, model in (("Frozen", "frozen"), ("Ours", "trained")):
        row = next(line for line in table.splitlines() if line.startswith(f"| {label} | "))
        shown = [float(cell.split("<br>")[0]) for cell in row.split("|")[2:4]]
        wanted = [100 * stored[model][metric]["value"] for metric in ("recall@5", "mrr")]
        assert shown == pytest.approx(wanted, abs=0.051)
    assert "synthetic data" in done.stdout


def test_a_matcher_answers_as_it_did(couples_run: Path):
    """`couples_run` is of the same drawn people."""
    matcher, stored = StyleMatcher.from_pretrained(observe.OLD_MATCHER), observe.golden("old")
    found = observe.vectors(matcher, observe.photos_of(couples_run))
    for name, row in stored["vectors"].items():
        assert 1 - np.dot(found[name], row) <= 1e-3, name
    for (one, cosine), (wanted, stored_cosine) in zip(observe.answers(matcher), stored["answers"], strict=True):
        assert one == wanted and cosine == pytest.approx(stored_cosine, abs=observe.CLOSE)
