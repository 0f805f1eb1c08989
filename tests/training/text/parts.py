"""Synthetic couples, a module and its fit, for the tests of texts."""

from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.data.datamodule import MatchDataModule
from style_match.data.sampler.pair import PairSampler
from style_match.evaluation.evaluator import Evaluator
from style_match.models.head.mlp import MLP
from style_match.models.loss.infonce import InfoNCE
from style_match.models.module import MatchModule
from style_match.training.loop import make_trainer

DIM = 24


def made_data(num: int, **options) -> MatchDataModule:
    """`num` couples with a photo a profile; partners share a taste."""
    generator = torch.Generator().manual_seed(1)
    tastes = torch.randn(num, 4, generator=generator).repeat(2, 1)
    own = torch.randn(2 * num, DIM, generator=generator)
    return MatchDataModule(
        task="couple",
        profile_ids=[f"p{i}" for i in range(2 * num)],
        photo_profile=list(range(2 * num)),
        people=list(range(2 * num)),
        couples=[(i, num + i) for i in range(num)],
        split={
            "train": range(num * 6 // 10),
            "val": range(num * 6 // 10, num * 8 // 10),
            "test": range(num * 8 // 10, num),
        },
        sampler=partial(PairSampler, batch_size=8, drop_last=True),
        seed=0,
        max_loss_items=1000,
        features=tastes @ torch.randn(4, DIM, generator=generator) + own,
        **options,
    )


def made_matcher(**options) -> MatchModule:
    torch.manual_seed(0)
    return MatchModule(
        head=MLP(in_dim=DIM, hidden_dim=32, dim=16, bias=False, standardize=False),
        loss=InfoNCE(temperature=0.2, symmetric=False),
        optimizer=partial(torch.optim.AdamW, lr=5e-3),
        scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0, total_iters=0),
        evaluator=Evaluator(default_ks=(1, 5), block=7),
        **options,
    )


def fitted(matcher: MatchModule, data: MatchDataModule, folder: Path, *, max_epochs: int):
    options = OmegaConf.load(main.conf_dir() / "trainer" / "default.yaml")
    cfg = OmegaConf.create({"trainer": {**options, "accelerator": "cpu", "max_epochs": max_epochs}})
    folder.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(cfg, folder, callbacks=[], logger=False)
    trainer.fit(matcher, datamodule=data)
    matcher.eval()
    return trainer
