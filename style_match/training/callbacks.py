"""The Trainer of a run: selection by val/mrr, checkpoints that a killed run goes on from, progress, signals."""

import io
import logging
import math
import signal
import time
import warnings
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from style_match.data.datamodule import MatchData
from style_match.models.module import Matcher
from style_match.training.devices import OwnProcesses, SharedSteps
from style_match.utils import progress
from style_match.utils.files import write_whole
from style_match.utils.threads import pinned

MONITOR = "val/mrr"
LAST = "last.ckpt"


def train(
    matcher: Matcher,
    data: MatchData,
    options: dict[str, Any],
    folder: Path,
    *,
    threads: int,
    resume: Path | None = None,
    loggers: Any = False,
    show: bool = False,
    rank: int = 0,
) -> lightning.Trainer:
    """What each process of a training does, with `threads` of the CPU; returns the Trainer that is done.

    Raises:
        UserError: a checkpoint cannot be written.
    """
    trainer = make_trainer(options, folder, loggers, show=show, rank=rank)
    with pinned(threads):
        trainer.fit(matcher, datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer


def make_trainer(
    options: dict[str, Any], folder: Path, loggers: Any, *, show: bool, rank: int = 0
) -> lightning.Trainer:
    """The Trainer of a run in `folder`: best.ckpt has the weights of the best val/mrr, last.ckpt all to go on from.

    Args:
        options: of `conf/trainer`, and any others of lightning.Trainer.
        show: a progress bar.
        rank: of this process among `options["devices"]`; those of rank 0 alone write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = ("early_stopping", "precision", "max_loss_items", "checkpoint_every_s", "strategy")
    place: dict[str, Any] = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
    callbacks: list[Callback] = [
        RunCheckpoint(**place, filename="best", monitor=MONITOR, mode="max", save_weights_only=True),
        # Without a monitor it is written whatever the epoch's score; `save_last` writes only where the best one is.
        # A run of an older version has no such option, and wrote it after every epoch.
        LastCheckpoint(**place, filename="last", every_s=options.get("checkpoint_every_s", 0.0)),
        EarlyStopping(monitor=MONITOR, mode="max", **options["early_stopping"]),
        StayStopped(),
        EndBySignal(),
    ]
    if show:
        callbacks.append(FitProgress())
    quiet()
    return lightning.Trainer(
        **{name: value for name, value in options.items() if name not in own},
        precision=choose_precision(options["precision"]),
        strategy=SharedSteps() if options["devices"] > 1 else "auto",
        callbacks=callbacks,
        plugins=[WholeFiles(), OwnProcesses(rank)],
        logger=loggers,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def quiet() -> None:
    """Silence Lightning's remarks that no user of this package can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
    warnings.filterwarnings("ignore", message="torch.distributed.nn.functional.all_gather is deprecated")


def choose_precision(precision: str) -> Any:
    """`auto` is bf16 mixed on a GPU that has it, else full precision."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that a kill or a full disk cannot leave half written.

    Others wait in memory for last.ckpt and are written just before it: what a killed run goes on from then knows of no
    best.ckpt but the one that is there, and of that one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[Path, bytes] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        self.waiting[path] = content.getvalue()
        if path.name != LAST:
            return
        path.parent.mkdir(exist_ok=True)  # not the run folder: one that was removed stays so
        remedy = how_to_go_on(path.parents[1], "Free some space, then go on")
        for each, written in self.waiting.items():
            write_whole(each, written, remedy=remedy)
        self.waiting.clear()


def how_to_go_on(folder: Path, begin: str) -> str:
    """A sentence that begins so and ends with the words of the command line."""
    last = " ckpt_path=last" if (folder / "checkpoints" / LAST).exists() else ""
    return f"{begin} with run={folder}{last}."


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


class EndBySignal(Callback):
    """SIGTERM does what it did before training, which is to end the process.

    Lightning would first finish the batch, exit with code 0 and, under DDP, send what no other process waits for. A run
    that is ended at any moment goes on just the same.
    """

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self.before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.before is not None and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, self.before)


class FitProgress(Callback):
    """One bar over all epochs, with val/mrr where a terminal can show it."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch and trainer.is_global_zero:
            progress.say(f"training: goes on after epoch {trainer.current_epoch} of {trainer.max_epochs}")
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
            shared = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
            steps = f"{trainer.current_epoch} epochs, {trainer.global_step} steps"
            progress.say(f"training: {steps} in {seconds:.1f} s{shared}")

    def on_exception(self, trainer: lightning.Trainer, *_: Any) -> None:
        if hasattr(self, "bar"):
            self.bar.__exit__(None, None, None)
