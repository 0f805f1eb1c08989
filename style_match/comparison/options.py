"""How the report estimates, as conf/report.yaml says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

PRIMARY = "mrr"  # the metric that is tested and judged


@dataclass(frozen=True)
class Options:
    """See conf/report.yaml."""

    confidence: float
    alpha: float
    num_resamples: int
    num_flips: int
    seed: int
    min_seeds: int
    gallery: int | None
    leave_out: Sequence[str]

    @classmethod
    def from_config(cls, report: Mapping[str, Any]) -> Options:
        """From the node `report` of the step's config."""
        return cls(**{field.name: report[field.name] for field in fields(cls)})
