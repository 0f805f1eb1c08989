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


def test_the_defaults_train_a_head():
    chosen = {"head": "mlp", "loss": "infonce", "optimizer": "adamw", "scheduler": "cosine", "trainer": "default"}
    conf = OmegaConf.create({group: OmegaConf.load(CONF / group / f"{name}.yaml") for group, name in chosen.items()})
    torch.manual_seed(0)
    head = instantiate(conf.head)(in_dim=10)
    optimizer = instantiate(conf.optimizer)(head.parameters())
    scheduler = instantiate(conf.scheduler)(optimizer)
    features, labels, side = torch.randn(16, 10), torch.arange(8).repeat(2), torch.arange(2).repeat_interleave(8)
    losses, rates = [], []
    for _ in range(conf.trainer.max_epochs):
        loss = instantiate(conf.loss)(head(features), labels, side).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.append(scheduler.get_last_lr()[0])
        scheduler.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert rates[0] == pytest.approx(5e-5) and scheduler.get_last_lr()[0] == pytest.approx(0)
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(1e-3)


def test_the_constant_schedule_is_constant():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = instantiate(OmegaConf.load(CONF / "scheduler" / "constant.yaml"))(optimizer)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == 0.5
