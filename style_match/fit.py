"""Fitting a head: data module, module, trainer; selection by val/mrr; checkpoints a killed run goes on from."""

import io
import logging
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from style_match import progress
from style_match.datamodule import MatchData
from style_match.errors import UserError
from style_match.files import write_whole
from style_match.inputs import Inputs
from style_match.module import Matcher
from style_match.text.batch import Texts
from style_match.text.training import loss_options, text_term

MONITOR = "val/mrr"


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


def build_matcher(cfg: DictConfig, inputs: Inputs, texts: Texts | None = None) -> Matcher:
    """The module of a run; `texts` are those of the training photos, where it trains on them."""
    head = build_head(cfg, inputs)
    return Matcher(
        head=head,
        loss=instantiate(loss_options(cfg)),
        text=text_term(cfg, inputs, head, texts),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        ks=cfg.evaluation.ks or cfg.evaluation.default_ks,
        block=cfg.evaluation.block,
        encode_fn=inputs.encode_online if cfg.encode == "online" else None,
    )


def fit(
    cfg: DictConfig, matcher: Matcher, data: MatchData, folder: Path, loggers: list[Any], resume: Path | None
) -> Selected:
    """Train until `trainer.max_epochs` or early stopping, and load the selected weights into `matcher`.

    A head without parameters to train is a closed form: it is fitted at once.

    Raises:
        UserError: the disk is full.
    """
    if not any(parameter.requires_grad for parameter in matcher.head.parameters()):
        if data.views is not None or not data.balance.is_plain:
            progress.say("balance: changes nothing here, a closed form is fitted to every training photo, once")
        return fit_closed(matcher, data, folder, resume)
    options: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    trainer = make_trainer(options, folder, loggers, show=cfg.progress)
    trainer.fit(matcher, datamodule=data, ckpt_path=resume, weights_only=True)
    checkpoint = trainer.checkpoint_callback
    assert isinstance(checkpoint, RunCheckpoint) and checkpoint.best_model_score is not None
    best = Path(checkpoint.best_model_path)
    epoch = load_head(matcher.head, best)
    if matcher.text is not None and matcher.text.head is not None:
        load_head(matcher.text.head, best, "text.head")
    return Selected(best, epoch, float(checkpoint.best_model_score), trainer.current_epoch)


def make_trainer(options: dict[str, Any], folder: Path, loggers: Any, *, show: bool) -> lightning.Trainer:
    """The Trainer of a run in `folder`: best.ckpt has the weights of the best val/mrr, last.ckpt what a run goes on from.

    Args:
        options: of `conf/trainer`, and any others of lightning.Trainer.
        show: a progress bar.
    """
    own = ("early_stopping", "precision", "max_loss_items", "checkpoint_every_s")
    place: dict[str, Any] = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
    callbacks: list[Callback] = [
        RunCheckpoint(**place, filename="best", monitor=MONITOR, mode="max", save_weights_only=True),
        # Without a monitor it is written whatever the epoch's score; `save_last` writes only where the best one is.
        # A run of an older version has no such option, and wrote it after every epoch.
        LastCheckpoint(**place, filename="last", every_s=options.get("checkpoint_every_s", 0.0)),
        EarlyStopping(monitor=MONITOR, mode="max", **options["early_stopping"]),
        StayStopped(),
    ]
    if show:
        callbacks.append(FitProgress())
    quiet()
    return lightning.Trainer(
        **{name: value for name, value in options.items() if name not in own},
        precision=choose_precision(options["precision"]),
        callbacks=callbacks,
        plugins=[WholeFiles()],
        logger=loggers,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit_closed(matcher: Matcher, data: MatchData, folder: Path, resume: Path | None) -> Selected:
    """Fit a closed form, or take it from a checkpoint, and leave checkpoints of it as training does, of epoch 0."""
    if resume:
        load_head(matcher.head, resume)
    matcher.eval().fit_closed(data)
    batch = data.gallery_batch(data.gallery("val"))
    score = matcher.retrieval(matcher.embed_profiles(batch), batch)["mrr"]
    state = {f"head.{name}": value for name, value in matcher.head.state_dict().items()}
    for name in ("best", "last"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        WholeFiles().save_checkpoint({"state_dict": state, "epoch": 0}, path)
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


def quiet() -> None:
    """Silence Lightning's remarks that no user of this package can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")


def choose_precision(precision: str) -> Any:
    """`auto` is bf16 mixed on a GPU that has it, else full precision."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that a kill or a full disk cannot leave half written."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        last = " ckpt_path=last" if (Path(path).parent / "last.ckpt").exists() else ""
        remedy = f"Free some space, then go on with run={Path(path).parents[1]}{last}."
        write_whole(Path(path), content.getvalue(), remedy=remedy)


class RunCheckpoint(ModelCheckpoint):
    """Knows the best checkpoint of a run also after its folder was moved, where Lightning would forget its score."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": str(self.dirpath)})


class LastCheckpoint(RunCheckpoint):
    """What a killed run goes on from, of the first epoch, of the last one, and of others as time allows.

    Args:
        every_s: written at most so often in between: weights and optimizer are three times the head, and writing them
            after every short epoch would take as long as training.
    """

    def __init__(self, *, every_s: float, **options: Any):
        super().__init__(**options)
        self.every_s = every_s
        self.written_at = -math.inf

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        is_due = is_last or time.monotonic() - self.written_at >= self.every_s
        if trainer.strategy.broadcast(is_due):  # all ranks wait for each other while it is written
            super().on_train_epoch_end(trainer, pl_module)
            self.written_at = time.monotonic()


class StayStopped(Callback):
    """A run that had stopped early and goes on from its last checkpoint stays stopped."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        stopping = trainer.early_stopping_callback
        assert stopping is not None
        if stopping.wait_count >= max(stopping.patience, 1):
            trainer.should_stop = True


class FitProgress(Callback):
    """One bar over all epochs, with val/mrr where a terminal can show it."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar = progress.bar("training", "steps", show=trainer.is_global_zero)
        self.advance = self.bar.__enter__()
        self.total = int(trainer.estimated_stepping_batches)
        self.began = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.advance(trainer.global_step, self.total)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.__exit__(None, None, None)
        if trainer.is_global_zero:
            seconds = time.monotonic() - self.began
            progress.say(f"training: {trainer.current_epoch} epochs, {trainer.global_step} steps in {seconds:.1f} s")

    def on_exception(self, trainer: lightning.Trainer, *_: Any) -> None:
        if hasattr(self, "bar"):
            self.bar.__exit__(None, None, None)
