"""Texts from training to search, as a user types the commands."""

import json

import pytest

FOLDER = ("data.num_couples=40", "sampler.batch_size=8")


@pytest.mark.slow
def test_from_training_to_search_in_two_languages(step, tmp_path):
    small = (*FOLDER, "trainer.max_epochs=2", "head.hidden_dim=64", "head.dim=32", "progress=false")
    trained, plain, matcher = tmp_path / "trained", tmp_path / "plain", tmp_path / "matcher"
    said = step("train", *small, "loss.text_weight=1", "text.own.hidden_dim=64", f"hydra.run.dir={trained}").stdout
    assert "Photos found by parts of their captions" in said and "synthetic data" in said
    section = json.loads((trained / "metrics.json").read_text())["text"]
    assert set(section["caption"]) == {"chance", "untrained", "trained"}
    step("train", *small, f"hydra.run.dir={plain}")
    assert "text" not in json.loads((plain / "metrics.json").read_text())
    for run in (trained, plain):
        out = matcher / run.name
        step("export", f"run={run}", f"out={out}")
        about = json.loads((out / "matcher.json").read_text())["text"]
        assert about["measured"]["mrr"].keys() == ({"own", "fitted"} if run == trained else {"fitted"})
        assert about["path"] in ("image", "caption", "both")
    asked = [("plain", "깔끔한 댄디룩 찾아줘", path) for path in ("caption", "both", "image")]
    for name, query, path in [("trained", "a neat dandy look", "both"), *asked]:
        words = (f"model={matcher / name}", f"query={query}", "k=3", f"path={path}", f"out={tmp_path / 'page'}")
        answer = step("search", *words)
        assert "synthetic data" in answer.stdout and f"path={path}" in answer.stderr
    page = (tmp_path / "page" / "recommendations.html").read_text()
    assert "깔끔한 댄디룩" in page and "http" not in page.replace("http-equiv", "")
    wrong = step("search", f"model={matcher / 'plain'}", "query=a hat", "k=500", code=2)
    assert "there are 80 profiles" in wrong.stderr


@pytest.mark.slow
def test_heads_that_no_text_can_train_are_named(step):
    closed = step("train", "recipe=pair_lda", "loss.text_weight=1", *FOLDER, code=2)
    assert "loss.text_weight=0" in closed.stderr
    sides = step("train", "recipe=two_heads", "loss.text_weight=1", "text.head=shared", *FOLDER, code=2)
    assert "tells the sides" in sides.stderr
    widths = step("train", "pooling=both", "loss.text_weight=1", "text.head=shared", *FOLDER, code=2)
    assert "text.pooling=[mean]" in widths.stderr
