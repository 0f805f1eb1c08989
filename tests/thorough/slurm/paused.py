"""A loss that makes a small training long enough to be interrupted, without changing its numbers."""

import os
import time

from torch import Tensor

from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.pairs import LossOutput


class PausedInfoNCE(InfoNCE):
    """InfoNCE that sleeps `pause_s` seconds in every batch, until Slurm has restarted its job."""

    def __init__(self, *, pause_s: float, temperature: float, symmetric: bool):
        super().__init__(temperature=temperature, symmetric=symmetric)
        self.pause_s = pause_s

    def forward(self, embeddings: Tensor, labels: Tensor, side: Tensor | None = None) -> LossOutput:
        if "SLURM_RESTART_COUNT" not in os.environ:
            time.sleep(self.pause_s)
        return super().forward(embeddings, labels, side)
