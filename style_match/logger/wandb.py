"""A run in Weights & Biases: offline without a key or a server, never asking, nothing sent that is not named here.

What is sent is listed in `conf/logger/wandb.yaml`.
"""

import os
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from wandb.sdk.lib import wbauth

from style_match import progress
from style_match.errors import UserError
from style_match.files import write_whole
from style_match.logger.outcome import Outcome
from style_match.logger.reach import answers

# wandb would send these by itself
MACHINE: dict[str, Any] = {
    "host": "",
    "disable_git": True,
    "x_disable_meta": True,  # command line, paths, hardware
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class Wandb(WandbLogger):
    """`wandb/` in the run folder; a run that continues keeps its id and its steps.

    W&B writes each part of a resumed run to a separate folder.

    Args:
        folder: the run folder.
        group: what the runs of one sweep share.
        tags: of the run.
        project, entity: where it goes on the server; without an entity to the key's own.
        mode: online, offline, or auto: WANDB_MODE where it is set, else online where a key and a server are there.
        connect_timeout_s: how long `auto` waits for the server.
        finish_timeout_s: how long the run's end waits for the upload.
        max_table_rows: ranks beyond are left out of their table.
        log_machine: whether wandb sends what it finds about the machine.

    Raises:
        UserError: `mode=online` without a key (wandb would ask for one), or W&B refuses the run.
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
        connect_timeout_s: float,
        finish_timeout_s: float,
        max_table_rows: int,
        log_machine: bool,
    ):
        self.folder, self.finish_timeout_s, self.max_table_rows = folder / "wandb", finish_timeout_s, max_table_rows
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else wandb sends tracebacks and timings of its own
        self.mode = choose_mode(mode, connect_timeout_s=connect_timeout_s)
        self.next_step = int(self._kept("next_step.txt", lambda: "0"))
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
            id=self._kept("run_id.txt", lambda: secrets.token_hex(4)),
            mode=self.mode,  # not by `offline`, for which Lightning sets WANDB_MODE for all runs that follow
            settings=settings,
            **options,
        )
        del self._wandb_init["anonymous"]  # of which Lightning makes None, and wandb a warning
        try:
            # a server knows of steps that were sent before they were counted here
            self.next_step = max(self.next_step, getattr(self.experiment, "starting_step", 0))
        except wandb.Error as error:
            reason = str(error).partition("\n")[0].rstrip(". ")
            raise UserError(
                f"W&B does not begin a run: {reason}. Write logger.wandb.mode=offline to go on without it."
            ) from error

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        """A word that all parts of the run share."""
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, make())
        return path.read_text(encoding="utf-8").strip()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._log({**metrics, "trainer/global_step": step} if step is not None else dict(metrics))

    def _log(self, content: dict[str, Any]) -> None:
        """One row of the history. By itself W&B would number the rows of each part from 0 while it is offline."""
        run: Any = self.experiment
        run.log(content, step=self.next_step, commit=True)
        self.next_step += 1
        write_whole(self.folder / "next_step.txt", str(self.next_step))

    def log_outcome(self, outcome: Outcome) -> None:
        """Results into the summary, which compares runs; tables of metrics and of ranks; pictures."""
        run: Any = self.experiment
        ranks = outcome.ranks
        if len(ranks) > self.max_table_rows:
            progress.say(
                f"W&B: the first {self.max_table_rows} of {len(ranks)} ranks go into the table "
                "(logger.wandb.max_table_rows); all are in ranks.parquet"
            )
        content: dict[str, Any] = {
            "tsne": wandb.Image(str(outcome.tsne), caption="synthetic data" if outcome.synthetic else None),
            "test/metrics": wandb.Table(columns=["model", "metric", "value", "low", "high"], data=outcome.metrics),
            "test/ranks": wandb.Table(
                columns=["model", "query", "direction", "rank", "gallery", "similarity"],
                data=ranks[: self.max_table_rows],
            ),
        }
        if outcome.neighbours:
            content["test/neighbours"] = [
                wandb.Image(strip.picture, caption=strip.caption, file_type="jpg") for strip in outcome.neighbours
            ]
        with _staged_in(self.folder):
            self._log(content)
        run.summary.update(outcome.values)

    def close(self, *, failed: bool) -> None:
        run: Any = self._experiment
        if run is None:
            return
        self._experiment = None
        part, offline = Path(run.settings.sync_dir), offline_parts(self.folder, run.id)
        try:
            run.finish(exit_code=int(failed))
        except TimeoutError:
            rest = sync_command([*offline, part])
            progress.say(f"W&B: not all was sent within {self.finish_timeout_s:g} s; send the rest with: {rest}")
            return
        if self.mode == "offline":
            progress.say(f"W&B: the run is on this machine only; send it with: {sync_command(offline)}")
        elif self.mode == "online":
            progress.say(f"W&B: {run.url}")
            if unsent := [part for part in offline if not any(part.glob("*.wandb.synced"))]:
                rest = sync_command(unsent)
                progress.say(f"W&B: what was logged offline is on this machine only; send it with: {rest}")


def offline_parts(folder: Path, run_id: str) -> list[Path]:
    """The folders of a run in `folder` that were written offline, the first one first."""
    return sorted(file.parent for file in folder.glob(f"offline-run-*/run-{run_id}.wandb"))


def sync_command(parts: Sequence[Path]) -> str:
    """The command that sends the parts of a run in their order."""
    options = [] if parts[-1].name.startswith("offline-") else ["--include-online"]
    command = ["wandb", "sync", *options]
    if len(parts) == 1 or not _takes_append():
        return shlex.join([*command, *map(str, parts)])
    commands = [[*command, str(parts[0])], *([*command, "--append", str(part)] for part in parts[1:])]
    return " && ".join(map(shlex.join, commands))


def _takes_append() -> bool:
    """Whether `wandb sync` replaces the history of a run unless it is told to append; newer versions append."""
    from wandb.cli.cli import sync

    return any(option.name == "append" for option in sync.params)


def choose_mode(mode: str, *, connect_timeout_s: float) -> str:
    """online, offline or disabled, `auto` decided; says why where that is offline.

    Raises:
        UserError: online without a key.
    """
    asked = f"logger.wandb.mode={mode}"
    if mode == "auto" and os.environ.get("WANDB_MODE"):
        asked = f"WANDB_MODE={os.environ['WANDB_MODE']}"
        mode = {"dryrun": "offline", "run": "online"}.get(os.environ["WANDB_MODE"], os.environ["WANDB_MODE"])
    if mode not in ("auto", "online"):
        return mode
    settings = wandb.setup(wandb.Settings(silent=True)).settings  # else it tells where a key comes from
    server = os.environ.get("WANDB_BASE_URL") or settings.base_url
    if not _has_key(server):
        if mode == "online":
            raise UserError(
                f"{asked} needs a key: run `wandb login`, set WANDB_API_KEY, or write logger.wandb.mode=offline."
            )
        progress.say(f"W&B: no key for {server}, so the run stays offline")
        return "offline"
    if mode == "auto" and not answers(server, connect_timeout_s):
        progress.say(f"W&B: {server} does not answer within {connect_timeout_s:g} s, so the run stays offline")
        return "offline"
    return "online"


def _has_key(server: str) -> bool:
    """Whether wandb would find a key without asking.

    Raises:
        UserError: what stands in the netrc file is no key.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return wbauth.read_netrc_auth(host=server) is not None
    except wandb.Error as error:
        raise UserError(f"W&B: the netrc file's key for {server} is none: {error}") from error


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """wandb keeps the tables it has not sent yet in `folder`, and not somewhere in the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
