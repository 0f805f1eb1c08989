"""Loggers of curves and results: CSV, TensorBoard, Weights & Biases, several at once (`logger=[csv,wandb]`).

Any logger of Lightning works by its `_target_`. Those of this module also log the outputs of a run (tables, pictures)
in `log_outputs`, and log a resumed run as one run.
"""

import os
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import wandb
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole

if TYPE_CHECKING:
    from style_match.training.outputs import Outputs

# Settings without which wandb sends facts about the machine.
MACHINE: dict[str, Any] = {
    "host": "",
    "disable_git": True,
    "x_disable_meta": True,  # command line, paths, hardware
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class Wandb(WandbLogger):
    """Logs to `wandb/` in the run folder; a resumed run keeps its id and its steps.

    W&B writes each part of a resumed run to a separate folder.

    Args:
        folder: The run folder.
        group: Name that the runs of one sweep share.
        tags: Of the run.
        project: On the server.
        entity: On the server; None for that of the key.
        mode: online, offline, or auto: WANDB_MODE if it is set, else online if there is a key.
        finish_timeout_s: The longest time that the end of the run waits for the upload.
        max_table_rows: Of the table of ranks.
        log_machine: Whether wandb sends facts about the machine.

    Raises:
        UserError: `mode=online` without a key (wandb would prompt for one), or W&B could not start the run.
    """

    def __init__(
        self,
        *,
        folder: Path,
        group: str | None,
        tags: Sequence[str],
        project: str,
        entity: str | None,
        mode: str,
        finish_timeout_s: float,
        max_table_rows: int,
        log_machine: bool,
    ):
        self.folder, self.finish_timeout_s, self.max_table_rows = folder / "wandb", finish_timeout_s, max_table_rows
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb would send its tracebacks and timings
        self.mode = choose_mode(mode)
        self.next_step = int(self._stored("next_step.txt", lambda: "0"))
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            save_code=False,
            disable_job_creation=True,
            finish_timeout=finish_timeout_s,
            finish_timeout_raises=True,
            **({} if log_machine else MACHINE),
        )
        options: dict[str, Any] = {"entity": entity, "group": group, "job_type": "train", "tags": list(tags)}
        super().__init__(
            name=f"{group}/{folder.name}" if group else folder.name,
            save_dir=folder,
            project=project,
            id=self._stored("run_id.txt", lambda: secrets.token_hex(4)),
            mode=self.mode,  # with `offline`, Lightning would set WANDB_MODE for all later runs
            settings=settings,
            **options,
        )
        del self._wandb_init["anonymous"]  # Lightning passes None, and wandb warns
        try:
            # the server may have steps that were sent before they were counted here
            self.next_step = max(self.next_step, getattr(self.experiment, "starting_step", 0))
        except wandb.Error as error:
            reason = str(error).partition("\n")[0].rstrip(". ")
            raise UserError(
                f"W&B could not start a run: {reason}. Set logger.wandb.mode=offline to train without it."
            ) from error

    def _stored(self, name: str, make: Callable[[], str]) -> str:
        """Return a text that all parts of the run share, from its file."""
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, make())
        return path.read_text(encoding="utf-8").strip()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._log({**metrics, "trainer/global_step": step} if step is not None else dict(metrics))

    def _log(self, content: dict[str, Any]) -> None:
        """Log one row of the history. Offline, W&B would number the rows of each part from 0."""
        run: Any = self.experiment
        run.log(content, step=self.next_step, commit=True)
        self.next_step += 1
        write_whole(self.folder / "next_step.txt", str(self.next_step))

    def log_outputs(self, outputs: "Outputs") -> None:
        """Log the results as summary, by which W&B compares runs, tables of metrics and ranks, and pictures."""
        run: Any = self.experiment
        ranks = outputs.ranks
        if len(ranks) > self.max_table_rows:
            progress.say(
                f"W&B: the first {self.max_table_rows} of {len(ranks)} ranks go into the table "
                "(logger.wandb.max_table_rows); all are in ranks.parquet"
            )
        content: dict[str, Any] = {
            "tsne": wandb.Image(str(outputs.tsne), caption="synthetic data" if outputs.synthetic else None),
            "test/metrics": wandb.Table(columns=["model", "metric", "value", "low", "high"], data=outputs.metrics),
            "test/ranks": wandb.Table(
                columns=["model", "query", "direction", "rank", "gallery", "similarity"],
                data=ranks[: self.max_table_rows],
            ),
        }
        if outputs.neighbours:
            content["test/neighbours"] = [
                wandb.Image(strip.picture, caption=strip.caption, file_type="jpg") for strip in outputs.neighbours
            ]
        with _staged_in(self.folder):
            self._log(content)
        run.summary.update(outputs.values)

    def close(self, *, failed: bool) -> None:
        """Finish the run, and print where it is or how to send it."""
        run: Any = self._experiment
        if run is None:
            return
        self._experiment = None
        part, offline = Path(run.settings.sync_dir), offline_parts(self.folder, run.id)
        try:
            run.finish(exit_code=int(failed))
        except TimeoutError:
            rest = sync_command([*offline, part])
            progress.say(f"W&B: the upload took more than {self.finish_timeout_s:g} s; send the rest with: {rest}")
            return
        if self.mode == "offline":
            progress.say(f"W&B: the run is only on this machine; send it with: {sync_command(offline)}")
        elif self.mode == "online":
            progress.say(f"W&B: {run.url}")
            if unsent := [part for part in offline if not any(part.glob("*.wandb.synced"))]:
                rest = sync_command(unsent)
                progress.say(f"W&B: the part that was logged offline is only on this machine; send it with: {rest}")


def offline_parts(folder: Path, run_id: str) -> list[Path]:
    """Return the folders of a run in `folder` that were written offline, the oldest first."""
    return sorted(file.parent for file in folder.glob(f"offline-run-*/run-{run_id}.wandb"))


def sync_command(parts: Sequence[Path]) -> str:
    """Return the command that sends the parts of a run in their order."""
    options = [] if parts[-1].name.startswith("offline-") else ["--include-online"]
    return shlex.join(["wandb", "sync", *options, *map(str, parts)])


def choose_mode(mode: str) -> str:
    """Return online, offline or disabled, and print why if `auto` becomes offline.

    Raises:
        UserError: `online` without a key, or a key that cannot be one.
    """
    option = f"logger.wandb.mode={mode}"
    if mode == "auto" and os.environ.get("WANDB_MODE"):
        option = f"WANDB_MODE={os.environ['WANDB_MODE']}"
        mode = {"dryrun": "offline", "run": "online"}.get(os.environ["WANDB_MODE"], os.environ["WANDB_MODE"])
    if mode not in ("auto", "online"):
        return mode
    wandb.setup(settings=wandb.Settings(silent=True))  # `login` prints where it found a key
    try:
        if wandb.login(prompt=False, verify=False):
            return "online"
    except (wandb.errors.AuthenticationError, ValueError) as error:
        raise UserError(f"{option}: {error} Correct the key, or set logger.wandb.mode=offline.") from error
    if mode == "online":
        raise UserError(
            f"{option} needs a key: run `wandb login`, set WANDB_API_KEY, or set logger.wandb.mode=offline."
        )
    progress.say("W&B: no key, so the run is logged offline")
    return "offline"


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Let wandb store unsent tables in `folder`, and not in the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]


class TensorBoard(TensorBoardLogger):
    """Logs to `tensorboard/version_N/` in the run folder.

    Args:
        folder: The run folder.
        group: Not used; W&B groups the runs of a sweep by it.
        tags: Of the run.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, *, folder: Path, group: str | None, tags: Sequence[str]):
        try:
            import_module("tensorboard")  # Lightning imports it only after the training has started
            super().__init__(folder, name="tensorboard", default_hp_metric=False)
        except ModuleNotFoundError as error:
            raise UserError(
                "logger=tensorboard needs TensorBoard. Install the extra: pip install 'style_match[tensorboard]'"
            ) from error
        self.tags = list(tags)

    def log_outputs(self, outputs: "Outputs") -> None:
        """Log the results beside the config (HPARAMS), the table as text, ranks as histograms, and pictures."""
        writer: Any = self.experiment
        self.log_hyperparams(dict(self.hparams), dict(outputs.values))
        writer.add_text("tags", ", ".join(self.tags))
        writer.add_text("test/metrics", _markdown(("model", "metric", "value", "low", "high"), outputs.metrics))
        for model, result in outputs.results.items():
            writer.add_histogram(f"test/{model}/rank", result.ranks.rank)
        writer.add_image("tsne", np.asarray(Image.open(outputs.tsne).convert("RGB")), dataformats="HWC")
        for number, strip in enumerate(outputs.neighbours):
            writer.add_image(f"test/neighbours/{number:02d}", np.asarray(strip.picture), dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        """Close the file."""
        self.finalize("failed" if failed else "success")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [head, ["---"] * len(head), *([f"{c:.4f}" if isinstance(c, float) else c for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in cells)


@contextmanager
def loggers(cfg: DictConfig, folder: Path, *, synthetic: bool, group: str | None = None) -> Iterator[list[Any]]:
    """Open the loggers of a run, and close them at the end, also when the run fails.

    Args:
        cfg: Config of the run; `cfg.logger` has one node for each logger, and the options of all.
        folder: The run folder.
        synthetic: Whether the people are drawn.
        group: Name that the runs of one sweep share.

    Raises:
        UserError: The package of a logger is missing, or W&B could not start.
    """
    # a Slurm job around the command may give this process another rank, and Lightning logs only from rank 0
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    nodes = [node for node in cfg.logger.values() if OmegaConf.is_dict(node) and "_target_" in node]
    tags = [str(cfg.data.name), *(["synthetic"] if synthetic else [])]
    opened: list[Any] = []
    with ExitStack() as closing:
        for node in nodes:
            logger = instantiate(node)
            if isinstance(logger, partial):  # of this module
                logger = logger(folder=folder, group=group, tags=tags)
            closing.push(partial(_close, logger))
            opened.append(logger)
        yield opened


def _close(logger: Any, error: type[BaseException] | None, *_: Any) -> None:
    if hasattr(logger, "close"):
        logger.close(failed=error is not None)
    else:
        logger.finalize("success" if error is None else "failed")
