"""Callbacks that Lightning does not have; conf/callbacks has all callbacks of a run."""

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

log = logging.getLogger(__name__)


def quiet_lightning() -> None:
    """Silence Lightning's remarks that no user of this package can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*isinstance.treespec, LeafSpec.*",
        "Checkpoint directory .* exists and is not empty",
        "The `srun` command is available on your system but is not used",
        "torch.distributed.nn.functional.all_gather is deprecated",
        "It is recommended to use `self.log",  # training losses are the same on every rank
        "`LightningModule.configure_optimizers` returned `None`",
        ".*does not have many workers which may be a bottleneck",
        "The `LightningModule.training_step` .* no optimizer",
        "Experiment logs directory .* exists and is not empty",
        r"Found .* module\(s\) in eval mode at the start of training",
    ):
        warnings.filterwarnings("ignore", message=message)


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically: a kill or a full disk leaves the old file.

    Lightning writes to the system's temporary folder and moves the file; between two disks that is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # not its parents: the run folder may have been removed
        last = " ckpt_path=last" if (path.parent / "last.ckpt").exists() else ""
        remedy = f"Free some space, then resume with run={path.parents[1]}{last}."
        write_whole(path, content.getvalue(), remedy=remedy)


class RunCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that keeps its best score when the run folder was moved; Lightning's forgets it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def moved(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        paths = {name: moved(state_dict[name]) for name in names}
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": str(self.dirpath)})


class LastCheckpoint(RunCheckpoint):
    """The checkpoint that a killed run resumes from, written in the first and last epoch and at most every `every_s`.

    Args:
        every_s: Minimum time between two writes, in seconds. A checkpoint is three times as large as the head, and
            writing it after every short epoch would take as long as the training.
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

    Lightning would finish the batch and exit with code 0, so that a cluster would take the run for finished.
    """

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.handler is not None and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, self.handler)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a handler cannot be sent to another process


class ProcessSetup(Callback):
    """Set up every training process: number of CPU threads, silence of Lightning, log file.

    Args:
        num_threads: None for torch's own number. Sums in another order differ in their last bits.
        log_file: Where a spawned process of rank 0 logs; the process of the command logs there by Hydra's config.
    """

    def __init__(self, num_threads: int | None, log_file: Path | None = None):
        self.num_threads, self.log_file = num_threads, log_file

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        quiet_lightning()
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        package = logging.getLogger("style_match")
        if trainer.is_global_zero and self.log_file is not None and not package.handlers:
            handler = logging.FileHandler(self.log_file, encoding="utf-8", delay=True)
            handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
            package.addHandler(handler)
            package.setLevel(logging.INFO)


class FitProgress(Callback):
    """One progress bar over all epochs, and one line an epoch in the log file.

    Args:
        show: Whether the bar and the summary are printed; the log file has the lines in any case.
    """

    def __init__(self, *, show: bool = True):
        self.show = show

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started_at = self.epoch_started_at = time.monotonic()
        if trainer.current_epoch:
            self._say(trainer, f"training: resumes after epoch {trainer.current_epoch} of {trainer.max_epochs}")
        self.bar = progress.bar("training", "steps", show=self.show and trainer.is_global_zero)
        self.advance = self.bar.__enter__()
        self.total = int(trainer.estimated_stepping_batches)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.advance(trainer.global_step, self.total)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        now, metrics = time.monotonic(), trainer.callback_metrics
        facts = [
            f"{name} {float(metrics[name]):.4f}" for name in ("train/loss", "val/loss", "val/mrr") if name in metrics
        ]
        score = metrics.get("val/mrr")
        best = getattr(trainer.checkpoint_callback, "best_model_score", None)  # of earlier epochs
        if score is not None:
            facts.append("best so far" if best is None or score > best else f"best {float(best):.4f}")
        rates = [f"{group['lr']:.3g}" for optimizer in trainer.optimizers for group in optimizer.param_groups]
        facts += [f"learning rate {' '.join(rates)}", f"{now - self.epoch_started_at:.2f} s"]
        self.epoch_started_at = now
        log.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, ", ".join(facts))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.__exit__(None, None, None)
        del self.bar, self.advance
        stopping = trainer.early_stopping_callback
        if stopping is not None and stopping.stopped_epoch and trainer.is_global_zero:
            log.info(
                "stopped early after epoch %d: no better %s for %d epochs",
                stopping.stopped_epoch + 1,
                stopping.monitor,
                stopping.patience,
            )
        seconds = time.monotonic() - self.started_at
        shared = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
        steps = f"{trainer.current_epoch} epochs, {trainer.global_step} steps"
        self._say(trainer, f"training: {steps} in {seconds:.1f} s{shared}")

    def on_exception(self, trainer: lightning.Trainer, *_: Any) -> None:
        if hasattr(self, "bar"):
            self.bar.__exit__(None, None, None)

    def _say(self, trainer: lightning.Trainer, line: str) -> None:
        if trainer.is_global_zero and self.show:
            progress.say(line)
        elif trainer.is_global_zero:
            log.info("%s", line)
