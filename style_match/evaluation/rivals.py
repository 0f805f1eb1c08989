"""How many of a gallery are at least as similar as the partner, and who comes first: decided in float64, mostly
multiplied in float32.

The error of a sum of E float32 products, in any order, is at most E * 2^-24 / (1 - E * 2^-24) of the sum of their sizes
(N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., equation 3.5). A similarity that is further
than that from what it is compared with is on the same side of it in float64. Only the others, about one in 2,000 among
random rows of 512 dims, are summed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

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
