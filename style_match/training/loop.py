"""Fitting a head: data module, module, the processes that train it; loading what was selected."""

import inspect
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from style_match.backbone.inputs import Inputs
from style_match.data.datamodule import MatchData
from style_match.data.texts import Texts
from style_match.models.module import Matcher
from style_match.training.callbacks import RunCheckpoint, WholeFiles, how_to_go_on, train
from style_match.training.devices import backend, followers, num_processes, takes_steps
from style_match.training.text import loss_options, text_term
from style_match.utils import progress
from style_match.utils.errors import UserError


@dataclass(frozen=True)
class Selected:
    """The checkpoint that was selected: `best` is its file, `epoch` counts from 0, `score` its val/mrr."""

    best: Path
    epoch: int
    score: float
    epochs_run: int


def build_data(cfg: DictConfig, inputs: Inputs, *, features: Tensor | None, texts: Texts | None = None) -> MatchData:
    """The data module of a run; without `features` (P, D) its batches carry paths and prompts (encode=online)."""
    balancing = inputs.balancing
    if features is not None and balancing.views is not None:
        features = torch.cat([features, inputs.view_features])
    return MatchData.from_folder(
        inputs.folder,
        inputs.split,
        features=features,
        rows=inputs.rows,
        sampler=instantiate(cfg.sampler),
        balance=balancing.balance,
        views=balancing.views,
        seed=cfg.seed,
        max_loss_items=cfg.trainer.max_loss_items,
        texts=texts,
    )


def build_head(cfg: DictConfig, inputs: Inputs) -> nn.Module:
    """The head of a run with fresh weights, which depend on `seed` alone."""
    lightning.seed_everything(cfg.seed, verbose=False)
    return instantiate(cfg.head)(in_dim=inputs.dim)


def make_optimizer(options: DictConfig) -> Any:
    """What makes an optimizer of parameters.

    Raises:
        UserError: it does not take these options, such as `fused`, which not all of torch's have.
    """
    make = instantiate(options)
    try:
        inspect.signature(make).bind([])
    except (TypeError, ValueError) as error:
        given = ", ".join(f"optimizer.{name}" for name in map(str, options) if not name.startswith("_"))
        raise UserError(
            f"optimizer._target_={options._target_} does not take all of {given} ({error}): leave one out, as in "
            "~optimizer.fused."
        ) from error
    return make


def build_matcher(cfg: DictConfig, inputs: Inputs, texts: Texts | None = None) -> Matcher:
    """The module of a run; `texts` are those of the training photos, where it trains on them."""
    head = build_head(cfg, inputs)
    return Matcher(
        head=head,
        loss=instantiate(loss_options(cfg)),
        text=text_term(cfg, inputs, head, texts),
        optimizer=make_optimizer(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        ks=cfg.evaluation.ks or cfg.evaluation.default_ks,
        block=cfg.evaluation.block,
        encode_fn=inputs.encode_online if cfg.encode == "online" else None,
    )


def fit(
    cfg: DictConfig, matcher: Matcher, data: MatchData, folder: Path, loggers: list[Any], resume: Path | None
) -> Selected:
    """Train until `trainer.max_epochs` or early stopping, and load the selected weights into `matcher`.

    A head without parameters to train is a closed form: it is fitted at once. Of several devices
    (`trainer.devices`) this process serves the first one, and followers the others.

    Raises:
        UserError: the disk is full, there are fewer devices, or a follower met a mistake, was killed or cannot be sent
            its work.
    """
    if not takes_steps(matcher.head):
        if data.views is not None or not data.balance.is_plain:
            progress.say("balance: changes nothing here, a closed form is fitted to every training photo, once")
        return fit_closed(matcher, data, folder, resume)
    options: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    work = partial(train, matcher, data, options, folder, resume=resume, threads=torch.get_num_threads())
    num = num_processes(cfg, matcher.head) - 1
    go_on = partial(how_to_go_on, folder, "Go on")
    with followers(work, num, backend=backend(cfg.trainer.accelerator), remedy=go_on):
        trainer = work(loggers=loggers, show=cfg.progress)
    checkpoint = trainer.checkpoint_callback
    assert isinstance(checkpoint, RunCheckpoint) and checkpoint.best_model_score is not None
    best = Path(checkpoint.best_model_path)
    epoch = load_head(matcher.head, best)
    if matcher.text is not None and matcher.text.head is not None:
        load_head(matcher.text.head, best, "text.head")
    return Selected(best, epoch, float(checkpoint.best_model_score), trainer.current_epoch)


def fit_closed(matcher: Matcher, data: MatchData, folder: Path, resume: Path | None) -> Selected:
    """Fit a closed form, or take it from a checkpoint, and leave checkpoints of it as training does, of epoch 0."""
    if resume:
        load_head(matcher.head, resume)
    matcher.eval().fit_closed(data)
    batch = data.gallery_batch(data.gallery("val"))
    score = matcher.retrieval(matcher.embed_profiles(batch), batch)["mrr"]
    state = {f"head.{name}": value for name, value in matcher.head.state_dict().items()}
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    files = WholeFiles()
    for name in ("best", "last"):
        files.save_checkpoint({"state_dict": state, "epoch": 0}, folder / "checkpoints" / f"{name}.ckpt")
    return Selected(folder / "checkpoints" / "best.ckpt", 0, score, 0)


def checkpoint_path(name: str, folder: Path) -> Path:
    """The file of a checkpoint: `best` and `last` are the run folder's own, anything else is a path.

    Raises:
        UserError: there is no such file.
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

    `part` is what the head is called in the checkpoint: `head`, or `text.head` for that of texts.

    Raises:
        UserError: the file is no checkpoint of this head.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
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
        said = str(error).partition("\n")[0] or type(error).__name__
        reason = f"it has no {said}" if isinstance(error, KeyError) else said
        raise UserError(
            f"{path} is not a checkpoint of this head: {reason.rstrip('.')}. Name one that a run wrote, such as "
            "RUN/checkpoints/best.ckpt."
        ) from error


def _other_shapes(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """In which weights two heads differ, in words; nothing where they have the same."""
    shapes = [{name: list(weight.shape) for name, weight in weights.items()} for weights in (found, wanted)]
    names = [name for name in dict.fromkeys((*shapes[1], *shapes[0])) if shapes[0].get(name) != shapes[1].get(name)]
    differences = [
        f"{name} is {shapes[0].get(name, 'not there')}, not {shapes[1].get(name, 'there')}" for name in names
    ]
    return "; ".join(differences[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
