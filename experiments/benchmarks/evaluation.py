"""Exact ranks of as many queries as a gallery has rows, beside bare matrix products and a flat index of FAISS.

The bare products are those of the same blocks of queries, into one matrix made before, and nothing is done with it;
once in the tiles of columns that ranks are taken in, and once against the whole gallery. FAISS gives the first answers,
not ranks; it is asked a part of the queries, and its time scaled. Ratios are of a part of the queries, since every
query costs the same; as many as there are rows are ranked once, for the peak memory.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import measure
import numpy as np
import torch
from evaluation_memory import planted
from torch import Tensor

from style_match.evaluation.ranks import TIE, couple_ranks, style_ranks


def evaluation(results: measure.Results, options: dict[str, Any]) -> None:
    """All sizes; at the smallest also what the first answers add, and float64 throughout."""
    block, repetitions = options["block"], options["repetitions"]
    faiss.omp_set_num_threads(torch.get_num_threads())
    seconds = []
    for count, share in zip(options["sizes"], options["shares"], strict=True):
        size = f"{int(count * share):,} queries against {count:,}, {options['dim']} dims"
        left, right = planted(count, options["dim"])
        check(results, left, right, options, size)
        asked = pairs(int(count * share) // 2)
        few = len(asked) // options["flat_part"]
        ways = {
            "ranks": lambda left=left, right=right, asked=asked: couple_ranks(left, right, asked, block=block),
            "tiles": products(left, right, len(asked), block, 4096),
            "products": products(left, right, len(asked), block, count),
            "flat": flat(left, right, few, options["flat_k"]),
        }
        check_flat(results, couple_ranks(left, right, pairs(few), block=block).rank, ways["flat"](), size)
        spent = measure.alternate(ways, repetitions=repetitions, what=size, warm_up=False)
        goal = options["goal"] if count == options["sizes"][-1] else None
        results.compare("exact ranks", "products alone", spent["ranks"], spent["products"], size=size, goal=goal)
        against = "products alone, 4,096 columns at a time"
        results.compare("exact ranks", against, spent["ranks"], spent["tiles"], size=size, goal=goal)
        scaled = [s * len(asked) / few for s in spent["flat"]]
        against = f"FAISS flat, first {options['flat_k']} (time of 1/{options['flat_part']} of the queries, scaled)"
        results.compare("exact ranks", against, spent["ranks"], scaled, size=size)
        seconds.append(float(np.median(spent["ranks"])) / share)
        if count == options["sizes"][0]:
            beside(results, left, right, asked, options, size)
        del ways, left, right
    results.grow("exact ranks (scaled from the queries asked)", "queries and as many rows", options["sizes"], seconds)
    everything(results, options)
    styles(results, options)


def pairs(count: int) -> Tensor:
    """Couples (count, 2) of the same row on both sides."""
    return torch.arange(count)[:, None].repeat(1, 2)


def products(left: Tensor, right: Tensor, asked: int, block: int, columns: int) -> Callable[[], None]:
    """The blocks of float32 products of both directions, so many columns at a time, and nothing else."""
    memory = torch.empty(block * columns)

    def multiply() -> None:
        for queries, gallery in ((left, right), (right, left)):
            for rows in queries[:asked].split(block):
                for part in gallery.split(columns):
                    torch.mm(rows, part.T, out=memory[: len(rows) * len(part)].view(len(rows), len(part)))

    return multiply


def flat(left: Tensor, right: Tensor, asked: int, k: int) -> Callable[[], list[np.ndarray]]:
    """Search of the first k in flat indexes built before, both directions: (asked, k) rows each."""
    searches = []
    for queries, gallery in ((left, right), (right, left)):
        index = faiss.IndexFlatIP(gallery.shape[1])
        index.add(gallery.numpy())
        searches.append((index, queries[:asked].numpy()))

    def search() -> list[np.ndarray]:
        return [index.search(rows, k)[1] for index, rows in searches]

    return search


def check_flat(results: measure.Results, rank: Tensor, found: list[np.ndarray], size: str) -> None:
    """Where FAISS has a query's own row among its first k, it stands at our rank, or beside it where float32 ties."""
    num, k = found[0].shape
    asked, at = np.nonzero(np.concatenate(found) == np.tile(np.arange(num), 2)[:, None])
    off = np.abs(rank.numpy()[asked] - 1 - at).max(initial=0)
    results.check(f"rank of {len(asked)} queries' own rows among the first {k} of FAISS, {size}", float(off), 1)


def check(results: measure.Results, left: Tensor, right: Tensor, options: dict[str, Any], size: str) -> None:
    """Ranks and similarities of a sample of queries by NumPy in float64."""
    half = options["checked"] // 2
    found = couple_ranks(left, right, pairs(half), block=options["block"])
    rank, own = [], []
    for queries, gallery in ((left, right), (right, left)):
        matrix = queries[:half].double().numpy() @ gallery.double().numpy().T
        own.append(matrix.diagonal())
        rank.append((matrix >= own[-1][:, None] - TIE).sum(1))  # its own is one of them
    wrong = np.abs(found.rank.numpy() - np.concatenate(rank)).max()
    results.check(f"ranks of {2 * half} queries in float64, {size}", float(wrong), 0)
    off = np.abs(found.similarity.numpy() - np.concatenate(own)).max()
    results.check(f"similarities of {2 * half} queries in float64, {size}", float(off), 1e-12)


def beside(
    results: measure.Results, left: Tensor, right: Tensor, asked: Tensor, options: dict[str, Any], size: str
) -> None:
    """For information: what the first answers cost, and how long the same takes in float64 throughout."""
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
    spent = measure.alternate(ways, repetitions=options["repetitions"], what=f"{size}, beside", warm_up=False)
    what = f"exact ranks and first {num} answers"
    results.compare(what, "exact ranks alone", spent["answers"], spent["ranks"], size=size)
    results.compare("exact ranks", "blocks in float64", spent["ranks"], spent["float64"], size=size)


def everything(results: measure.Results, options: dict[str, Any]) -> None:
    """As many queries as rows at the largest size, once, in a process of its own: time and peak memory."""
    count, dim = options["sizes"][-1], options["dim"]
    asked = count
    words = [str(word) for word in (count, dim, asked, options["block"], options["num_answers"])]
    script = Path(__file__).with_name("evaluation_memory.py")
    said = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=True).stdout
    gigabytes, seconds = map(float, said.split())
    size = f"{asked:,} queries against {count:,}, {dim} dims"
    goal, most = f"below {options['memory_gb']:g} GB", options["memory_gb"]
    results.fact("peak memory above the embeddings", gigabytes, "GB", size=size, goal=goal, met=gigabytes < most)
    results.fact(f"exact ranks and first {options['num_answers']} answers, once", seconds, "s", size=size)


def styles(results: measure.Results, options: dict[str, Any]) -> None:
    """For information: ranks within classes, which sort whole rows; each size once."""
    sizes = options["styles"]
    seconds = []
    for count in sizes:
        rows, _ = planted(count, options["dim"])
        labels = torch.arange(count) % options["classes"]
        ways = {"styles": lambda rows=rows, labels=labels: style_ranks(rows, labels, ks=(5,), block=options["block"])}
        spent = measure.alternate(ways, repetitions=1, what=f"{count:,} of styles", warm_up=False)["styles"][0]
        results.fact("ranks of styles", spent, "s", size=f"{count:,} against {count:,}")
        seconds.append(spent)
    results.grow("ranks of styles (each size once)", "queries and rows", sizes, seconds)


if __name__ == "__main__":
    measure.main("evaluation", "exact ranks of all queries in a large gallery", evaluation)
