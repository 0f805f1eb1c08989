"""Curves, results and pictures in TensorBoard's event files."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from style_match.errors import UserError
from style_match.logger.outcome import Outcome


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
