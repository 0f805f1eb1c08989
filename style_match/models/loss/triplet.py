"""Triplet margin loss with batch-hard mining: F. Schroff, D. Kalenichenko, J. Philbin (FaceNet), arXiv:1503.03832,
eq. 2; A. Hermans, L. Beyer, B. Leibe, arXiv:1703.07737, eq. 5.

    L_a = max(0, margin + max_p |e_a - e_p| - min_n |e_a - e_n|)

over anchors a, the batch's positives p and negatives n of a. The miner is pytorch-metric-learning's. For couples the
anchor is on one side and all its positives and negatives on the other.
"""

import math

import torch
from pytorch_metric_learning import distances, miners
from torch import Tensor, nn

from style_match.models.loss.pairs import Comparison, LossOutput, comparisons, mean_over, pair_similarities
from style_match.utils.errors import UserError

REDUCERS = ("avg_non_zero", "mean")


class DistanceByDifferences(distances.LpDistance):
    """Euclidean distance as |x - y|.

    `torch.cdist` otherwise takes |x|^2 + |y|^2 - 2 x.y above 25 rows. In float32 that has an absolute error of about
    1e-3 for unit vectors near each other, which is where training starts and where it collapses.
    """

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor | None) -> Tensor:
        """Shapes: query_emb (A, E), ref_emb (C, E); returns (A, C)."""
        ref_emb = query_emb if ref_emb is None else ref_emb
        if query_emb.dtype not in (torch.float32, torch.float64):
            query_emb, ref_emb = query_emb.float(), ref_emb.float()
        return torch.cdist(query_emb, ref_emb, compute_mode="donot_use_mm_for_euclid_dist")


class Triplet(nn.Module):
    """Reduced L_a over the anchors of a batch.

    Args:
        margin: Above 0, in Euclidean distance between unit vectors (0 to 2).
        reducer: "avg_non_zero", the mean over triplets that violate the margin, or "mean", over all.
        symmetric: For couples, the mean of left and of right anchors; False takes only left anchors.

    Raises:
        UserError: The margin or the reducer is out of range.
    """

    def __init__(self, *, margin: float, reducer: str, symmetric: bool):
        super().__init__()
        if not (margin > 0 and math.isfinite(margin)):
            raise UserError(f"loss.margin={margin} must be a positive number.")
        if reducer not in REDUCERS:
            raise UserError(f"loss.reducer={reducer} must be one of {', '.join(REDUCERS)}.")
        self.symmetric = symmetric
        self.margin, self.reducer = margin, reducer
        self.miner = miners.BatchHardMiner(distance=DistanceByDifferences())

    def forward(self, embeddings: Tensor, labels: Tensor, side: Tensor | None = None) -> LossOutput:
        """Return the loss; shapes as in `InfoNCE`.

        Raises:
            UserError: The batch has no positive pair or no negative pair.
        """
        found = comparisons(labels, side, symmetric=self.symmetric)
        labels = labels.to(embeddings.device)
        return mean_over([self._direction(embeddings, labels, each.to(embeddings.device)) for each in found])

    def _direction(self, e_BE: Tensor, labels: Tensor, comparison: Comparison) -> LossOutput:
        # Indexing copies: given one label tensor twice, the library takes the references for the anchors. Among styles
        # an anchor is a candidate too, but, at distance 0, never its own farthest positive.
        e_AE, labels_A = e_BE[comparison.anchors], labels[comparison.anchors]
        e_CE, labels_C = e_BE[comparison.candidates], labels[comparison.candidates]
        anchor, positive, negative = self.miner(e_AE, labels_A, ref_emb=e_CE, ref_labels=labels_C)
        e_TE = e_AE[anchor]  # T triplets, one for each anchor
        to_positive = torch.linalg.vector_norm(e_TE - e_CE[positive], dim=1)
        to_negative = torch.linalg.vector_norm(e_TE - e_CE[negative], dim=1)
        losses = torch.relu(self.margin + to_positive - to_negative)
        active = losses.detach() > 0
        loss = losses.mean() if self.reducer == "mean" else losses.sum() / active.sum().clamp(min=1)
        similarities = pair_similarities(e_AE.detach() @ e_CE.detach().T, comparison)
        return LossOutput(loss, {**similarities, "active_fraction": active.float().mean()})
