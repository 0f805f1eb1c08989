"""The YAML files of the learning parts build what they name and leave no option of it unsaid."""

import inspect
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

import style_match

CONF = Path(style_match.__file__).parents[1] / "conf"
GROUPS = ("sampler", "loss", "head")
PARTS = sorted(file for group in GROUPS for file in (CONF / group).glob("*.yaml"))
GIVEN_BY_CODE = {"self", "in_dim", "seed", "num_replicas", "rank", "left_ids", "right_ids", "known_couples", "labels"}


@pytest.mark.parametrize("file", PARTS, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_option_stands_in_the_yaml(file):
    options = OmegaConf.load(file)
    wanted = set(inspect.signature(get_class(options._target_).__init__).parameters) - GIVEN_BY_CODE
    assert {str(name) for name in options} - {"_target_", "_partial_"} == wanted


def test_the_default_optimizer_is_the_papers():
    names = {"optimizer": "adamw", "scheduler": "cosine", "trainer": "default"}
    conf = OmegaConf.create({group: OmegaConf.load(CONF / group / f"{name}.yaml") for group, name in names.items()})
    optimizer = instantiate(conf.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    scheduler = instantiate(conf.scheduler)(optimizer)
    assert scheduler.get_last_lr()[0] == pytest.approx(5e-5)
    for _ in range(conf.trainer.max_epochs):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr()[0] == pytest.approx(0)
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(1e-3)


def test_the_constant_schedule_is_constant():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = instantiate(OmegaConf.load(CONF / "scheduler" / "constant.yaml"))(optimizer)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == 0.5
