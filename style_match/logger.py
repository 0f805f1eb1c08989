"""Where a run's curves go: CSV, TensorBoard, Weights & Biases, several at once (`logger=[csv,wandb]`).

Every logger writes into a folder of its own name in the run folder, so a run that is continued loses nothing.
"""

import netrc
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

WANDB_SERVER = "https://api.wandb.ai"


@contextmanager
def loggers(cfg: DictConfig, folder: Path, *, group: str | None = None) -> "Iterator[list[Logger]]":
    """The loggers of a run, the resolved config noted in each; a W&B run is finished at the end, so the next can begin.

    Args:
        cfg: the run's config; `cfg.logger` holds one node a logger.
        folder: the run folder.
        group: what the runs of one sweep share.
    """
    made = [instantiate(node, folder=folder, group=group) for node in cfg.logger.values()]
    try:
        for logger in made:
            logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
        yield made
    finally:
        if "wandb" in cfg.logger:
            import wandb

            wandb.finish()


def csv(*, folder: Path, group: str | None, flush_logs_every_n_steps: int) -> "CSVLogger":
    """`csv/version_N/metrics.csv`."""
    from lightning.pytorch.loggers import CSVLogger

    return CSVLogger(folder, name="csv", flush_logs_every_n_steps=flush_logs_every_n_steps)


def tensorboard(*, folder: Path, group: str | None) -> "TensorBoardLogger":
    """`tensorboard/version_N/`.

    Raises:
        UserError: TensorBoard is not installed.
    """
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(folder, name="tensorboard", default_hp_metric=False)
    except ModuleNotFoundError as error:
        raise UserError(
            "logger=tensorboard needs TensorBoard; it comes with an extra: pip install 'style_match[tensorboard]'"
        ) from error


def wandb(
    *, folder: Path, group: str | None, project: str, entity: str | None, mode: str, connect_timeout_s: float
) -> "WandbLogger":
    """`wandb/`; offline where `mode` says so, or where it is `auto` and no key or no server is at hand.

    Raises:
        UserError: `mode=online` without a key (wandb would ask for one).
    """
    from lightning.pytorch.loggers import WandbLogger

    server = os.environ.get("WANDB_BASE_URL") or WANDB_SERVER
    if mode == "auto" and os.environ.get("WANDB_MODE"):
        mode = {"dryrun": "offline"}.get(os.environ["WANDB_MODE"], os.environ["WANDB_MODE"])
    elif mode == "auto":
        mode = "online" if has_key(server) and answers(server, connect_timeout_s) else "offline"
    if mode == "online" and not has_key(server):
        raise UserError(
            "logger.wandb.mode=online needs a key: run `wandb login`, set WANDB_API_KEY, or leave mode at auto."
        )
    options: dict[str, Any] = {"group": group, "entity": entity, "mode": mode}
    return WandbLogger(name=folder.name, save_dir=folder, project=project, offline=mode != "online", **options)


def has_key(server: str) -> bool:
    """Whether wandb would find a key without asking: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(server).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def answers(server: str, timeout_s: float) -> bool:
    """Whether the server can be reached."""
    url = urlsplit(server)
    try:
        with socket.create_connection((url.hostname, url.port or (443 if url.scheme == "https" else 80)), timeout_s):
            return True
    except OSError:
        return False


def log_outcome(logs: "list[Logger]", folder: Path, sections: dict[str, Any]) -> None:
    """The test split's metrics, as test/MODEL/METRIC, and the t-SNE picture, to those loggers that take one."""
    values = {
        f"test/{model}/{metric}": cell["value"]
        for model in ("chance", "frozen", "trained")
        for metric, cell in sections.get(model, {}).items()
        if isinstance(cell, dict)
    }
    for logger in logs:
        logger.log_metrics(values)
        if hasattr(logger, "log_image"):
            logger.log_image("tsne", [str(folder / "tsne.png")])
        logger.save()
