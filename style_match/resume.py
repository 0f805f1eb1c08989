"""Whether a run may go on, and from which checkpoint: as it began, or not at all."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.errors import UserError
from style_match.fit import checkpoint_path
from style_match.run_config import PACE, is_below, leaves, read_config

DECIDES_TRAINING = (
    "seed",
    "threads",
    "encode",
    "split",
    "data",
    "backbone",
    "prompt",
    "pooling",
    "head",
    "loss",
    "text",
    "sampler",
    "optimizer",
    "balance",
    "scheduler",
    "trainer.devices",
    "trainer.gradient_clip_val",
    "trainer.precision",
    "trainer.early_stopping",
)
ABSENT = object()


def resume_from(cfg: DictConfig, folder: Path) -> Path | None:
    """The checkpoint that a run with `run=` goes on from; None where it starts.

    Raises:
        UserError: there is no checkpoint, training would overwrite one, or the command line changes what was trained.
    """
    if cfg.run is None:
        return None
    was = read_config(cfg.run)
    if "trainer" not in was:
        raise UserError(f"run={cfg.run} is no run of style_match.train: name the folder of one, or leave run out.")
    before, now = leaves(was), leaves(cfg)
    for part in DECIDES_TRAINING:
        if OmegaConf.select(was, part, default=ABSENT) is ABSENT:
            continue  # a run of an older version lacks it, and takes it from the configs
        if _options_of(part, before) != _options_of(part, now):
            raise UserError(
                f"run={cfg.run} was begun with another {part}: start a new run for that, or leave {part} out."
            )
    _refuse_other_length(was, cfg)
    has_last = (folder / "checkpoints" / "last.ckpt").is_file()
    if cfg.ckpt_path is None and has_last:
        raise UserError(f"run={cfg.run} would be trained anew: add ckpt_path=last to go on with it, or leave run out.")
    if cfg.ckpt_path is None and (folder / "metrics.json").exists():
        raise UserError(
            f"run={cfg.run} is finished, and has no checkpoint to go on from. Leave run out for a new run; "
            f"`python -m style_match.evaluate run={cfg.run}` scores this one again."
        )
    if cfg.ckpt_path and not has_last:
        raise UserError(
            f"ckpt_path=last: {folder} has no checkpoint yet, for a run writes its first after one epoch. Write "
            f"run={cfg.run} alone."
        )
    return checkpoint_path(cfg.ckpt_path, folder) if cfg.ckpt_path else None


def _refuse_other_length(was: DictConfig, cfg: DictConfig) -> None:
    """A schedule that was made for a number of epochs cannot be gone on with for another."""
    epochs = was.trainer.max_epochs
    if epochs == cfg.trainer.max_epochs:
        return
    options = dict(was.get("scheduler") or {}).items()
    if follows := [name for name, value in options if type(value) is int and value == epochs]:
        raise UserError(
            f"run={cfg.run} was begun with trainer.max_epochs={epochs}, and its learning rate follows it "
            f"(scheduler.{follows[0]}={epochs}): start a new run for trainer.max_epochs={cfg.trainer.max_epochs}, or "
            "leave it out."
        )


def _options_of(part: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those options of a part that decide the result."""
    return {path: value for path, value in options.items() if is_below(path, [part]) and not is_below(path, PACE)}
