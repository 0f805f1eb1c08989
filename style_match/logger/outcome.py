"""What a run ends with, as the loggers take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from style_match.evaluation.ranks import DIRECTIONS
from style_match.evaluation.table import interval_of

if TYPE_CHECKING:
    from style_match.evaluation.evaluator import Result
    from style_match.logger.neighbours import Strip

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
