"""Exact ranks of the true partners. Needs torch alone, so that a training step can import it cheaply."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from style_match.utils.errors import UserError

# CSLS: a similarity corrected for hubs, the few profiles that are near to everybody.
#
# G. Lample, A. Conneau, M. Ranzato, L. Denoyer, H. Jegou, "Word translation without parallel data", ICLR 2018,
# section 2.3: CSLS(x, y) = 2 cos(x, y) - r(x) - r(y). Here r is taken over the profiles of the training split, so
# that the score of a pair does not depend on who else is in the test split.


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


# Similarities that differ by less than this count as a tie, against the model. The order of its sum changes a float32
# product of unit rows by less, so ranks depend neither on the block nor on the BLAS.
TIE = 1e-6
UNIT = 1e-2  # what the length of a row may differ from 1: those rounded to bfloat16 stay within


def search(
    queries: Tensor, gallery: Tensor, partner: Tensor, hidden: tuple[Tensor, Tensor], num: int, hubness: Tensor | None
) -> tuple[Tensor, ...]:
    """Compare a block of queries (b, E) with the whole gallery (G, E).

    Args:
        queries: Unit rows.
        gallery: Unit rows.
        partner: (b,) row of each query's partner.
        hidden: Pairs (row of the block, row of the gallery) that are left out, the partners among them.
        num: How many first answers are returned.
        hubness: (G,) r of CSLS; None for the cosine.

    Returns:
        (b,) how many others are at least as similar as the partner, (b,) its similarity, (b, num) the first answers,
        the partner behind its equals, and their similarities.
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
    """The columns (b, num) of the largest values, and these; -1 for columns of -inf, or where there are no more."""
    values, columns = similarity.topk(min(num, similarity.shape[1]), dim=1)
    lacking = num - values.shape[1]
    values = torch.nn.functional.pad(values, (0, lacking), value=-torch.inf)
    columns = torch.nn.functional.pad(columns, (0, lacking), value=-1)
    return columns.masked_fill(values == -torch.inf, -1), values


LEFT_TO_RIGHT, RIGHT_TO_LEFT, AMONG_PROFILES = 0, 1, 2
DIRECTIONS = ("left_to_right", "right_to_left", "among_profiles")


@dataclass(frozen=True)
class Ranks:
    """One row a query (Q,); indices point into the rows that were given.

    `rank` is 1 for the best, `gallery` the number of candidates of this query after masking, `num_relevant` how many
    of them are right (1 for couples, the other profiles of the class for styles), `direction` indexes `DIRECTIONS`.
    `answers` (Q, A) are the first A candidates, best first, -1 where the gallery is smaller, with their `likeness`.
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
    """`rank`, `partner` and `similarity` are those of the best ranked profile of the query's class.

    `precision` (Q, K) is the share of the query's class in the top k for each of `ks`; `average_precision` (Q,) is
    AP@R of Musgrave et al. 2020, "A Metric Learning Reality Check", section 3.2. `skipped` counts the profiles that
    were no query because they are alone in their class.
    """

    ks: tuple[int, ...]
    precision: Tensor
    average_precision: Tensor
    skipped: int


# Results are written into tensors made beforehand: small ones made between the blocks would keep the allocator from
# using a freed block again, and memory would then grow with the square of the gallery after all.


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
    """Rank of each true partner in both directions, ties counted against the model.

    `left` (L, E) and `right` (R, E) are unit rows, one a profile: the galleries. `couples` (C, 2) are distinct pairs of
    rows (left, right): the 2C queries, left to right first. All other partners of a query in `couples` and in `known`
    (pairs that are true as well but are no queries) are taken out of its gallery. Memory grows with block x gallery.
    With `hubness`, r (L,) and r (R,) of `csls`, the similarity is not the cosine but CSLS.

    Raises UserError when an embedding is not finite, ValueError when rows are not unit length or couples repeat.
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
    """Every profile asks for the other profiles of its class, ties counted against the model.

    `embeddings` (N, E) are unit rows, one a profile, `labels` (N,) their classes. The gallery of a query is all other
    profiles; with `people` (N,), all profiles of other people. Memory grows with block x gallery.

    Raises UserError when an embedding is not finite or no class has two profiles, ValueError when a row is not unit
    length or a k is above N - 1.
    """
    embeddings = _unit(embeddings)
    device, count = embeddings.device, len(embeddings)
    if any(not 1 <= k < count for k in ks):
        raise ValueError(f"every k of {ks} must be between 1 and the gallery of {count - 1}")
    labels = labels.to(device)
    people = torch.arange(count, device=device) if people is None else people.to(device)
    whole = dict.fromkeys(("rank", "partner", "num_relevant", "gallery"), torch.long) | {"similarity": torch.float64}
    columns = {name: torch.empty(count, dtype=dtype, device=device) for name, dtype in whole.items()}
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
    asks = columns["num_relevant"] > 0
    if not asks.any():
        raise UserError("no style class has two profiles in this split, so nothing can be retrieved: add profiles")
    kept = {name: column[asks].cpu() for name, column in columns.items()}
    query = asks.nonzero().squeeze(1).cpu()
    direction = torch.full_like(query, AMONG_PROFILES)
    return StyleRanks(**kept, query=query, direction=direction, ks=tuple(ks), skipped=count - len(query))


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
    """Rank, gallery size and similarity (C,) of each pair (row of queries, row of gallery), then the first answers
    (C, A) and their similarities; truth: distinct pairs; hubness: of the queries and of the gallery, for CSLS.
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
        if own_hubness is not None:  # the same for all that a query meets, so no rival needs it
            similarity, values = similarity - own_hubness[query], values - own_hubness[query, None]
        ranks[start : start + block] = 1 + better
        similarities[start : start + block] = similarity
        answers[start : start + block], likeness[start : start + block] = columns, values
    return ranks, len(gallery) - num_true[pairs[:, 0]] + 1, similarities, answers, likeness


def _rank_class(similarity: Tensor, relevant: Tensor, ks: tuple[int, ...]) -> dict[str, Tensor]:
    """Columns of StyleRanks for one block (b, N); profiles outside a gallery have similarity -inf.

    What a query without a relevant profile gets means nothing.
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
    """(N, E) float32; checks that rows are finite and of unit length."""
    rows = rows.detach().float()
    lengths = rows.norm(dim=1)
    broken = int((~torch.isfinite(lengths)).sum())
    if broken:
        raise UserError(
            f"{broken} of {len(rows)} embeddings hold values that are not finite numbers, so they cannot be ranked: "
            "training diverged (lower optimizer.lr) or the backbone overflowed (backbone.dtype=fp32)"
        )
    if ((lengths - 1).abs() > UNIT).any():
        raise ValueError(f"embeddings must have unit length, not {lengths.min():.4g} to {lengths.max():.4g}")
    return rows
