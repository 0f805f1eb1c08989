"""Which runs can be resumed, and from which checkpoint."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from style_match.training.run_folder import DECIDES_TRAINING, checkpoint_to_resume
from style_match.utils.errors import UserError


def begun(folder: Path, **was: object) -> DictConfig:
    """The config of a command that goes on with the run in `folder`, whose config it writes."""
    parts: dict[str, object] = {part: {} for part in DECIDES_TRAINING if "." not in part}
    parts["trainer"] = {"max_epochs": 30, "precision": "auto", "gradient_clip_val": 1.0, "early_stopping": {}}
    parts["trainer"] |= {"devices": 1}
    parts["callbacks"] = {}
    parts |= was
    (folder / "checkpoints").mkdir()
    OmegaConf.save(OmegaConf.create(parts), folder / "config.yaml")
    return OmegaConf.create({**parts, "run": str(folder), "ckpt_path": None})


def test_a_run_without_a_checkpoint_goes_on_from_its_start(tmp_path: Path):
    cfg = begun(tmp_path)
    assert checkpoint_to_resume(cfg, tmp_path) is None
    cfg.ckpt_path = "last"
    with pytest.raises(UserError, match=rf"no checkpoint yet.*Set run={tmp_path} without"):
        checkpoint_to_resume(cfg, tmp_path)


def test_a_run_with_a_checkpoint_is_not_trained_anew(tmp_path: Path):
    cfg = begun(tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.touch()
    with pytest.raises(UserError, match="Add ckpt_path=last"):
        checkpoint_to_resume(cfg, tmp_path)
    cfg.ckpt_path = "last"
    assert checkpoint_to_resume(cfg, tmp_path) == last


def test_a_finished_run_without_a_head_is_said_to_be_finished(tmp_path: Path):
    cfg = begun(tmp_path)
    (tmp_path / "metrics.json").touch()
    with pytest.raises(UserError, match=r"is finished.*style_match\.evaluate run="):
        checkpoint_to_resume(cfg, tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trainer.devices", 2),
        ("trainer.gradient_clip_val", 2.0),
        ("trainer.precision", "bf16-true"),
        ("trainer.early_stopping.patience", 3),
        ("loss.temperature", 0.3),
    ],
)
def test_a_run_goes_on_as_it_was_begun(tmp_path: Path, option: str, value: object):
    cfg = begun(tmp_path)
    OmegaConf.update(cfg, option, value, force_add=True)
    part = ".".join(option.split(".")[: 2 if option.startswith("trainer") else 1])
    with pytest.raises(UserError, match=f"trained with a different {part}"):
        checkpoint_to_resume(cfg, tmp_path)


def test_more_epochs_are_refused_where_the_learning_rate_follows_their_number(tmp_path: Path):
    cfg = begun(tmp_path, scheduler={"T_max": 30, "eta_min": 0.0})
    cfg.trainer.max_epochs = 60
    with pytest.raises(UserError, match=r"trainer\.max_epochs=30.*scheduler\.T_max=30"):
        checkpoint_to_resume(cfg, tmp_path)


def test_more_epochs_are_fine_at_a_constant_rate(tmp_path: Path):
    cfg = begun(tmp_path, scheduler={"factor": 1.0, "total_iters": 0})
    cfg.trainer.max_epochs = 60
    assert checkpoint_to_resume(cfg, tmp_path) is None


def test_what_is_no_training_run_is_named(tmp_path: Path):
    cfg = begun(tmp_path)
    OmegaConf.save(OmegaConf.create({"data": {}, "head": {}}), tmp_path / "config.yaml")
    with pytest.raises(UserError, match=r"is not a run of style_match\.train"):
        checkpoint_to_resume(cfg, tmp_path)


def test_a_run_of_a_version_with_other_checkpoints_is_refused(tmp_path: Path):
    cfg = begun(tmp_path)
    was = OmegaConf.load(tmp_path / "config.yaml")
    del was["callbacks"]
    OmegaConf.save(was, tmp_path / "config.yaml")
    with pytest.raises(UserError, match="earlier version of style_match"):
        checkpoint_to_resume(cfg, tmp_path)


def test_a_run_of_a_version_without_a_part_goes_on(tmp_path: Path):
    cfg = begun(tmp_path)
    was = OmegaConf.load(tmp_path / "config.yaml")
    del was["sampler"], was.trainer["precision"]
    OmegaConf.save(was, tmp_path / "config.yaml")
    assert checkpoint_to_resume(cfg, tmp_path) is None


@pytest.mark.parametrize("part", ["threads", "encode"])
def test_what_decides_bits_is_as_it_was_begun(tmp_path: Path, part: str):
    cfg = begun(tmp_path, threads=1, encode="cached")
    cfg[part] = {"threads": None, "encode": "online"}[part]
    with pytest.raises(UserError, match=f"trained with a different {part}"):
        checkpoint_to_resume(cfg, tmp_path)


def test_nothing_is_a_value_too(tmp_path: Path):
    trainer = {"max_epochs": 30, "precision": "auto", "gradient_clip_val": None, "early_stopping": {}}
    cfg = begun(tmp_path, trainer=trainer)
    cfg.trainer.gradient_clip_val = 0.5
    with pytest.raises(UserError, match=r"a different trainer\.gradient_clip_val"):
        checkpoint_to_resume(cfg, tmp_path)


def test_a_run_goes_on_at_another_pace(tmp_path: Path):
    cfg = begun(tmp_path, backbone={"token_budget": 100, "device": "cpu", "layer": None}, data={"num_workers": 0})
    cfg.backbone.token_budget, cfg.backbone.device, cfg.data.num_workers = 7, "auto", 3
    assert checkpoint_to_resume(cfg, tmp_path) is None
    cfg.backbone.layer = 4
    with pytest.raises(UserError, match="a different backbone"):
        checkpoint_to_resume(cfg, tmp_path)
