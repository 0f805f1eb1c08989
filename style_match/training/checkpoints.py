"""Checkpoints of a run: which one was selected, and the weights in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from style_match.models.module import MatchModule
from style_match.utils.errors import UserError


@dataclass(frozen=True)
class Selected:
    """The selected checkpoint; `epoch` counts from 0 and is None where nothing was saved, as in a fast_dev_run."""

    epoch: int | None
    epochs_run: int


def selected(trainer: lightning.Trainer, module: MatchModule, folder: Path) -> Selected:
    """Load the best checkpoint of a fit into its module, where one was saved."""
    best, last = (folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    saves = [each for each in trainer.callbacks if isinstance(each, ModelCheckpoint)]  # type: ignore[attr-defined]
    if trainer.fast_dev_run or not best.is_file() or (saves and trainer.max_epochs == 0):  # type: ignore[attr-defined]
        return Selected(None, trainer.current_epoch)
    epochs_run = int(_read(last)["epoch"]) + 1 if saves and last.is_file() else 0
    return Selected(load_weights(module, best), epochs_run)


def load_weights(module: MatchModule, path: Path) -> int:
    """Load head and text head from a checkpoint, and return the epoch they are of."""
    epoch = load_head(module.head, path)
    if module.text is not None and module.text.head is not None:
        load_head(module.text.head, path, "text.head")
    module.selected_epoch = epoch
    return epoch


def checkpoint_path(name: str, folder: Path) -> Path:
    """Return the file of a checkpoint: `best` and `last` are the run folder's own, anything else is a path.

    Raises:
        UserError: There is no such file.
    """
    path = folder / "checkpoints" / f"{name}.ckpt" if name in ("best", "last") else Path(name).expanduser()
    if not path.is_file():
        own = path.parent == folder / "checkpoints"
        remedy = "A run writes its first after one epoch; start it anew without run and ckpt_path."
        raise UserError(
            f"There is no checkpoint {path} (ckpt_path={name}). {remedy if own else 'Write best, last, or a file.'}"
        )
    return path


def load_head(head: nn.Module, path: Path, part: str = "head") -> int:
    """Load a checkpoint's weights into `head`, and return the epoch they are of; plain types and tensors only.

    Args:
        head: A head of the run's shape.
        path: A checkpoint file.
        part: What the head is called in the checkpoint: `head`, or `text.head` for that of texts.

    Raises:
        UserError: The file is no checkpoint of this head.
    """
    try:
        content = _read(path)
        state = content["state_dict"].items()
        own = f"{part}."
        weights = {name.removeprefix(own): value for name, value in state if name.startswith(own)}
        if others := _other_shapes(weights, head.state_dict()):
            raise UserError(
                f"{path} is not a checkpoint of this head: {others}. Leave head.hidden_dim, head.dim and backbone as "
                "its run had them, or name another file by ckpt_path."
            )
        head.load_state_dict(weights)
        return content["epoch"]
    except UserError:
        raise
    except Exception as error:  # bytes that are no checkpoint can make the reader raise anything
        text = str(error).partition("\n")[0] or type(error).__name__
        reason = f"it has no {text}" if isinstance(error, KeyError) else text
        raise UserError(
            f"{path} is not a checkpoint of this head: {reason.rstrip('.')}. Name one that a run wrote, such as "
            "RUN/checkpoints/best.ckpt."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def _other_shapes(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """Return in words in which weights two heads differ; nothing where they have the same."""
    shapes = [{name: list(weight.shape) for name, weight in weights.items()} for weights in (found, wanted)]
    names = [name for name in dict.fromkeys((*shapes[1], *shapes[0])) if shapes[0].get(name) != shapes[1].get(name)]
    differences = [
        f"{name} is {shapes[0].get(name, 'not there')}, not {shapes[1].get(name, 'there')}" for name in names
    ]
    return "; ".join(differences[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
