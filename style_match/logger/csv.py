"""Curves in a CSV file."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger

from style_match.logger.outcome import Outcome


class CSV(CSVLogger):
    """`csv/version_N/metrics.csv` in the run folder. Takes numbers only."""

    def __init__(self, *, folder: Path, group: str | None, tags: Sequence[str], flush_logs_every_n_steps: int):
        super().__init__(folder, name="csv", flush_logs_every_n_steps=flush_logs_every_n_steps)

    def log_outcome(self, outcome: Outcome) -> None:
        self.log_metrics({**outcome.values})

    def close(self, *, failed: bool) -> None:
        self.save()
