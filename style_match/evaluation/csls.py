"""CSLS: a similarity corrected for hubs, the few profiles that are near to everybody.

G. Lample, A. Conneau, M. Ranzato, L. Denoyer, H. Jegou, "Word translation without parallel data", ICLR 2018, section
2.3: CSLS(x, y) = 2 cos(x, y) - r(x) - r(y). Here r is taken over the profiles of the training split, so that the score
of a pair does not depend on who else is in the test split.
"""

import torch
from torch import Tensor

from style_match.errors import UserError


def check_k(k: int, bank: int) -> None:
    """Raises UserError where a side of the training split has fewer than `k` profiles."""
    if k > bank:
        raise UserError(
            f"evaluation.csls_k={k} is above the {bank} profiles that the training split has on a side: lower it."
        )


def neighbourhood(rows: Tensor, bank: Tensor, *, k: int, block: int) -> Tensor:
    """r (N,) float64: the mean cosine of each row (N, E) with its k nearest of the bank (B, E); all unit rows."""
    check_k(k, len(bank))
    rows, bank = rows.detach().double(), bank.detach().double()
    return torch.cat([(some @ bank.T).topk(k, dim=1).values.mean(1) for some in rows.split(block)])
