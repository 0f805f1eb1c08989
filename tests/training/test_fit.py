from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from style_match.models.head.mlp import MLP
from style_match.training.checkpoints import checkpoint_path, load_head
from style_match.training.evaluate import hypothesis
from style_match.training.loop import make_optimizer
from style_match.utils.errors import UserError


def head(dim: int) -> MLP:
    return MLP(in_dim=6, hidden_dim=4, dim=dim, bias=False, standardize=False)


def test_options_that_an_optimizer_does_not_take_are_named():
    rms = OmegaConf.create({"_target_": "torch.optim.RMSprop", "_partial_": True, "lr": 0.1, "fused": True})
    with pytest.raises(UserError, match=r"torch\.optim\.RMSprop does not take all of optimizer\.lr, optimizer\.fused"):
        make_optimizer(rms)
    del rms.fused
    assert make_optimizer(rms)(head(3).parameters()).defaults["lr"] == 0.1


def save(path: Path, module: MLP) -> Path:
    torch.save({"state_dict": {f"head.{name}": value for name, value in module.state_dict().items()}, "epoch": 7}, path)
    return path


def test_a_checkpoint_comes_back(tmp_path: Path):
    made, other = head(3), head(3)
    assert load_head(other, save(tmp_path / "best.ckpt", made)) == 7
    features = torch.randn(5, 6)
    assert torch.equal(other.eval()(features), made.eval()(features))


def test_a_checkpoint_of_another_head_or_no_checkpoint_is_named(tmp_path: Path):
    path = save(tmp_path / "best.ckpt", head(5))
    with pytest.raises(UserError, match=r"best\.ckpt is not a checkpoint of this head"):
        load_head(head(3), path)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"best\.ckpt is not a checkpoint of this head"):
        load_head(head(3), path)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save(Trap(), tmp_path / "best.ckpt")
    with pytest.raises(UserError):
        load_head(head(3), tmp_path / "best.ckpt")
    assert not (tmp_path / "sprung").exists()


def test_names_of_checkpoints(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert checkpoint_path("last", tmp_path) == tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"no checkpoint .*best\.ckpt \(ckpt_path=best\)"):
        checkpoint_path("best", tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.07, 0.09, "better than chance"),
        (0.05, 0.09, "not distinguishable from chance"),
        (0.03, 0.05, "worse than chance"),
    ],
)
def test_the_verdict_follows_the_interval(low: float, high: float, verdict: str):
    assert hypothesis({"value": 0.06, "ci95": [low, high]}, 0.065).endswith(f"{verdict}.")
