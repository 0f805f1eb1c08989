"""Texts from training to search, by the commands."""

import json

import pytest

from tests.commands import SMALL_COUPLES

COUPLES = SMALL_COUPLES[:2]


@pytest.fixture(scope="module")
def text_run(once, run_step):
    """A finished run whose head was trained on captions too; do not write into it."""
    words = (*SMALL_COUPLES, "loss.text_weight=1", "text.own.hidden_dim=64", "progress=false")

    def train(folder):
        printed = run_step("train", *words, f"hydra.run.dir={folder}").stdout
        (folder / "printed.txt").write_text(printed, encoding="utf-8")

    return once("text_run", train)


def test_a_run_with_texts_reports_how_well_they_find_photos(text_run, couples_run):
    printed = (text_run / "printed.txt").read_text(encoding="utf-8")
    assert "Photos found by parts of their captions" in printed and "synthetic data" in printed
    section = json.loads((text_run / "metrics.json").read_text())["text"]
    assert set(section["caption"]) == {"chance", "untrained", "trained"}
    assert "text" not in json.loads((couples_run / "metrics.json").read_text())


@pytest.mark.slow
def test_photos_are_searched_in_two_languages_by_every_path(text_run, matcher_folder, run_step, tmp_path):
    trained = tmp_path / "trained"
    run_step("export", f"run={text_run}", f"out={trained}")
    for folder, heads in ((trained, {"own", "fitted"}), (matcher_folder, {"fitted"})):
        about = json.loads((folder / "matcher.json").read_text())["text"]
        assert about["measured"]["mrr"].keys() == heads
        assert about["path"] in ("image", "caption", "both")
    asked = [(matcher_folder, "깔끔한 댄디룩 찾아줘", path) for path in ("caption", "image")]
    for folder, query, path in [(trained, "a neat dandy look", "both"), *asked]:
        words = (f"model={folder}", f"query={query}", "k=3", f"path={path}", f"out={tmp_path / 'page'}")
        answer = run_step("search", *words)
        assert "synthetic data" in answer.stdout and f"path={path}" in answer.stderr
        assert sum(line.strip()[:1].isdigit() for line in answer.stdout.splitlines()) == 3
    page = (tmp_path / "page" / "recommendations.html").read_text()
    assert "깔끔한 댄디룩" in page and "http" not in page.replace("http-equiv", "")


def test_heads_that_no_text_can_train_are_named(run_step):
    closed = run_step("train", "recipe=pair_lda", "loss.text_weight=1", *COUPLES, code=2)
    assert "loss.text_weight=0" in closed.stderr
    sides = run_step("train", "recipe=two_heads", "loss.text_weight=1", "text.head=shared", *COUPLES, code=2)
    assert "treats left and right differently" in sides.stderr
    widths = run_step("train", "pooling=both", "loss.text_weight=1", "text.head=shared", *COUPLES, code=2)
    assert "text.pooling=[mean]" in widths.stderr
