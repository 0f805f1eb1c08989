"""A training that takes its time whatever the machine, with the numbers of one that does not."""

import os
import time

from torch import Tensor

from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.pairs import LossOutput


class PausedInfoNCE(InfoNCE):
    """InfoNCE, and `pause_s` seconds of sleep with every batch, until Slurm has started its job again."""

    def __init__(self, *, pause_s: float, temperature: float, symmetric: bool):
        super().__init__(temperature=temperature, symmetric=symmetric)
        self.pause_s = pause_s

    def forward(self, embeddings: Tensor, labels: Tensor, side: Tensor | None = None) -> LossOutput:
        if "SLURM_RESTART_COUNT" not in os.environ:
            time.sleep(self.pause_s)
        return super().forward(embeddings, labels, side)
