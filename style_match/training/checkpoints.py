"""Checkpoints of a run: the selected one, and the weights in them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from style_match.models.module import MatchModule
from style_match.utils.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selected:
    """The selected checkpoint.

    Attributes:
        epoch: Its epoch, counted from 0; None if nothing was saved, as in a fast_dev_run.
        epochs_run: Number of epochs of the training.
    """

    epoch: int | None
    epochs_run: int


def selected(trainer: lightning.Trainer, module: MatchModule, folder: Path) -> Selected:
    """Load the best checkpoint of a fit into its module, if one was saved."""
    best, last = (folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    saves = [each for each in trainer.callbacks if isinstance(each, ModelCheckpoint)]  # type: ignore[attr-defined]
    if trainer.fast_dev_run or not best.is_file() or (saves and trainer.max_epochs == 0):  # type: ignore[attr-defined]
        return Selected(None, trainer.current_epoch)
    epochs_run = int(_read(last)["epoch"]) + 1 if saves and last.is_file() else 0
    epoch = load_weights(module, best)
    if epochs_run:
        log.info("selected: epoch %d of %d", epoch + 1, epochs_run)
    return Selected(epoch, epochs_run)


def load_weights(module: MatchModule, path: Path) -> int:
    """Load head and text head from a checkpoint, and return its epoch."""
    epoch = load_head(module.head, path)
    if module.text is not None and module.text.head is not None:
        load_head(module.text.head, path, "text.head")
    module.selected_epoch = epoch
    return epoch


def checkpoint_path(name: str, folder: Path) -> Path:
    """Return the file of a checkpoint: `best` or `last` in the run folder, or a path.

    Raises:
        UserError: There is no such file.
    """
    path = folder / "checkpoints" / f"{name}.ckpt" if name in ("best", "last") else Path(name).expanduser()
    if not path.is_file():
        own = path.parent == folder / "checkpoints"
        remedy = "A run writes its first one after one epoch. Start a new run without run and ckpt_path."
        raise UserError(
            f"There is no checkpoint {path} (ckpt_path={name}). {remedy if own else 'Set best, last, or a file.'}"
        )
    return path


def load_head(head: nn.Module, path: Path, part: str = "head") -> int:
    """Load a checkpoint's weights into `head`, and return its epoch. Nothing but tensors and plain types is unpickled.

    Args:
        head: A head of the run's shape.
        path: A checkpoint file.
        part: Name of the head in the checkpoint: `head`, or `text.head` for that of texts.

    Raises:
        UserError: The file is not a checkpoint of this head.
    """
    try:
        content = _read(path)
        state = content["state_dict"].items()
        prefix = f"{part}."
        weights = {name.removeprefix(prefix): value for name, value in state if name.startswith(prefix)}
        if others := _other_shapes(weights, head.state_dict()):
            raise UserError(
                f"{path} is not a checkpoint of this head: {others}. Use the head.hidden_dim, head.dim and backbone of "
                "its run, or set another ckpt_path."
            )
        head.load_state_dict(weights)
        return content["epoch"]
    except UserError:
        raise
    except Exception as error:  # torch.load raises many kinds of errors for other files
        text = str(error).partition("\n")[0] or type(error).__name__
        reason = f"it has no {text}" if isinstance(error, KeyError) else text
        raise UserError(
            f"{path} is not a checkpoint of this head: {reason.rstrip('.')}. Set one that a run wrote, such as "
            "RUN/checkpoints/best.ckpt."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def _other_shapes(found: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """Return a text on the weights whose shapes differ; empty if none does."""
    has, needs = ({name: list(weight.shape) for name, weight in weights.items()} for weights in (found, expected))
    names = [name for name in {**needs, **has} if has.get(name) != needs.get(name)]
    texts = [f"{name} is {has.get(name, 'missing')} instead of {needs.get(name, 'missing')}" for name in names]
    return "; ".join(texts[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
