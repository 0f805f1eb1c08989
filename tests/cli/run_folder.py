"""A run folder for commands that take one."""

from pathlib import Path

from omegaconf import OmegaConf


def write_run(path: Path, **changes) -> Path:
    """A run folder as `style_match.train` leaves it, as far as its config goes."""
    path.mkdir(parents=True)
    config = {
        "seed": 7,
        "run": None,
        "ckpt_path": None,
        "debug": False,
        "progress": True,
        "data": {"name": "demo_styles", "task": "style", "root": "/styles"},
        "head": {"_target_": "style_match.models.head.mlp.MLP", "dim": 64},
        "loss": {"_target_": "style_match.models.loss.triplet.Triplet", "margin": 0.3},
        "sampler": {"_target_": "style_match.data.sampler.pk.PKSampler", "num_classes": 5},
    }
    OmegaConf.save(OmegaConf.create(config | changes), path / "config.yaml")
    return path
