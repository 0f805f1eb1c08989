"""What a run reports: the weights of the epoch with the best val/mrr, after which it stops."""

import pytest
import torch
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.training.loop import fit

VAL_MRR = [0.1, 0.5, 0.4, 0.3, 0.9]


@pytest.fixture
def fitted(couple_data, matcher, tmp_path):
    """A module fitted while val/loss falls and val/mrr is as in VAL_MRR, and what was selected."""
    cfg = OmegaConf.create({"trainer": OmegaConf.load(main.conf_dir() / "trainer" / "default.yaml"), "progress": False})
    cfg.trainer.merge_with({"accelerator": "cpu", "max_epochs": 5, "early_stopping": {"patience": 2}})
    module, script = matcher(), iter(VAL_MRR)
    module.retrieval = lambda *_: {"mrr": next(script)}
    selected = fit(cfg, module, couple_data(), tmp_path, [], None)
    return module, selected, tmp_path / "checkpoints"


def test_the_epoch_of_the_best_val_mrr_is_selected(fitted):
    _, selected, checkpoints = fitted
    assert (selected.epoch, selected.score, selected.best) == (1, pytest.approx(0.5), checkpoints / "best.ckpt")


def test_training_stops_when_val_mrr_has_not_risen_for_the_patience(fitted):
    assert fitted[1].epochs_run == 4


def test_the_weights_are_those_of_the_best_epoch_and_not_of_the_last(fitted):
    module, _, checkpoints = fitted
    best, last = (
        torch.load(checkpoints / f"{name}.ckpt", weights_only=True)["state_dict"]["head.linear2.weight"]
        for name in ("best", "last")
    )
    assert torch.equal(module.head.linear2.weight, best)
    assert not torch.equal(best, last)
