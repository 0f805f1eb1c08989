"""Where a run's curves and results go: CSV, TensorBoard, Weights & Biases, several at once (`logger=[csv,wandb]`).

A logger is one of Lightning's with two methods more: `log_outcome(outcome)`, what the run ends with, and
`close(failed=...)`. It writes into a folder of its own name in the run folder, so a run that goes on loses nothing.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf


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
