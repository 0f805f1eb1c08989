"""Synthetic features of couples and styles, and a module and trainer to fit them with."""

from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.data.datamodule import MatchDataModule
from style_match.data.sampler.pair import PairSampler
from style_match.data.sampler.pk import PKSampler
from style_match.evaluation.evaluator import Evaluator
from style_match.models.head.mlp import MLP
from style_match.models.loss.infonce import InfoNCE
from style_match.models.module import MatchModule
from style_match.training.loop import make_trainer

DIM = 24


def taste_features(tastes: torch.Tensor, seed: int) -> torch.Tensor:
    """(N, DIM) features of which a few directions tell the taste (N, Z) and the louder others do not."""
    generator = torch.Generator().manual_seed(seed)
    signal = tastes @ torch.randn(tastes.shape[1], DIM, generator=torch.Generator().manual_seed(99))
    loud = torch.randn(len(tastes), 6, generator=generator) @ torch.randn(
        6, DIM, generator=torch.Generator().manual_seed(98)
    )
    return signal + 2 * loud + 0.3 * torch.randn(len(tastes), DIM, generator=generator)


def thirds(num: int) -> dict[str, range]:
    """The first 60 % train, then val and test."""
    return {
        "train": range(num * 6 // 10),
        "val": range(num * 6 // 10, num * 8 // 10),
        "test": range(num * 8 // 10, num),
    }


@pytest.fixture
def couple_data():
    """Maker of MatchDataModule of `num` couples of one taste: left profiles first, `num_photos` photos each."""

    def make(num=60, num_photos=1, batch_size=8, seed=0, **options):
        tastes = torch.randn(num, 4, generator=torch.Generator().manual_seed(5)).repeat(2, 1)
        given = {
            "task": "couple",
            "profile_ids": [f"f{i}" for i in range(num)] + [f"m{i}" for i in range(num)],
            "photo_profile": torch.arange(2 * num).repeat(num_photos).tolist(),
            "people": list(range(2 * num)),
            "couples": [(i, num + i) for i in range(num)],
            "split": thirds(num),
            "sampler": partial(PairSampler, batch_size=batch_size, drop_last=True),
            "seed": seed,
            "max_loss_items": 1000,
            "features": taste_features(tastes.repeat(num_photos, 1), seed=1),
        }
        return MatchDataModule(**{**given, **options})

    return make


@pytest.fixture
def style_data():
    """Maker of MatchDataModule of `num` profiles in three classes."""

    def make(num=90, num_photos=1, seed=0, **options):
        classes = torch.arange(num) % 3
        given = {
            "task": "style",
            "profile_ids": [f"p{i}" for i in range(num)],
            "photo_profile": torch.arange(num).repeat(num_photos).tolist(),
            "people": list(range(num)),
            "labels": [["chic", "street", "classy"][c] for c in classes.tolist()],
            "split": thirds(num),
            "sampler": partial(PKSampler, num_classes=3, num_samples=4, num_batches=None),
            "seed": seed,
            "max_loss_items": 1000,
            "features": taste_features(2 * torch.eye(4)[classes].repeat(num_photos, 1), seed=2),
        }
        return MatchDataModule(**{**given, **options})

    return make


@pytest.fixture
def matcher():
    """Maker of a freshly initialised MatchModule."""

    def make(seed=0, lr=5e-3, standardize=True, **options):
        torch.manual_seed(seed)
        given = {
            "head": MLP(in_dim=DIM, hidden_dim=32, dim=16, bias=False, standardize=standardize),
            "loss": InfoNCE(temperature=0.2, symmetric=False),
            "optimizer": partial(torch.optim.AdamW, lr=lr, weight_decay=1e-3),
            "scheduler": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=6, eta_min=0.0),
            "evaluator": Evaluator(default_ks=(1, 5, 50), block=7, num_resamples=100),
        }
        return MatchModule(**{**given, **options})

    return make


@pytest.fixture
def config(tmp_path):
    """Maker of the config of a run on the CPU; `folder` is the run folder, options are those of the Trainer."""

    def make(max_epochs=2, folder="run", patience=10, checkpoint_every_s=5.0, **options):
        parts = {name: OmegaConf.load(main.conf_dir() / name / "default.yaml") for name in ("trainer", "callbacks")}
        cfg = OmegaConf.create({**parts, "encode": "cached", "threads": 1, "progress": False})
        cfg.trainer.merge_with({"accelerator": "cpu", "max_epochs": max_epochs, **options})
        cfg.trainer.merge_with({"early_stopping": {"patience": patience}, "checkpoint_every_s": checkpoint_every_s})
        cfg.callbacks.best.dirpath = cfg.callbacks.last.dirpath = str(tmp_path / folder / "checkpoints")
        return cfg

    return make


@pytest.fixture
def trainer(config, tmp_path):
    """Maker of the Trainer of a run on the CPU, with the callbacks that a run has."""

    def make(max_epochs=2, folder="run", logger=False, callbacks=(), **options):
        cfg = config(max_epochs, folder, **options)
        own = [instantiate(each) for each in cfg.callbacks.values()]
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        made = make_trainer(cfg, tmp_path / folder, callbacks=[*callbacks, *own], logger=logger)
        made.checkpoints = tmp_path / folder / "checkpoints"
        return made

    return make
