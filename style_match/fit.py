"""Fitting a head: data module, module, trainer; selection by val/mrr; checkpoints a killed run goes on from."""

import io
import logging
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
from style_match.run import read_config

MONITOR = "val/mrr"
DECIDES_TRAINING = (
    "seed",
    "split",
    "data",
    "backbone",
    "prompt",
    "pooling",
    "head",
    "loss",
    "sampler",
    "optimizer",
    "scheduler",
)


@dataclass(frozen=True)
class Selected:
    """The checkpoint that was selected: `best` is its file, `epoch` counts from 0, `score` its val/mrr."""

    best: Path
    epoch: int
    score: float
    epochs_run: int


def build_data(cfg: DictConfig, inputs: Inputs, *, features: Tensor | None) -> MatchData:
    """The data module of a run; without `features` (P, D) its batches carry paths and prompts (encode=online)."""
    return MatchData.from_folder(
        inputs.folder,
        inputs.split,
        features=features,
        rows=inputs.rows,
        sampler=instantiate(cfg.sampler),
        seed=cfg.seed,
        max_loss_items=cfg.trainer.max_loss_items,
    )


def build_head(cfg: DictConfig, inputs: Inputs) -> nn.Module:
    """The head of a run with fresh weights, which depend on `seed` alone."""
    lightning.seed_everything(cfg.seed, verbose=False)
    return instantiate(cfg.head)(in_dim=inputs.features.shape[1])


def build_matcher(cfg: DictConfig, inputs: Inputs) -> Matcher:
    """The module of a run."""
    return Matcher(
        head=build_head(cfg, inputs),
        loss=instantiate(cfg.loss),
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

    Raises:
        UserError: the disk is full.
    """
    options: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    stopping = options.pop("early_stopping")
    precision = options.pop("precision")
    options.pop("max_loss_items")
    checkpoint = RunCheckpoint(
        dirpath=folder / "checkpoints",
        filename="best",
        monitor=MONITOR,
        mode="max",
        enable_version_counter=False,
    )
    # Without a monitor it is written after every epoch; `save_last` writes only where the best one is.
    last = RunCheckpoint(dirpath=folder / "checkpoints", filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [
        checkpoint,
        last,
        EarlyStopping(monitor=MONITOR, mode="max", **stopping),
        StayStopped(),
    ]
    if cfg.progress:
        callbacks.append(FitProgress())
    quiet()
    trainer = lightning.Trainer(
        **options,
        precision=choose_precision(precision),
        callbacks=callbacks,
        plugins=[WholeFiles()],
        logger=loggers,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(matcher, datamodule=data, ckpt_path=resume, weights_only=True)
    assert checkpoint.best_model_score is not None
    best = Path(checkpoint.best_model_path)
    epoch = load_head(matcher.head, best)
    return Selected(best, epoch, float(checkpoint.best_model_score), trainer.current_epoch)


def resume_from(cfg: DictConfig, folder: Path) -> Path | None:
    """The checkpoint that a run with `run=` goes on from; None where it starts.

    Raises:
        UserError: there is no checkpoint, training would overwrite one, or the command line changes what was trained.
    """
    if cfg.run is None:
        return None
    was = read_config(cfg.run)
    for part in DECIDES_TRAINING:
        if _without_pace(was[part]) != _without_pace(cfg[part]):
            raise UserError(
                f"run={cfg.run} was begun with another {part}: start a new run for that, or leave {part} out."
            )
    has_last = (folder / "checkpoints" / "last.ckpt").is_file()
    if cfg.ckpt_path is None and (has_last or (folder / "metrics.json").exists()):
        raise UserError(f"run={cfg.run} holds results, to be trained anew: add ckpt_path=last, or leave run out.")
    if cfg.ckpt_path and not has_last:
        raise UserError(
            f"ckpt_path=last: {folder} has no checkpoint yet, for a run writes its first after one epoch. Write "
            f"run={cfg.run} alone."
        )
    return checkpoint_path(cfg.ckpt_path, folder) if cfg.ckpt_path else None


def _without_pace(part: Any) -> Any:
    """Without what changes the speed of a run and not its result."""
    if not OmegaConf.is_dict(part):
        return part
    pace = ("num_workers", "device", "token_budget")
    return {name: value for name, value in dict(part).items() if name not in pace}


def checkpoint_path(name: str, folder: Path) -> Path:
    """The file of a checkpoint: `best` and `last` are the run folder's own, anything else is a path.

    Raises:
        UserError: there is no such file.
    """
    path = folder / "checkpoints" / f"{name}.ckpt" if name in ("best", "last") else Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"There is no checkpoint {path} (ckpt_path={name}). A run writes its first after one epoch; start it anew "
            "without run and ckpt_path."
        )
    return path


def load_head(head: nn.Module, path: Path) -> int:
    """Load a checkpoint's weights into `head`, and return the epoch they are of; plain types and tensors only.

    Raises:
        UserError: the file is no checkpoint of this head.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content["state_dict"].items()
        weights = {name.removeprefix("head."): value for name, value in state if name.startswith("head.")}
        head.load_state_dict(weights)
        return content["epoch"]
    except Exception as error:  # bytes that are no checkpoint can make the reader raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} is not a checkpoint of this head: {reason}") from error


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
        write_whole(Path(path), content.getvalue())


class RunCheckpoint(ModelCheckpoint):
    """Knows the best checkpoint of a run also after its folder was moved, where Lightning would forget its score."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": str(self.dirpath)})


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
