"""Callbacks that Lightning lacks; conf/callbacks lists all that a run has."""

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
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from style_match.utils import progress
from style_match.utils.files import write_whole


def quiet_lightning() -> None:
    """Silence Lightning's remarks that no user of this package can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*isinstance.treespec, LeafSpec.*",
        "Checkpoint directory .* exists and is not empty",
        "The `srun` command is available on your system but is not used",
        "torch.distributed.nn.functional.all_gather is deprecated",
        "`LightningModule.configure_optimizers` returned `None`",
        ".*does not have many workers which may be a bottleneck",
        "The `LightningModule.training_step` .* no optimizer",
        "Experiment logs directory .* exists and is not empty",
        r"Found .* module\(s\) in eval mode at the start of training",
    ):
        warnings.filterwarnings("ignore", message=message)


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that a kill or a full disk cannot leave half written.

    Lightning writes them in the system's temporary folder first, and moves them; from another disk that is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # but not the run folder, which somebody may have removed
        last = " ckpt_path=last" if (path.parent / "last.ckpt").exists() else ""
        remedy = f"Free some space, then go on with run={path.parents[1]}{last}."
        write_whole(path, content.getvalue(), remedy=remedy)


class RunCheckpoint(ModelCheckpoint):
    """A checkpoint whose best score survives a move of the run folder, where Lightning would forget it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": str(self.dirpath)})


class LastCheckpoint(RunCheckpoint):
    """The checkpoint that a killed run resumes from: of the first and the last epoch, and of others as time allows.

    Args:
        every_s: Least seconds between two writes; weights and optimizer are three times the head, and writing them
            after every short epoch would take as long as training.
        **options: Of `ModelCheckpoint`.
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
    """Do not train further when a checkpoint of an early-stopped run is resumed."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        stopping = trainer.early_stopping_callback
        if stopping is not None and stopping.wait_count >= max(stopping.patience, 1):
            trainer.should_stop = True


class EndBySignal(Callback):
    """Let SIGTERM end the process as it did before training.

    Lightning would first finish the batch and exit with code 0, so that a cluster would take the run for finished.
    """

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self.before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.before is not None and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, self.before)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a handler does not go to another process


class Threads(Callback):
    """Give every process `num` CPU threads, since sums in another order differ in their last bits, and quiet it."""

    def __init__(self, num: int | None):
        self.num = num

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        quiet_lightning()
        if self.num is not None:
            torch.set_num_threads(self.num)


class FitProgress(Callback):
    """One progress bar over all epochs."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch and trainer.is_global_zero:
            progress.say(f"training: resumes after epoch {trainer.current_epoch} of {trainer.max_epochs}")
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
        del self.bar, self.advance

    def on_exception(self, trainer: lightning.Trainer, *_: Any) -> None:
        if hasattr(self, "bar"):
            self.bar.__exit__(None, None, None)
