"""Exact ranks of as many queries as a gallery has rows, against matrix products and a flat index of FAISS.

The products are those of the same blocks of queries, written into one matrix, and nothing is done with them. FAISS
gives the first answers instead of ranks; it searches for a part of the queries, and its time is scaled. Ratios are of a
part of the queries, because every query costs the same.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import faiss
import measure
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from style_match.evaluation.ranks import TIE, couple_ranks


def evaluation(results: measure.Results, options: dict[str, Any]) -> None:
    """Measure all sizes; at the smallest also the cost of the first answers, and float64."""
    block, k, part = options["block"], options["flat_k"], options["flat_part"]
    faiss.omp_set_num_threads(torch.get_num_threads())
    seconds = []
    for count, share in zip(options["sizes"], options["shares"], strict=True):
        size = f"{int(count * share):,} queries against {count:,}, {options['dim']} dims"
        left, right = planted(count, options["dim"])
        check(results, left, right, options, size)
        asked = pairs(int(count * share) // 2)
        few = len(asked) // part
        ways = {
            "ranks": lambda left=left, right=right, asked=asked: couple_ranks(left, right, asked, block=block),
            "products": products(left, right, len(asked), block, count),
            "narrow": products(left, right, len(asked), block, 4096),
            "flat": flat(left, right, few, k),
        }
        check_flat(results, couple_ranks(left, right, pairs(few), block=block).rank, ways["flat"](), size)
        spent = measure.alternate(ways, repetitions=options["repetitions"], what=size, warm_up=False)
        goal = options["goal"] if count == options["sizes"][-1] else None
        results.compare("exact ranks", "products alone", spent["ranks"], spent["products"], size=size, goal=goal)
        against = "products alone, 4,096 columns at a time"
        results.compare("exact ranks", against, spent["ranks"], spent["narrow"], size=size, goal=goal)
        against = f"FAISS flat, first {k} (time of 1/{part} of the queries, scaled)"
        scaled = [s * len(asked) / few for s in spent["flat"]]
        results.compare("exact ranks", against, spent["ranks"], scaled, size=size)
        seconds.append(statistics.median(spent["ranks"]) / share)
        if count == options["sizes"][0]:
            for_information(results, left, right, asked, options, size)
    results.grow("exact ranks (scaled from a part of the queries)", "queries and rows", options["sizes"], seconds)
    all_queries(results, left, right, options)


def planted(count: int, dim: int) -> tuple[Tensor, Tensor]:
    """Return unit rows (count, dim) twice; rows i have a cosine between 0 and 0.3, so all ranks to the middle occur."""
    generator = torch.Generator().manual_seed(0)
    left, right = (normalize(torch.randn(count, dim, generator=generator), dim=1) for _ in range(2))
    share = 0.3 * torch.rand(count, 1, generator=generator)
    right.mul_((1 - share**2).sqrt()).addcmul_(share, left)
    return left, normalize(right, dim=1)


def pairs(count: int) -> Tensor:
    """Return couples (count, 2) of the same row on both sides."""
    return torch.arange(count)[:, None].repeat(1, 2)


def products(left: Tensor, right: Tensor, asked: int, block: int, columns: int) -> Callable[[], None]:
    """Return a function that computes the blocks of products in both directions, so many columns at a time."""
    memory = torch.empty(block * columns)

    def multiply() -> None:
        for queries, gallery in ((left, right), (right, left)):
            for rows in queries[:asked].split(block):
                for part in gallery.split(columns):
                    torch.mm(rows, part.T, out=memory[: len(rows) * len(part)].view(len(rows), len(part)))

    return multiply


def flat(left: Tensor, right: Tensor, asked: int, k: int) -> Callable[[], list[np.ndarray]]:
    """Return a search for the first k in flat indexes, in both directions: (asked, k) rows each."""
    searches = []
    for queries, gallery in ((left, right), (right, left)):
        index = faiss.IndexFlatIP(gallery.shape[1])
        index.add(gallery.numpy())
        searches.append((index, queries[:asked].numpy()))
    return lambda: [index.search(rows, k)[1] for index, rows in searches]


def check_flat(results: measure.Results, rank: Tensor, found: list[np.ndarray], size: str) -> None:
    """Check that a partner in FAISS's first k has our rank, or the next one if float32 ties."""
    num, k = found[0].shape
    asked, at = np.nonzero(np.concatenate(found) == np.tile(np.arange(num), 2)[:, None])
    off = np.abs(rank.numpy()[asked] - 1 - at).max(initial=0)
    results.check(f"rank of {len(asked)} queries' partners among the first {k} of FAISS, {size}", float(off), 1)


def check(results: measure.Results, left: Tensor, right: Tensor, options: dict[str, Any], size: str) -> None:
    """Compare ranks and similarities of some queries with NumPy in float64; rounding may move a near tie."""
    half = options["checked"] // 2
    found = couple_ranks(left, right, pairs(half), block=options["block"])
    rank, own = [], []
    for queries, gallery in ((left, right), (right, left)):
        matrix = queries[:half].double().numpy() @ gallery.double().numpy().T
        own.append(matrix.diagonal())
        rank.append((matrix >= own[-1][:, None] - TIE).sum(1))  # the partner is one of them
    wrong = np.abs(found.rank.numpy() - np.concatenate(rank)).max()
    results.check(f"ranks of {2 * half} queries in float64, {size}", float(wrong), 2)
    off = np.abs(found.similarity.numpy() - np.concatenate(own)).max()
    results.check(f"similarities of {2 * half} queries in float64, {size}", float(off), 1e-6)


def for_information(
    results: measure.Results, left: Tensor, right: Tensor, asked: Tensor, options: dict[str, Any], size: str
) -> None:
    """Measure the cost of the first answers, and the same ranks in float64."""
    block, num = options["block"], options["num_answers"]

    def double() -> None:
        for queries, gallery in ((left.double(), right.double()), (right.double(), left.double())):
            for rows in asked[:, 0].split(block):
                similarity = queries[rows] @ gallery.T
                (similarity >= similarity.gather(1, rows[:, None]) - TIE).sum(1)

    ways = {
        "ranks": lambda: couple_ranks(left, right, asked, block=block),
        "answers": lambda: couple_ranks(left, right, asked, block=block, num_answers=num),
        "float64": double,
    }
    spent = measure.alternate(ways, repetitions=options["repetitions"], what=f"{size}, answers", warm_up=False)
    what = f"exact ranks and first {num} answers"
    results.compare(what, "exact ranks alone", spent["answers"], spent["ranks"], size=size)
    results.compare("exact ranks", "blocks in float64", spent["ranks"], spent["float64"], size=size)


def all_queries(results: measure.Results, left: Tensor, right: Tensor, options: dict[str, Any]) -> None:
    """Measure time and peak memory of as many queries as rows at the largest size, once."""
    count, num, most = len(left), options["num_answers"], options["memory_gb"]
    asked = pairs(count // 2)
    began = time.perf_counter()
    run = lambda: couple_ranks(left, right, asked, block=options["block"], num_answers=num)  # noqa: E731
    gigabytes = measure.peak_memory(run, left.device) / 1e9
    seconds = time.perf_counter() - began
    size = f"{count:,} queries against {count:,}, {options['dim']} dims"
    goal = {"goal": f"below {most:g} GB", "met": gigabytes < most}
    results.fact("peak memory above the embeddings", gigabytes, "GB", size=size, **goal)
    results.fact(f"exact ranks and first {num} answers, once", seconds, "s", size=size)


if __name__ == "__main__":
    measure.main("evaluation", "exact ranks of all queries in a large gallery", evaluation)
