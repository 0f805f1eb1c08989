"""What a run reports: the weights of the epoch with the best val/mrr, after which it stops."""

import pytest
import torch

from style_match.training.checkpoints import selected
from style_match.training.loop import fit
from style_match.training.run_folder import RunFolder


@pytest.fixture
def fitted(couple_data, matcher, config, tmp_path):
    """A module fitted with a scripted val/mrr, the selected checkpoint, and the folder of checkpoints."""
    module, script = matcher(), iter([0.1, 0.5, 0.4, 0.3, 0.9])
    module.retrieval = lambda *_: {"mrr": next(script)}
    run = RunFolder(tmp_path / "run", resume=False)
    trainer = fit(config(max_epochs=5, patience=2), module, couple_data(), run.path)
    return module, selected(trainer, module, run.path), run.checkpoints


def test_the_best_epoch_is_selected_and_training_stops_after_the_patience(fitted):
    module, chosen, checkpoints = fitted
    assert (chosen.epoch, chosen.epochs_run) == (1, 4)
    best, last = (
        torch.load(checkpoints / f"{name}.ckpt", weights_only=True)["state_dict"]["head.linear2.weight"]
        for name in ("best", "last")
    )
    assert torch.equal(module.head.linear2.weight, best)
    assert not torch.equal(best, last)
