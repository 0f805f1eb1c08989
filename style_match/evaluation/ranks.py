"""Exact ranks of the true partners. Imports only torch.

CSLS is a similarity that is corrected for hubs, the few profiles that are near to all others (G. Lample, A. Conneau,
M. Ranzato, L. Denoyer, H. Jegou, "Word translation without parallel data", ICLR 2018, section 2.3):
CSLS(x, y) = 2 cos(x, y) - r(x) - r(y). Here r is a mean over profiles of the training split, so the score of a pair
does not depend on the other profiles of the test split.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from style_match.utils.errors import UserError

# Similarities that differ by less than this count as a tie, against the model. The order of its sum changes a float32
# product of unit rows by less, so ranks depend neither on the block nor on the BLAS.
TIE = 1e-6
UNIT = 1e-2  # tolerance of the length of a row; rows rounded to bfloat16 stay within
LEFT_TO_RIGHT, RIGHT_TO_LEFT, AMONG_PROFILES = 0, 1, 2
DIRECTIONS = ("left_to_right", "right_to_left", "among_profiles")


def check_k(k: int, bank: int) -> None:
    """Refuse a `k` of CSLS above the number of profiles on a side of the training split.

    Raises:
        UserError: It is above.
    """
    if k > bank:
        raise UserError(f"evaluation.csls_k={k} exceeds the {bank} profiles on a side of the training split. Lower it.")


def neighbourhood(rows: Tensor, bank: Tensor, *, k: int, block: int) -> Tensor:
    """Return r (N,) float64: the mean cosine of each unit row (N, E) with its k nearest ones of the bank (B, E)."""
    check_k(k, len(bank))
    rows, bank = rows.detach().double(), bank.detach().double()
    return torch.cat([(some @ bank.T).topk(k, dim=1).values.mean(1) for some in rows.split(block)])


def search(
    queries: Tensor, gallery: Tensor, partner: Tensor, hidden: tuple[Tensor, Tensor], num: int, hubness: Tensor | None
) -> tuple[Tensor, ...]:
    """Compare a block of queries with the gallery.

    Args:
        queries: (b, E) unit rows.
        gallery: (G, E) unit rows.
        partner: (b,) row of each query's partner in the gallery.
        hidden: Pairs (row of the block, row of the gallery) that are left out, including the partners.
        num: Number of first answers.
        hubness: (G,) r of CSLS; None for the cosine.

    Returns:
        (b,) number of other candidates that are at least as similar as the partner; (b,) similarity of the partner;
        (b, num) the first answers, where the partner comes after equally similar ones; (b, num) their similarities.
    """
    similarity = queries @ gallery.T
    if hubness is not None:
        similarity = 2 * similarity - hubness
    own = similarity.gather(1, partner[:, None])  # from the same product as the others
    similarity[hidden] = -torch.inf
    better = (similarity >= own - TIE).sum(1)
    similarity.scatter_(1, partner[:, None], own - TIE)
    return better, own.squeeze(1), *first(similarity, num)


def first(similarity: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Return the columns (b, num) of the largest values, -1 if there are fewer or they are -inf, and the values."""
    values, columns = similarity.topk(min(num, similarity.shape[1]), dim=1)
    missing = num - values.shape[1]
    values = torch.nn.functional.pad(values, (0, missing), value=-torch.inf)
    columns = torch.nn.functional.pad(columns, (0, missing), value=-1)
    return columns.masked_fill(values == -torch.inf, -1), values


@dataclass(frozen=True)
class Ranks:
    """Ranks of Q queries; indices are rows of the embeddings.

    Attributes:
        query: (Q,) index of the query.
        partner: (Q,) index of the true partner.
        direction: (Q,) index into `DIRECTIONS`.
        rank: (Q,) rank of the partner; 1 is the best.
        gallery: (Q,) number of candidates after masking.
        similarity: (Q,) of the partner.
        num_relevant: (Q,) number of right candidates: 1 for couples, the other profiles of the class for styles.
        answers: (Q, A) the first A candidates, best first; -1 if the gallery is smaller.
        likeness: (Q, A) their similarities.
    """

    query: Tensor
    partner: Tensor
    direction: Tensor
    rank: Tensor
    gallery: Tensor
    similarity: Tensor
    num_relevant: Tensor
    answers: Tensor
    likeness: Tensor


@dataclass(frozen=True)
class StyleRanks(Ranks):
    """Ranks of styles: `rank`, `partner` and `similarity` are of the best ranked profile of the query's class.

    Attributes:
        ks: K numbers of first candidates.
        precision: (Q, K) share of the query's class in the top k.
        average_precision: (Q,) AP@R of Musgrave et al. 2020, "A Metric Learning Reality Check", section 3.2.
        skipped: Number of profiles that are no query because they are the only one of their class.
    """

    ks: tuple[int, ...]
    precision: Tensor
    average_precision: Tensor
    skipped: int


# Results are written into tensors that are allocated first: small tensors between the blocks would keep the allocator
# from using a freed block again, and memory would grow with the square of the gallery.


def couple_ranks(
    left: Tensor,
    right: Tensor,
    couples: Tensor,
    *,
    block: int,
    known: Tensor | None = None,
    num_answers: int = 0,
    hubness: tuple[Tensor, Tensor] | None = None,
) -> Ranks:
    """Return the rank of each true partner in both directions; ties count against the model.

    Args:
        left: (L, E) unit rows, one for each profile.
        right: (R, E) unit rows, one for each profile.
        couples: (C, 2) distinct pairs of rows (left, right): the 2C queries, left to right first.
        block: Number of queries that are compared at a time; memory grows with block x gallery.
        known: Other true pairs, which are no queries. All other partners of a query in `couples` and `known` are
            removed from its gallery.
        num_answers: A, the number of first answers that are kept.
        hubness: r (L,) and r (R,) of CSLS; None for the cosine.

    Raises:
        UserError: An embedding is not finite.
        ValueError: A row does not have unit length, or couples repeat.
    """
    left, right = (_unit(rows) for rows in (left, right))
    couples = couples.to(left.device)
    if len(torch.unique(couples, dim=0)) != len(couples):
        raise ValueError("the same couple was given twice")
    truth = couples if known is None else torch.cat([couples, known.to(couples)])
    truth = torch.unique(truth, dim=0)
    own_left = own_right = None
    if hubness is not None:
        own_left, own_right = (own.to(left) for own in hubness)
    forward = _rank_partners(left, right, couples, truth, block, num_answers, own_left, own_right)
    backward = _rank_partners(right, left, couples.flip(1), truth.flip(1), block, num_answers, own_right, own_left)
    parts = (torch.cat(pair).cpu() for pair in zip(forward, backward, strict=True))
    rank, gallery, similarity, answers, likeness = parts
    direction = torch.tensor([LEFT_TO_RIGHT, RIGHT_TO_LEFT]).repeat_interleave(len(couples))
    return Ranks(
        query=torch.cat([couples[:, 0], couples[:, 1]]).cpu(),
        partner=torch.cat([couples[:, 1], couples[:, 0]]).cpu(),
        direction=direction,
        rank=rank,
        gallery=gallery,
        similarity=similarity,
        num_relevant=torch.ones_like(direction),
        answers=answers,
        likeness=likeness,
    )


def style_ranks(
    embeddings: Tensor,
    labels: Tensor,
    *,
    ks: tuple[int, ...],
    block: int,
    people: Tensor | None = None,
    num_answers: int = 0,
) -> StyleRanks:
    """Return ranks of searching, for every profile, the others of its class; ties count against the model.

    Args:
        embeddings: (N, E) unit rows, one for each profile.
        labels: (N,) their classes.
        ks: Of the precision.
        block: Number of queries that are compared at a time; memory grows with block x gallery.
        people: (N,) numbers of the people; the gallery of a query is the profiles of other people. None if every
            profile is a person.
        num_answers: A, the number of first answers that are kept.

    Raises:
        UserError: An embedding is not finite, or no class has two profiles.
        ValueError: A row does not have unit length, or a k is above N - 1.
    """
    embeddings = _unit(embeddings)
    device, count = embeddings.device, len(embeddings)
    if any(not 1 <= k < count for k in ks):
        raise ValueError(f"every k of {ks} must be between 1 and the gallery of {count - 1}")
    labels = labels.to(device)
    people = torch.arange(count, device=device) if people is None else people.to(device)
    dtypes = dict.fromkeys(("rank", "partner", "num_relevant", "gallery"), torch.long) | {"similarity": torch.float64}
    columns = {name: torch.empty(count, dtype=dtype, device=device) for name, dtype in dtypes.items()}
    columns["precision"] = torch.empty(count, len(ks), dtype=torch.float64, device=device)
    columns["average_precision"] = torch.empty_like(columns["similarity"])
    columns["answers"] = torch.empty(count, num_answers, dtype=torch.long, device=device)
    columns["likeness"] = torch.empty(count, num_answers, dtype=torch.float64, device=device)
    for query in torch.arange(count, device=device).split(block):
        own = people[query, None] == people[None, :]
        relevant = (labels[query, None] == labels[None, :]) & ~own
        with torch.autocast(device.type, enabled=False):
            similarity = (embeddings[query] @ embeddings.T).masked_fill_(own, -torch.inf)
        for name, values in _rank_class(similarity, relevant, ks).items():
            columns[name][query] = values.to(columns[name].dtype)
        columns["gallery"][query] = count - own.sum(1)
        columns["answers"][query], likeness = first(similarity, num_answers)
        columns["likeness"][query] = likeness.double()
    is_query = columns["num_relevant"] > 0
    if not is_query.any():
        raise UserError("No style class has two profiles in this split, so nothing can be retrieved. Add profiles.")
    of_queries = {name: column[is_query].cpu() for name, column in columns.items()}
    query = is_query.nonzero().squeeze(1).cpu()
    direction = torch.full_like(query, AMONG_PROFILES)
    return StyleRanks(**of_queries, query=query, direction=direction, ks=tuple(ks), skipped=count - len(query))


def _rank_partners(
    queries: Tensor,
    gallery: Tensor,
    pairs: Tensor,
    truth: Tensor,
    block: int,
    num_answers: int,
    own_hubness: Tensor | None,
    hubness: Tensor | None,
) -> tuple[Tensor, ...]:
    """Rank the second of each pair (C, 2) of rows (queries, gallery).

    Args:
        queries: (Q, E) unit rows.
        gallery: (G, E) unit rows.
        pairs: (C, 2).
        truth: Distinct true pairs, which contain `pairs`.
        block: Number of pairs at a time.
        num_answers: A.
        own_hubness: (Q,) r of CSLS of the queries.
        hubness: (G,) r of CSLS of the gallery.

    Returns:
        Rank, size of the gallery and similarity (C,), the first answers (C, A) and their similarities.
    """
    truth = truth[truth[:, 0].argsort(stable=True)]
    num_true = torch.bincount(truth[:, 0], minlength=len(queries))
    first_true = num_true.cumsum(0) - num_true
    ranks = torch.empty_like(pairs[:, 0])
    similarities = torch.empty(len(pairs), dtype=torch.float64, device=queries.device)
    answers = torch.empty(len(pairs), num_answers, dtype=torch.long, device=queries.device)
    likeness = torch.empty(len(pairs), num_answers, dtype=torch.float64, device=queries.device)
    for start in range(0, len(pairs), block):
        query, partner = pairs[start : start + block].unbind(1)
        counts = num_true[query]
        row = torch.arange(len(query), device=query.device).repeat_interleave(counts)
        within = torch.arange(len(row), device=query.device) - (counts.cumsum(0) - counts)[row]
        hidden = row, truth[first_true[query][row] + within, 1]
        with torch.autocast(queries.device.type, enabled=False):
            better, similarity, columns, values = search(queries[query], gallery, partner, hidden, num_answers, hubness)
        if own_hubness is not None:  # the same for all candidates of a query, so ranks do not depend on it
            similarity, values = similarity - own_hubness[query], values - own_hubness[query, None]
        ranks[start : start + block] = 1 + better
        similarities[start : start + block] = similarity
        answers[start : start + block], likeness[start : start + block] = columns, values
    return ranks, len(gallery) - num_true[pairs[:, 0]] + 1, similarities, answers, likeness


def _rank_class(similarity: Tensor, relevant: Tensor, ks: tuple[int, ...]) -> dict[str, Tensor]:
    """Return columns of StyleRanks for one block (b, N); profiles outside a gallery have similarity -inf.

    The values of a query without a relevant profile have no meaning.
    """
    order = (similarity - TIE * relevant).argsort(dim=1, descending=True)  # within a tie the wrong ones come first
    hit = relevant.gather(1, order)
    found = hit.cumsum(1, dtype=torch.int32)
    num_relevant = relevant.sum(1)
    position = torch.arange(1, hit.shape[1] + 1, device=hit.device)
    within_r = hit & (position <= num_relevant[:, None])
    first = hit.to(torch.int8).argmax(1, keepdim=True)  # argmax gives the first of equal values
    partner = order.gather(1, first)
    k = torch.tensor(ks, dtype=torch.long, device=hit.device)
    return {
        "rank": first.squeeze(1) + 1,
        "partner": partner.squeeze(1),
        "similarity": similarity.gather(1, partner).squeeze(1).double(),
        "num_relevant": num_relevant,
        "precision": found[:, k - 1].double() / k,
        "average_precision": (found.double() / position).masked_fill_(~within_r, 0).sum(1) / num_relevant.clamp(min=1),
    }


def _unit(rows: Tensor) -> Tensor:
    """Return (N, E) float32 after checking that the rows are finite and have unit length."""
    rows = rows.detach().float()
    lengths = rows.norm(dim=1)
    broken = int((~torch.isfinite(lengths)).sum())
    if broken:
        raise UserError(
            f"{broken} of {len(rows)} embeddings have values that are not finite, so they cannot be ranked: training "
            "diverged (lower optimizer.lr), or the backbone overflowed (set backbone.dtype=fp32)."
        )
    if ((lengths - 1).abs() > UNIT).any():
        raise ValueError(f"embeddings must have unit length, not {lengths.min():.4g} to {lengths.max():.4g}")
    return rows
