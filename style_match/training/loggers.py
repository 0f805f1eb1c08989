"""Where a run's curves and results go: CSV, TensorBoard, Weights & Biases, several at once (`logger=[csv,wandb]`).

A logger is one of Lightning's with two methods more: `log_outcome(outcome)`, what the run ends with, and
`close(failed=...)`. It writes into a folder of its own name in the run folder, so a run that goes on loses nothing.
"""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import numpy as np
import wandb
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from PIL import Image, ImageDraw, ImageFont, ImageOps
from wandb.sdk.lib import wbauth

from style_match.data.images import decode
from style_match.evaluation.ranks import DIRECTIONS
from style_match.evaluation.tables import interval_of
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from style_match.evaluation.evaluator import Result
    from style_match.training.scoring import Scorer, Scores


# What a run ends with, as the loggers take it.


MODELS = ("chance", "frozen", "trained")


@dataclass(frozen=True)
class Outcome:
    """The test split's results of one run.

    Attributes:
        sections: the content of metrics.json.
        results: per model ("frozen", "trained").
        tsne: the picture's file: points without photos.
        neighbours: photos of some queries with their answers; empty unless `logger.log_images=true`.
        synthetic: whether the people are drawn.
    """

    sections: Mapping[str, Any]
    results: Mapping[str, Result]
    tsne: Path
    neighbours: Sequence[Strip]
    synthetic: bool

    @property
    def values(self) -> dict[str, float]:
        """test/MODEL/METRIC, and selected/val/METRIC: the validation split under the checkpoint that was selected."""
        test = {f"test/{row[0]}/{row[1]}": row[2] for row in self.metrics}
        return test | {f"selected/val/{name}": cell["value"] for name, cell in _cells(self.sections["val"])}

    @property
    def metrics(self) -> list[tuple[str, str, float, float, float]]:
        """Rows (model, metric, value, low, high) of the test split, as fractions."""
        return [
            (model, name, cell["value"], *interval_of(cell))
            for model in MODELS
            if model in self.sections
            for name, cell in _cells(self.sections[model])
        ]

    @property
    def ranks(self) -> list[tuple[str, int, str, int, int, float]]:
        """Rows (model, query, direction, rank, gallery, similarity).

        A query is numbered as in ranks.parquet; the profile ids stay there.
        """
        rows = []
        for model, result in self.results.items():
            ranks = result.ranks
            columns = (c.tolist() for c in (ranks.direction, ranks.rank, ranks.gallery, ranks.similarity))
            for query, (direction, rank, gallery, similarity) in enumerate(zip(*columns, strict=True)):
                rows.append((model, query, DIRECTIONS[direction], rank, gallery, similarity))
        return rows


def _cells(section: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The metrics of a section, without its counts."""
    return [(name, cell) for name, cell in section.items() if isinstance(cell, Mapping)]


# Whether a server can be reached.


def answers(server: str, timeout_s: float) -> bool:
    """Whether a connection to the URL `server`, or to the proxy that leads there, is made in time.

    Looking up its name counts too, which a socket's own timeout does not bound.
    """
    url = urlsplit(server)
    proxy = getproxies().get(url.scheme)
    if proxy and not proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    reached = threading.Event()

    def connect() -> None:
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname or "", port), timeout_s).close()
        except OSError:
            return
        reached.set()

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout_s)
    return reached.is_set()


# Curves in a CSV file.


class CSV(CSVLogger):
    """`csv/version_N/metrics.csv` in the run folder. Takes numbers only."""

    def __init__(self, *, folder: Path, group: str | None, tags: Sequence[str], flush_logs_every_n_steps: int):
        super().__init__(folder, name="csv", flush_logs_every_n_steps=flush_logs_every_n_steps)

    def log_outcome(self, outcome: Outcome) -> None:
        self.log_metrics({**outcome.values})

    def close(self, *, failed: bool) -> None:
        self.save()


# A run in Weights & Biases: offline without a key or a server, never asking, nothing sent that is not named here.
#
# What is sent is listed in `conf/logger/wandb.yaml`.


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


# Curves, results and pictures in TensorBoard's event files.


class TensorBoard(TensorBoardLogger):
    """`tensorboard/version_N/` in the run folder.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, *, folder: Path, group: str | None, tags: Sequence[str]):
        try:
            import_module("tensorboard")  # Lightning would import it only when training has begun
            super().__init__(folder, name="tensorboard", default_hp_metric=False)
        except ModuleNotFoundError as error:
            raise UserError(
                "logger=tensorboard needs TensorBoard; it comes with an extra: pip install 'style_match[tensorboard]'"
            ) from error
        self.tags = list(tags)

    def log_outcome(self, outcome: Outcome) -> None:
        """Scalars, beside the config in HPARAMS (runs compared); the table as text; ranks as histograms; pictures."""
        writer: Any = self.experiment
        self.log_hyperparams(dict(self.hparams), outcome.values)
        writer.add_text("tags", ", ".join(self.tags))
        writer.add_text("test/metrics", _markdown(("model", "metric", "value", "low", "high"), outcome.metrics))
        for model, result in outcome.results.items():
            writer.add_histogram(f"test/{model}/rank", result.ranks.rank)
        writer.add_image("tsne", np.asarray(Image.open(outcome.tsne).convert("RGB")), dataformats="HWC")
        for number, strip in enumerate(outcome.neighbours):
            writer.add_image(f"test/neighbours/{number:02d}", np.asarray(strip.picture), dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        self.finalize("failed" if failed else "success")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [head, ["---"] * len(head), *([f"{c:.4f}" if isinstance(c, float) else c for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in cells)


# Photos for the loggers, only with `logger.log_images=true`: queries beside their partner and their first answers.


WRONG, RIGHT, INK, PAPER = "#d9d9d9", "#2a9d57", "#222222", "#ffffff"


@dataclass(frozen=True)
class Strip:
    """A picture of one query, newly drawn, so that nothing of a photo's file but its pixels is in it."""

    picture: Image.Image
    caption: str


def photos(cfg: DictConfig, scorer: Scorer, scores: Scores) -> list[Strip]:
    """With `logger.log_images=true` some queries of the test split, evenly spread, as the model reported answers them.

    A strip shows the query, its true partner (for styles the best answer of its class) and the first answers, right
    ones framed. A profile with several photos is shown by its first one.

    Raises:
        UserError: a photo cannot be read.
    """
    if not cfg.logger.log_images:
        return []
    options = cfg.logger.images
    result, folder = scores.trained or scores.frozen, scorer.folder
    gallery = scorer.data.gallery("test")
    drawn = []
    for number in _spread(len(result.query_ids), options.num_queries):
        query, partner = result.query_ids[number], result.partner_ids[number]
        direction = int(result.ranks.direction[number])
        place = f"{int(result.ranks.rank[number])} of {int(result.ranks.gallery[number])}"
        answers = result.answer_ids[number][: options.num_answers]
        shown = [
            ("query", query, False),
            (f"partner: {place}" if gallery.num_left else f"class: {place}", partner, True),
        ]
        for i, answer in enumerate(answers, start=1):
            right = answer == partner if gallery.num_left else folder.labels[answer] == folder.labels[query]
            shown.append((f"answer {i}", answer, right))
        tiles = [
            (label, decode(folder.photos_of(profile)[0].path, max_source_pixels=cfg.data.max_source_pixels), right)
            for label, profile, right in shown
        ]
        caption = [
            f"query {number}",
            DIRECTIONS[direction],
            f"rank {place}",
            *["synthetic"] * scorer.inputs.synthetic,
        ]
        drawn.append(Strip(_draw(tiles, options.side_px), ", ".join(caption)))
    return drawn


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread."""
    return [i * count // most for i in range(most)] if most < count else list(range(count))


def _draw(tiles: list[tuple[str, Image.Image, bool]], side_px: int) -> Image.Image:
    """Tiles in a row, each within `side_px`, their labels below."""
    edge, text = max(side_px // 40, 2), max(side_px // 10, 10)
    width, height = side_px + 4 * edge, side_px + 4 * edge + 2 * text
    strip = Image.new("RGB", (width * len(tiles), height), PAPER)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(text)
    for place, (label, photo, right) in enumerate(tiles):
        left = place * width
        small = ImageOps.contain(photo, (side_px, side_px))
        pen.rectangle((left + edge, edge, left + width - edge, width - edge), fill=RIGHT if right else WRONG)
        strip.paste(small, (left + (width - small.width) // 2, (width - small.height) // 2))
        pen.text((left + width // 2, width + text // 2), label, fill=INK, font=font, anchor="ma")
    return strip


@contextmanager
def loggers(cfg: DictConfig, folder: Path, *, synthetic: bool, group: str | None = None) -> Iterator[list[Any]]:
    """The loggers of a run, the resolved config noted in each; closed at the end, also of a run that fails.

    Args:
        cfg: the run's config; `cfg.logger` holds one node a logger, beside the options that they share.
        folder: the run folder.
        synthetic: whether the data is.
        group: what the runs of one sweep share.
    Raises:
        UserError: a logger's package is missing, or W&B cannot begin.
    """
    from lightning.pytorch.utilities import rank_zero_only

    # a job around the command may number its processes, and Lightning logs from number 0 alone
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    nodes = [node for node in cfg.logger.values() if OmegaConf.is_dict(node) and "_target_" in node]
    tags = [str(cfg.data.name), *(["synthetic"] if synthetic else [])]
    config = OmegaConf.to_container(cfg, resolve=True)
    made = []
    with ExitStack() as closing:
        for node in nodes:
            logger = instantiate(node, folder=folder, group=group, tags=tags)
            closing.push(partial(_close, logger))
            logger.log_hyperparams(config)
            made.append(logger)
        yield made


def _close(logger: Any, error: type[BaseException] | None, *_: Any) -> None:
    logger.close(failed=error is not None)
