"""Scores of queries, and their means. Imports only torch.

`recall@k` is the hit rate: 1 if a right profile is in the top k. `precision@k` is the share of the top k that is right
(the wording "share of the top K that have the query's style" describes this one). `mrr` is the mean of 1 / rank of the
best ranked right profile, `map@r` the mean of AP@R (Musgrave et al. 2020), `median_rank` the median of the ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from style_match.evaluation.ranks import Ranks, StyleRanks
from style_match.utils.errors import UserError


def scores(ranks: Ranks, ks: Sequence[int]) -> dict[str, Tensor]:
    """Return the score (Q,) float64 in [0, 1] of each query by each metric that is a mean.

    Raises:
        ValueError: Ranks of styles were computed for other ks.
    """
    columns = {f"recall@{k}": (ranks.rank <= k).double() for k in ks}
    if isinstance(ranks, StyleRanks):
        if tuple(ks) != ranks.ks:
            raise ValueError(f"these ranks hold the precision at {ranks.ks}, not at {tuple(ks)}")
        columns |= {f"precision@{k}": ranks.precision[:, i] for i, k in enumerate(ks)}
        columns["map@r"] = ranks.average_precision
    columns["mrr"] = 1 / ranks.rank.double()
    return columns


def means(ranks: Ranks, ks: Sequence[int]) -> dict[str, float]:
    """Return every metric as a number, without intervals."""
    values = {name: float(column.mean()) for name, column in scores(ranks, ks).items()}
    return values | {"median_rank": float(ranks.rank.double().quantile(0.5))}


def chance(ranks: Ranks, ks: Sequence[int]) -> dict[str, float]:
    """Return the exact expectation of every metric if each gallery is in random order.

    With one right profile among G: recall@k = k / G, mrr = H(G) / G (H: harmonic number), median rank (G + 1) / 2.
    With R right ones the first is beyond rank r with probability C(G - R, r) / C(G, r).
    """
    kinds, counts = torch.unique(torch.stack([ranks.gallery, ranks.num_relevant], dim=1), dim=0, return_counts=True)
    shares = counts.double() / counts.sum()
    totals: dict[str, float] = {}
    found_by = torch.zeros(int(kinds[:, 0].max()) + 1, dtype=torch.float64)  # [r] = P(first right one at rank <= r)
    for (gallery, relevant), share in zip(kinds.tolist(), shares.tolist(), strict=True):
        by = _first_by(gallery, relevant)
        found_by += share * torch.nn.functional.pad(by, (0, len(found_by) - len(by)), value=1.0)
        expected = {f"recall@{k}": float(by[min(k, gallery)]) for k in ks}
        if isinstance(ranks, StyleRanks):
            expected |= {f"precision@{k}": relevant / gallery for k in ks}
            expected["map@r"] = _chance_average_precision(gallery, relevant)
        expected["mrr"] = float((by.diff() / torch.arange(1, gallery + 1)).sum())
        for name, value in expected.items():
            totals[name] = totals.get(name, 0.0) + share * value
    # The median of an even number of draws lies between the two middle ranks.
    lower = int((found_by >= 0.5 - 1e-12).nonzero()[0])
    upper = int((found_by > 0.5 + 1e-12).nonzero()[0])
    return totals | {"median_rank": (lower + upper) / 2}


def choose_ks(ks: Sequence[int] | None, default: Sequence[int], gallery: int) -> tuple[tuple[int, ...], list[int]]:
    """Return the ks for a gallery: `ks`, or without these the default ones up to the gallery.

    Returns:
        The ks, and the default ones that are above the gallery.

    Raises:
        UserError: One of `ks` is above the gallery.
    """
    if ks is None:
        return tuple(k for k in default if k <= gallery), [k for k in default if k > gallery]
    above = [k for k in ks if k > gallery]
    if above:
        raise UserError(
            f"evaluation.ks={list(ks)}: {', '.join(map(str, above))} exceeds the gallery of {gallery} profiles. "
            f"Set at most {gallery}."
        )
    return tuple(ks), []


def _first_by(gallery: int, relevant: int) -> Tensor:
    """Return (gallery + 1,): the probability that the first right one has rank r or better, for r from 0."""
    place = torch.arange(gallery + 1, dtype=torch.float64)
    if relevant == 1:
        return place / gallery
    missed = ((gallery - relevant - place[:-1]) / (gallery - place[:-1])).clamp(min=0).cumprod(0)
    return torch.cat([place[:1], 1 - missed])


def _chance_average_precision(gallery: int, relevant: int) -> float:
    """Return the expected AP@R: rank i is right with probability R / G, and then each earlier one (R - 1) / (G - 1)."""
    position = torch.arange(1, relevant + 1, dtype=torch.float64)
    earlier = (position - 1) * (relevant - 1) / max(gallery - 1, 1)
    return float(((1 + earlier) / position).sum()) / gallery
