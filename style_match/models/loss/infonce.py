"""InfoNCE, eq. 4 of the paper; A. van den Oord, Y. Li, O. Vinyals, arXiv:1807.03748; in both directions as in
A. Radford et al. (CLIP), arXiv:2103.00020.

For each left profile f of a batch of N couples, with its partner m and the batch's right profiles m_j:

    L = -log( exp(sim(e_f, e_m) / tau) / sum_j exp(sim(e_f, e_m_j) / tau) ),    sim: cosine

With several positives an anchor's loss is the mean over them, and the others leave the denominator (a known positive is
never a negative): L_out of P. Khosla et al. (SupCon), arXiv:2004.11362, with this difference.
"""

import math

import torch
from torch import Tensor, nn

from style_match.models.loss.pairs import Comparison, LossOutput, comparisons, mean_over, pair_similarities
from style_match.utils.errors import UserError


class InfoNCE(nn.Module):
    """Mean of eq. 4 over the anchors of a batch.

    Args:
        temperature: Tau, above 0.
        symmetric: For couples, the mean of left-to-right and right-to-left; False is eq. 4 as printed, left to right.

    Raises:
        UserError: The temperature is not a positive finite number.
    """

    def __init__(self, *, temperature: float, symmetric: bool):
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise UserError(f"loss.temperature={temperature} must be a positive number.")
        self.temperature, self.symmetric = temperature, symmetric

    def forward(self, embeddings: Tensor, labels: Tensor, side: Tensor | None = None) -> LossOutput:
        """Return the loss of embeddings (B, E) of unit length with labels (B,) long.

        `side` (B,) long is 0 for left and 1 for right; None for styles, where all rows are anchors and all others
        candidates.

        Raises:
            UserError: The batch has no positive pair or no negative pair.
        """
        found = comparisons(labels, side, symmetric=self.symmetric)
        return mean_over([self._direction(embeddings, comparison.to(embeddings.device)) for comparison in found])

    def _direction(self, e_BE: Tensor, comparison: Comparison) -> LossOutput:
        s_AC = e_BE[comparison.anchors] @ e_BE[comparison.candidates].T
        logits_AC = s_AC / self.temperature
        rivals_A1 = logits_AC.masked_fill(~comparison.negative, -torch.inf).logsumexp(dim=1, keepdim=True)
        nll_AC = torch.logaddexp(logits_AC, rivals_A1) - logits_AC
        positive = comparison.positive
        loss = ((nll_AC * positive).sum(dim=1) / positive.sum(dim=1)).mean()
        return LossOutput(loss, pair_similarities(s_AC, comparison))
