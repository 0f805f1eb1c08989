"""Values that nobody means: huge numbers, dicts, empty sweeps, paths that cannot be; each is one message."""

import os

import pytest

from style_match.cli.schema import RULES
from style_match.cli.words import find
from style_match.data.dataset import read_folder

pytestmark = pytest.mark.integration

LONG = "x" * 5000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["head.dim=10000000000"], "head.dim=10000000000: Write a whole number of at least 1 (at most 65,536)."),
        (["threads=99999999999999999999"], "(at most 1,024)"),
        (["picture.tsne.dpi=1000000"], "(at most 2,000)"),
        (["trainer.devices=1000000"], "(at most 1,024)"),
        (["optimizer.lr=1e300"], "optimizer.lr=1e+300: Write a number above 0 (at most 1,000,000,000)."),
        (["evaluation.num_answers=-99999999999"], "(at most 1,000,000,000)"),
        (["evaluation.ks=[99999999999999999999]"], "evaluation.ks=[99999999999999999999]: Write a list"),
        (["+foo=1"], "no option or group is called foo"),
        (["++foo=1"], "no option or group is called foo"),
        (["+foo={a:1}"], "no option or group is called foo"),
        (["head.dim={a:1}"], "head.dim={'a': 1}: Write a whole number"),
        (["evaluation.num_answers={a:1}"], "evaluation.num_answers={'a': 1}: Write a whole number"),
        (["split.store={a:{b:1}}"], "split.store={'a': {'b': 1}}: Write a text, or null."),
        (["head={a:1}"], "head={a:1}: head takes no dict. Write head=CHOICE, and its options one by one."),
        (["+head={dim:8}"], "head takes no dict"),
        (["-m", "head={a:1},mlp"], "head={a:1},mlp: head takes no dict"),
        (["hydra/launcher={a:1}"], "hydra/launcher takes no dict"),
        (["head=[mlp,cca]"], "head=[mlp,cca]: head takes one choice, no list. Choices: cca, "),
        (["loss=[]"], "loss=[]: loss takes one choice, no list. Choices: infonce, triplet."),
        (["split={a:1}"], "split={a:1}: write the options of split one by one: split.seed, split.fractions, "),
        (["split=[1]"], "split=[1]: write the options of split one by one"),
        (["hydra.run={a:1}"], "hydra.run={a:1}: write the options of hydra.run one by one: hydra.run.dir."),
        (["-m", "seed=range(0)"], "seed: a sweep over no value at all"),
        (["-m", "seed=range(5,5)", "head.dim=1,2"], "seed: a sweep over no value at all"),
        (["data=couples", "data.root=~nosuchuser/x"], "data.root=~nosuchuser/x: there is no user nosuchuser here"),
        (["run=~nosuchuser/x"], "run=~nosuchuser/x: there is no user nosuchuser here"),
        (["features.root=~nosuchuser"], "features.root=~nosuchuser: there is no user nosuchuser here"),
        (["data=couples", f"data.root={LONG}"], "...: File name too long"),
        ([f"run={LONG}"], "...: File name too long"),
        ([f"hydra.run.dir={LONG}"], "...: File name too long"),
        (["-m", "seed=0,1", f"hydra.sweep.dir={LONG}"], "...: File name too long"),
        (["-m", "seed=0,1", "hydra.sweep.dir=/proc/x"], "Cannot make /proc/x"),
    ],
)
def test_it_is_one_message(step, words, told):
    assert step(*words) == 2
    assert step.configs == [] and "Traceback" not in step.err
    assert told in step.err and len(step.err) < 600 and len(step.err.splitlines()) == 1


def test_no_table_at_all(step):
    assert step("table=[]", "sweep=x", step="report") == 2
    assert step.err.startswith("table=[]: write at least one choice. Choices: all, ")


def test_lists_of_loggers_and_dicts_of_known_options_stay(step):
    assert step("logger=[csv,tensorboard]", "trainer.early_stopping={patience:3}") == 0, step.err
    assert step("logger=[]") == 0, step.err


@pytest.mark.parametrize("value", ["${oc.env:SECRET}", "[${oc.env:SECRET}]", "${oc.env:SECRET}x"])
def test_values_of_the_environment_are_not_repeated(step, monkeypatch, value):
    monkeypatch.setenv("SECRET", "sk-secret")
    assert step(f"head.dim={value}", "seed=${head.dim}") == 2
    assert "sk-secret" not in step.err and f"head.dim={value}: Write a whole number" in step.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=couples", "data.root=/tmp/${oc.env:SECRET}"], "/tmp/${oc.env:SECRET} does not exist"),
        (["data=couples", "data.root=~x${oc.env:SECRET}"], "data.root=~x${oc.env:SECRET}: there is no user"),
        (["data.name=${oc.env:SECRET}", "data.root=x"], "data.root=x: ${oc.env:SECRET} is drawn"),
        (["hydra.run.dir=/proc/${oc.env:SECRET}"], "Cannot make /proc/${oc.env:SECRET}: "),
        (["-m", "seed=0,1", "data=couples", "data.root=x/${oc.env:SECRET}"], "/x/${oc.env:SECRET} does not exist"),
    ],
)
def test_values_of_the_environment_inside_a_text_are_not_repeated(step, monkeypatch, words, told):
    monkeypatch.setenv("SECRET", "sk-secret")
    assert step(*words, work=lambda cfg: read_folder(cfg.data.root, task="couple")) == 2
    assert "sk-secret" not in step.err + step.out and told in step.err and "Traceback" not in step.err


def test_a_short_value_of_the_environment_leaves_other_words(step, monkeypatch):
    monkeypatch.setenv("SECRET", "a")
    assert (
        step(
            "data=couples", "data.root=/x/${oc.env:SECRET}", work=lambda cfg: read_folder(cfg.data.root, task="couple")
        )
        == 2
    )
    assert "/x/${oc.env:SECRET} does not exist; give the folder" in step.err


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(step, tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert step("data=couples", "data.root=closed") == 2
    assert "data.root=closed: the folder cannot be read (Permission denied)" in step.err


def test_no_default_is_above_its_own_bound(step):
    assert step() == 0
    config = step.configs[0]
    for path, rule in RULES.items():
        value = find(config, path)
        assert value is None or rule.largest is None or not isinstance(value, int | float) or value <= rule.largest
