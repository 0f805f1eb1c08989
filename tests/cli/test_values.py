"""Values that cannot be right: answered before the work, all together, each in one line with a remedy."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from style_match.cli import schema
from style_match.cli.targets import conf_dir
from style_match.data.dataset import read_folder
from style_match.utils.errors import UserError
from tests.composed import composed

LONG = "x" * 5000


def faults(words: str, step: str = "train", needed: str = "") -> list[str]:
    """Faults of overrides, separated by spaces, in the config of a step."""
    typed = words.split()
    choices = [o.input_line for o in OverridesParser.create().parse_overrides(typed) if "." not in o.key_or_group]
    groups = [choice for choice in choices if choice.startswith(("data=", "loss=", "logger=", "pooling=", "index="))]
    return schema.faults(composed(step, *needed.split(), *typed), composed(step, *needed.split(), *groups), step=step)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("head.dim=0", "head.dim must be an integer >= 1 and <= 65,536 (got 0)."),
        ("head.dim=abc", "head.dim must be an integer"),
        ("head.dim=2.5", "head.dim must be an integer"),
        ("head.dim=true", "(got true)"),
        ("head.dim=null", "(got null)"),
        ("head.dim=${los.dim}", "head.dim=${los.dim}: "),
        ("head.bias=5", "head.bias must be true or false (got 5)."),
        ("loss.temperature=0", "loss.temperature must be a number > 0 (got 0)."),
        ("loss.temperature=nan", "loss.temperature must be a number > 0"),
        ("optimizer.lr=1e300", "optimizer.lr must be a number > 0 (at most 1,000,000,000) (got 1e+300)."),
        ("evaluation.num_answers=-99999999999", "must be an integer (at most 1,000,000,000)"),
        ("threads=99999999999999999999", "<= 1,024 or null"),
        ("loss=triplet loss.reducer=avg_nonzero", "Did you mean loss.reducer=avg_non_zero?"),
        ("encode=onlin", "encode must be cached or online (got onlin). Did you mean encode=online?"),
        ("split.fractions=[0.7,0.2,0.2]", "sum to 1"),
        ("split.fractions=[1,0,0]", "three numbers > 0"),
        ("evaluation.ks=[0,5]", "evaluation.ks must be a list of distinct integers >= 1, such as [1,5,10] or null"),
        ("evaluation.ks=[5,5]", "distinct"),
        ("evaluation.ks=[99999999999999999999]", "evaluation.ks must be a list"),
        ("seed=-1", "seed must be an integer >= 0 and <= 4,294,967,295 (got -1)."),
        ("split.folds=1 split.fold=0", "split.folds must be an integer >= 2 or null"),
        ("split.folds=5 split.fold=5", "split.folds=5 needs split.fold, an integer from 0 to 4 (got 5)."),
        ("split.folds=5", "(got null)"),
        ("split.fold=0", "split.fold=0 needs split.folds, such as split.folds=5."),
        ("split.store={a:{b:1}}", "split.store must be a text or null (got {'a': {'b': 1}})."),
        ("evaluation.num_answers={a:1}", "evaluation.num_answers must be an integer (got {'a': 1})."),
        ("backbone.min_pixels=200 backbone.max_pixels=100", "backbone.min_pixels=200 exceeds backbone.max_pixels=100."),
        ("backbone.device=gpu0", "auto, cpu, cuda, cuda:N or mps (got gpu0)"),
        ("backbone.path=null", "backbone.path must be a folder or a Hub id (got null)."),
        ("optimizer.fused=yes", "optimizer.fused must be true or false or null (got yes)."),
        ("trainer.precision=16-mixed", "Set optimizer.fused=false"),
        ("trainer.devices=0", "trainer.devices must be an integer"),
        ("trainer.devices=1000000", "trainer.devices must be an integer"),
        ("trainer.early_stopping=5", "trainer.early_stopping must be a node of options"),
        ("logger=wandb logger.wandb.mode=off", "Did you mean logger.wandb.mode=offline?"),
        ("logger.log_images=true", "set logger=wandb or logger=tensorboard"),
        ("logger=wandb logger.log_images=true logger.images.num_answers=20", "exceeds evaluation.num_answers=10"),
        ("data=couples", "data.root is required by data=couples. Set data.root=FOLDER."),
        ("data=demo_styles sampler=pair", "The sampler draws couples, but data=demo_styles has none. Use sampler=pk."),
        ("sampler=pk", "The sampler draws classes, but data=demo_couples has none. Use sampler=pair."),
        ("sampler=plain", "The sampler draws classes, but data=demo_couples has none. Use sampler=pair."),
        ("pooling=mean_image prompt=metadata", "pooling=mean_image needs image tokens, but prompt=metadata has none."),
        ("ckpt_path=last", "ckpt_path=last needs the run to resume: set run=FOLDER."),
        ("ckpt_path=best.ckpt run=x", "training resumes only from run=FOLDER ckpt_path=last"),
    ],
)
def test_a_wrong_value_is_one_line(words, answer):
    (fault,) = faults(words)
    assert answer in fault


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("sweep=null", "sweep must be a text (got null)."),
        ("report.leave_out=[forein]", "Did you mean report.leave_out=[unfinished"),
        ("report.leave_out=foreign", "a list of unfinished, failed, foreign, lacking"),
        ("report.by=age report.bands=[30,20]", "a list of increasing numbers"),
        ("report.by=age report.bands=[]", "a list of increasing numbers"),
        ("report.by=age report.bands=18", "a list of increasing numbers"),
        ("report.bands=[18]", "report.bands needs a column: set report.by=COLUMN."),
        ("report.confidence=95", "report.confidence must be a number > 0 and < 1 (got 95)."),
        ("report.num_resamples=1", "an integer >= 100 (got 1)"),
    ],
)
def test_a_wrong_value_of_a_report(words, answer):
    (fault,) = faults(words, "report", needed="sweep=folder")
    assert answer.partition("[unfinished")[0] in fault


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("", "train"),
        ("", "embed"),
        ("", "evaluate"),
        ("data=demo_styles", "train"),
        ("data=styles data.root=/somewhere", "embed"),
        ("logger=wandb trainer.devices=2 trainer.strategy=ddp", "train"),
        ("trainer.early_stopping=null trainer.gradient_clip_val=null evaluation.ks=[1]", "train"),
        ("trainer.strategy=fsdp trainer.devices=auto trainer.accelerator=tpu +trainer.num_nodes=2", "train"),
        ("trainer.log_every_n_steps=5 +trainer.limit_train_batches=0.5 +trainer.profiler={a:1}", "train"),
        ("+callbacks.mine._target_=mine.Callback +callbacks.mine.every=-1", "train"),
        ("logger=[csv,tensorboard] logger.log_images=true", "train"),
        ("share=4/4", "embed"),
        ("share=null", "embed"),
    ],
)
def test_right_values_have_no_fault(words, step):
    assert faults(words, step) == []


@pytest.mark.parametrize("share", ["0/4", "5/4", "a/b", "1/0", "2", "0.5"])
def test_a_share_that_does_not_exist(share):
    assert faults(f"share={share}", "embed") == [
        f"share must be N/M, from 1/4 to 4/4 for four shares, or null (got {share})."
    ]


def test_evaluating_a_head_needs_a_run():
    (fault,) = faults("head=mlp", "evaluate")
    assert "set run=FOLDER, or head=identity" in fault


def test_an_option_without_a_rule_keeps_the_kind_of_its_yaml():
    base = OmegaConf.create({"loss": {"_target_": "mine.Loss", "power": 2, "scale": 0.5, "hard": True, "parts": [1]}})
    for wrong in ({"power": "x"}, {"power": True}, {"scale": "x"}, {"hard": 1}, {"parts": 3}, {"scale": None}):
        with pytest.raises(UserError, match=f"loss.{next(iter(wrong))}"):
            schema.check(OmegaConf.merge(base, {"loss": wrong}), base)
    schema.check(OmegaConf.merge(base, {"loss": {"power": 3, "scale": 1, "hard": False, "parts": []}}), base)


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_fractions_hold_when_they_sum_to_one(parts):
    whole = sum(parts)
    config = {"split": {"fractions": [part / whole for part in parts]}}
    assert schema.faults(OmegaConf.create(config)) == []
    config["split"]["fractions"][0] += 0.01
    assert len(schema.faults(OmegaConf.create(config))) == 1


@given(st.one_of(st.integers(), st.floats(), st.text("abc", max_size=3), st.booleans(), st.none()))
def test_a_width_is_an_integer_from_one(value):
    good = type(value) is int and 1 <= value <= 2**16
    assert (schema.faults(OmegaConf.create({"head": {"dim": value}})) == []) is good


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["head.dim=10000000000"], "head.dim must be an integer >= 1 and <= 65,536 (got 10000000000)."),
        (["data=couples", "data.root=~nosuchuser/x"], "data.root=~nosuchuser/x: there is no user nosuchuser."),
        (["run=~nosuchuser/x"], "run=~nosuchuser/x: there is no user nosuchuser."),
        (["data=couples", f"data.root={LONG}"], "...: File name too long"),
        ([f"run={LONG}"], "...: File name too long"),
        ([f"hydra.run.dir={LONG}"], "...: File name too long"),
        (["hydra.run.dir=/proc/x"], "Cannot create /proc/x: "),
        (["-m", "seed=0,1", "hydra.sweep.dir=/proc/x"], "Cannot create /proc/x: "),
        (["hydra.mode=WALK"], "hydra.mode=WALK: "),
        (["-m", "seed=range(0)"], "seed: this sweep has no values."),
        (["-m", "seed=range(5,5)", "head.dim=1,2"], "seed: this sweep has no values."),
        (["-m", "loss.temperature=0.1,-1", "seed=0,1"], "loss.temperature must be a number > 0 (got -1)."),
        (["data.root=photos"], "To read your own, set data=couples data.root=photos;"),
    ],
)
def test_a_mistake_is_one_message(step, words, answer):
    assert step(*words) == 2
    assert step.configs == [] and "Traceback" not in step.err
    assert answer in step.err and len(step.err) < 600 and len(step.err.splitlines()) == 1


@pytest.mark.integration
def test_all_faults_together(step):
    assert step("head.dim=0", "loss.temperature=-1", "encode=onlin", "seed=null", "data=couples") == 2
    assert step.configs == [] and len(step.err.splitlines()) == 5


@pytest.mark.integration
@pytest.mark.parametrize("value", ["${oc.env:SECRET}", "[${oc.env:SECRET}]", "${oc.env:SECRET}x"])
def test_values_of_the_environment_are_not_repeated(step, monkeypatch, value):
    monkeypatch.setenv("SECRET", "sk-secret")
    assert step(f"head.dim={value}", "seed=${head.dim}") == 2
    assert "sk-secret" not in step.err and f"(got {value})" in step.err


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["data=couples", "data.root=/tmp/${oc.env:SECRET}"], "/tmp/${oc.env:SECRET} does not exist"),
        (["data=couples", "data.root=~x${oc.env:SECRET}"], "data.root=~x${oc.env:SECRET}: there is no user"),
        (["hydra.run.dir=/proc/${oc.env:SECRET}"], "Cannot create /proc/${oc.env:SECRET}: "),
        (["-m", "seed=0,1", "data=couples", "data.root=x/${oc.env:SECRET}"], "/x/${oc.env:SECRET} does not exist"),
    ],
)
@pytest.mark.parametrize("secret", ["sk-secret", "a"])
def test_values_of_the_environment_inside_a_text_are_not_repeated(step, monkeypatch, words, answer, secret):
    monkeypatch.setenv("SECRET", secret)
    assert step(*words, work=lambda cfg: read_folder(cfg.data.root, task="couple")) == 2
    assert "sk-secret" not in step.err + step.out and answer in step.err and "Traceback" not in step.err


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    (fault,) = schema.path_faults(OmegaConf.create({"data": {"root": str(tmp_path / "closed")}}))
    assert "the folder cannot be read (Permission denied)" in fault


def test_a_rule_is_of_an_option_that_exists():
    text = "\n".join(path.read_text(encoding="utf-8") for path in conf_dir().rglob("*.yaml"))
    assert [path for path in schema.RULES if f"{path.rpartition('.')[2]}:" not in text] == []
