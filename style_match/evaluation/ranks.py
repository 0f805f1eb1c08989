"""Exact ranks of the true partners. Needs torch alone, so that a training step can import it cheaply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

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


# How many of a gallery are at least as similar as the partner, and who comes first: decided in float64, mostly
# multiplied in float32.
#
# The error of a sum of E float32 products, in any order, is at most E * 2^-24 / (1 - E * 2^-24) of the sum of their
# sizes (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., equation 3.5). A similarity that is
# further than that from what it is compared with is on the same side of it in float64. Only the others, about one in
# 2,000 among random rows of 512 dims, are summed again.


# Similarities are summed in float64. Two that differ by less than this differ by the order of the summation at most
# (E * 2^-53 < 1e-12 up to E = 9000), so they count as a tie: ranks depend neither on the block nor on the BLAS.
TIE = 1e-12

UNIT = 1e-2  # what the length of a row may differ from 1: those rounded to bfloat16 stay within
COLUMNS = 4096  # of a tile: a block of queries against so many is looked through while it is still in the cache
MEMBERS = 16  # of a group, of which only sum or maximum is looked at first
SPARE = 6  # candidates beyond the answers that are asked for: the next best, which show that none is missed
CROWDED = 1 / 64  # share of the gallery from which on summing each again costs more than a product in float64
PAIRS = 256  # that are summed again at a time: their rows stay in the cache of one core


class Rivals:
    """Queries (Q, E) and a gallery (G, E), all of unit length, and what the gallery holds for each query.

    The similarity is the dot product; with `hubness` (G,) twice that, less what it has for the row of the gallery. At
    most `block` queries are asked at a time.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, *, hubness: Tensor | None, block: int) -> None:
        self.queries, self.gallery, self.hubness = queries if hubness is None else 2 * queries, gallery, hubness
        # One tile is multiplied in float64 as it is: what float32 saves there is less than what the second look costs.
        self.small = len(gallery) <= COLUMNS
        if self.small:
            self.gallery = gallery.double()
            return
        self.gallery_32 = gallery.float()
        largest = (1 + UNIT) ** 2 if hubness is None else 2 * (1 + UNIT) ** 2 + float(hubness.abs().max())
        summands = gallery.shape[1] + 8  # with hubness, and what rounding rows, bounds and hubness to float32 adds
        self.margin = largest * summands * 2.0**-24 / (1 - summands * 2.0**-24)
        self.limit = int(CROWDED * len(gallery))
        # Made once: memory that is taken anew for every tile can be handed back to the system after each, and to fetch
        # it again page by page takes longer than what is done with it.
        self.product = torch.empty(block * COLUMNS, device=gallery.device)
        self.marks = torch.empty_like(self.product)
        self.sums = self.product.new_empty(2, block, COLUMNS // MEMBERS)
        types = (gallery.dtype, torch.float64, torch.float64)
        self.pairs = [torch.empty(PAIRS, gallery.shape[1], dtype=each, device=gallery.device) for each in types]

    def search(self, query: Tensor, partner: Tensor, hidden: tuple[Tensor, Tensor], num: int) -> tuple[Tensor, ...]:
        """Of each query (b,): how many are at least as similar as its partner (b,), how similar that is, and the first
        `num` columns (b, num), the partner behind its equals, with their similarities.

        `hidden` are pairs (place in the block, column) that are left out, the partners among them.
        """
        if self.small:
            return self._whole(query, partner, hidden, num)
        with _full_precision(query.device):
            found, doubt = self._tiled(query, partner, hidden, num)
        again = doubt.nonzero().squeeze(1)
        if len(again):
            place = torch.full_like(query, -1).index_copy(0, again, torch.arange(len(again), device=again.device))
            row, column = hidden
            chosen = place[row] >= 0
            exact = self._whole(query[again], partner[again], (place[row[chosen]], column[chosen]), num)
            for rough, values in zip(found, exact, strict=True):
                rough[again] = values
        return found

    def _whole(self, query: Tensor, partner: Tensor, hidden: tuple[Tensor, Tensor], num: int) -> tuple[Tensor, ...]:
        """`search`, all in float64."""
        rows = self.queries[query].double()
        similarity = torch.empty(len(query), len(self.gallery), dtype=torch.float64, device=query.device)
        for start in range(0, len(self.gallery), COLUMNS):
            part = self.gallery[start : start + COLUMNS].double()
            torch.mm(rows, part.T, out=similarity[:, start : start + COLUMNS])
        if self.hubness is not None:
            similarity -= self.hubness
        own = similarity.gather(1, partner[:, None])  # from the same matrix as its rivals
        similarity[hidden] = -torch.inf
        better = (similarity >= own - TIE).sum(1)
        similarity.scatter_(1, partner[:, None], own - TIE)  # the one that is asked for goes behind its equals
        return better, own.squeeze(1), *first(similarity, num)

    def _tiled(
        self, query: Tensor, partner: Tensor, hidden: tuple[Tensor, Tensor], num: int
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """`search`, and for which queries (b,) it is not certain."""
        rows = self.queries[query]
        rows_32, rows = rows.float(), rows.double()
        place = torch.arange(len(query), device=query.device)
        own = self._summed(rows, place, partner)
        least = own - TIE
        low, high = ((least + sign * self.margin).float()[:, None] for sign in (-1, 1))
        better, near = torch.zeros_like(own), torch.zeros_like(query)
        values = torch.full((len(query), num + SPARE), -torch.inf, device=query.device)
        columns = torch.zeros_like(values, dtype=torch.long)
        unclear = []
        for start, tile in self._tiles(rows_32, hidden):
            marks = self.marks[: tile.numel()].view_as(tile)
            above, between = self.sums[:, : len(tile), : tile.shape[1] // MEMBERS]  # (b, groups)
            torch.sum(_groups(torch.ge(tile, high, out=marks)), dim=1, out=above)
            torch.sum(_groups(torch.ge(tile, low, out=marks)), dim=1, out=between).sub_(above)
            better += above.sum(1)
            row, column = _within(tile, low, high, between)
            near += torch.bincount(row, minlength=len(query))
            unclear.append((row, column + start))
            if num:
                values, columns = _largest(tile, start, values, columns)
            crowded = near > self.limit
            if crowded.any():
                if crowded.all():
                    return self._whole(query, partner, hidden, num), torch.zeros_like(crowded)
                low[crowded] = high[crowded] = torch.inf  # they are asked again anyway
        row, column = (torch.cat(parts) for parts in zip(*unclear, strict=True))
        better.index_add_(0, row, (self._summed(rows, row, column) >= least[row]).double())
        answers, likeness, sure = self._ordered(rows, columns, values, partner, least, num)
        return (better.long(), own, answers, likeness), crowded | ~sure

    def _tiles(self, rows: Tensor, hidden: tuple[Tensor, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """First column and similarities (b, at most COLUMNS) in float32 of each tile, which the next one overwrites.

        -inf where hidden, and in columns that fill the last group.
        """
        starts = range(0, len(self.gallery), COLUMNS)
        column, order = hidden[1].sort()
        row = hidden[0][order]
        ends = torch.searchsorted(column, torch.tensor([*starts[1:], len(self.gallery)], device=column.device)).tolist()
        for start, (begin, end) in zip(starts, pairwise([0, *ends]), strict=True):
            part = self.gallery_32[start : start + COLUMNS]
            width = -(-len(part) // MEMBERS) * MEMBERS
            tile = self.product[: len(rows) * width].view(len(rows), width)
            torch.mm(rows, part.T, out=tile[:, : len(part)])
            if self.hubness is not None:
                tile[:, : len(part)] -= self.hubness[start : start + COLUMNS].float()
            if width > len(part):
                tile[:, len(part) :] = -torch.inf
            if end > begin:
                tile[row[begin:end], column[begin:end] - start] = -torch.inf
            yield start, tile

    def _ordered(
        self, rows: Tensor, columns: Tensor, values: Tensor, partner: Tensor, least: Tensor, num: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The first `num` of the candidates and the partner, their similarities, and whether (b,) they are certain."""
        if not num:
            none = columns[:, :0]
            return none, none.double(), torch.ones_like(partner, dtype=torch.bool)
        columns, order = columns.sort(dim=1)  # equals then come in the order of the gallery
        real = values.gather(1, order) > -torch.inf
        row, place = real.nonzero().unbind(1)
        likeness = torch.full_like(columns, -torch.inf, dtype=torch.float64)
        likeness[row, place] = self._summed(rows, row, columns[row, place])
        columns = torch.cat([columns.masked_fill(~real, -1), partner[:, None]], dim=1)
        likeness, order = torch.cat([likeness, least[:, None]], dim=1).sort(dim=1, descending=True, stable=True)
        likeness = likeness[:, :num]
        # whoever is no candidate had at most the last value of the candidates
        sure = likeness[:, -1] > values[:, -1].double() + self.margin
        return columns.gather(1, order[:, :num]), likeness, sure

    def _summed(self, rows: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Similarities (P,) in float64 of pairs (row of the block, column)."""
        sums = torch.empty(len(row), dtype=torch.float64, device=rows.device)
        for start in range(0, len(row), PAIRS):
            some = slice(start, start + PAIRS)
            theirs, exact, own = (memory[: len(row[some])] for memory in self.pairs)
            torch.index_select(self.gallery, 0, column[some], out=theirs)
            torch.index_select(rows, 0, row[some], out=own)
            torch.sum(exact.copy_(theirs).mul_(own), dim=1, out=sums[some])
        return sums if self.hubness is None else sums.sub_(self.hubness[column])


def first(similarity: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The columns (b, num) of the largest values, and these; -1 for columns of -inf, or where there are no more."""
    values, columns = similarity.topk(min(num, similarity.shape[1]), dim=1)
    lacking = num - values.shape[1]
    values = torch.nn.functional.pad(values, (0, lacking), value=-torch.inf)
    columns = torch.nn.functional.pad(columns, (0, lacking), value=-1)
    return columns.masked_fill(values == -torch.inf, -1), values


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Products of float32 are of float32: the bound would not hold in the bfloat16 of an autocast or in TF32."""
    other = getattr(torch.backends.mkldnn, "matmul", None)  # since torch 2.9, which does not mix these with the old one
    switches = [] if other is None else [torch.backends.cuda.matmul, other]
    before = [switch.fp32_precision for switch in switches]
    one = None if switches else torch.get_float32_matmul_precision()
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        if one is not None:
            torch.set_float32_matmul_precision("highest")
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
        if one is not None:
            torch.set_float32_matmul_precision(one)


def _groups(tile: Tensor) -> Tensor:
    """(b, MEMBERS, groups): a group holds columns at equal distances, which are faster to sum than neighbours."""
    return tile.view(len(tile), MEMBERS, -1)


def _within(tile: Tensor, low: Tensor, high: Tensor, num: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the values from `low` to below `high`, of which each group has `num` (b, groups)."""
    row, group = num.nonzero().unbind(1)
    values = _groups(tile)[row, :, group]
    chosen, member = ((values >= low[row]) & (values < high[row])).nonzero().unbind(1)
    return row[chosen], group[chosen] + num.shape[1] * member


def _largest(tile: Tensor, start: int, values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """The largest values so far (b, K), best first, and their columns, now with those of the tile."""
    maxima = _groups(tile).amax(1)
    num = min(int((maxima > values[:, -1:]).sum(1).max()), values.shape[1])  # of groups that hold a larger one
    if not num:
        return values, columns
    best = maxima.topk(num, dim=1).indices
    where = (best[:, None] + maxima.shape[1] * torch.arange(MEMBERS, device=tile.device)[:, None]).flatten(1)
    values, kept = torch.cat([values, tile.gather(1, where)], dim=1).topk(values.shape[1], dim=1)
    return values, torch.cat([columns, where + start], dim=1).gather(1, kept)


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
    left, right = (_unit(rows, block) for rows in (left, right))
    couples = couples.to(left.device)
    if len(torch.unique(couples, dim=0)) != len(couples):
        raise ValueError("the same couple was given twice")
    truth = couples if known is None else torch.cat([couples, known.to(couples)])
    truth = torch.unique(truth, dim=0)
    own_left = own_right = None
    if hubness is not None:
        own_left, own_right = (own.to(left.device, torch.float64) for own in hubness)
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
    embeddings = _unit(embeddings, block).double()  # which neither autocast nor TF32 touches
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
        similarity = (embeddings[query] @ embeddings.T).masked_fill_(own, -torch.inf)
        for name, values in _rank_class(similarity, relevant, ks).items():
            columns[name][query] = values
        columns["gallery"][query] = count - own.sum(1)
        columns["answers"][query], columns["likeness"][query] = first(similarity, num_answers)
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
    rivals = Rivals(queries, gallery, hubness=hubness, block=min(block, len(pairs)))
    for start in range(0, len(pairs), block):
        query, partner = pairs[start : start + block].unbind(1)
        counts = num_true[query]
        row = torch.arange(len(query), device=query.device).repeat_interleave(counts)
        within = torch.arange(len(row), device=query.device) - (counts.cumsum(0) - counts)[row]
        hidden = row, truth[first_true[query][row] + within, 1]
        better, similarity, columns, values = rivals.search(query, partner, hidden, num_answers)
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
        "similarity": similarity.gather(1, partner).squeeze(1),
        "num_relevant": num_relevant,
        "precision": found[:, k - 1].double() / k,
        "average_precision": (found.double() / position).masked_fill_(~within_r, 0).sum(1) / num_relevant.clamp(min=1),
    }


def _unit(rows: Tensor, block: int) -> Tensor:
    """(N, E) in float32 or float64; checks that rows are finite and of unit length."""
    rows = rows.detach()
    if rows.device.type == "mps":  # has no float64
        rows = rows.cpu()
    if len(rows) <= COLUMNS:  # once here, and not for every block
        rows = rows.double()
    elif rows.dtype != torch.float64:
        rows = rows.float()  # exact for the shorter ones
    exact = rows.new_empty(min(block, len(rows)), rows.shape[1], dtype=torch.float64)
    lengths = torch.cat([exact[: len(some)].copy_(some).norm(dim=1) for some in rows.split(block)])
    broken = int((~torch.isfinite(lengths)).sum())
    if broken:
        raise UserError(
            f"{broken} of {len(rows)} embeddings hold values that are not finite numbers, so they cannot be ranked: "
            "training diverged (lower optimizer.lr) or the backbone overflowed (backbone.dtype=fp32)"
        )
    if ((lengths - 1).abs() > UNIT).any():
        raise ValueError(f"embeddings must have unit length, not {lengths.min():.4g} to {lengths.max():.4g}")
    return rows
