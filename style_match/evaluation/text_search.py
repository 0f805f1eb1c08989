"""How well photos are found by their texts: ranks, metrics with intervals, chance.

Two kinds of queries. `caption`: the caption of each photo of a split, the photo is right and all that share the caption
or the person. `part`: one to four parts of it, such as people search with; every photo with these parts in one of its
captions is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from style_match.data.captions import drawn_parts, is_true_of
from style_match.evaluation.bootstrap import ClusterBootstrap
from style_match.evaluation.metrics import chance, choose_ks
from style_match.evaluation.ranks import AMONG_PROFILES, TIE, Ranks

KINDS = ("caption", "part")


@dataclass(frozen=True)
class Queries:
    """Q texts that are searched among G photos.

    Attributes:
        texts: (Q,).
        relevant: (Q, G) bool; True for the right photos.
        people: (Q,) person on the photo that the text describes.
    """

    texts: tuple[str, ...]
    relevant: Tensor
    people: Tensor


def queries(captions: Sequence[Sequence[str]], people: Sequence[int], kind: str) -> Queries:
    """Return one query for each photo.

    Args:
        captions: (G,) the captions of each photo.
        people: (G,) the person on each photo.
        kind: "caption" or "part".
    """
    person = torch.tensor(people)
    if kind == "caption":
        texts = tuple(texts[0] for texts in captions)
        right = [[text in of_photo for of_photo in captions] for text in texts]
        relevant = torch.tensor(right) | (person[:, None] == person[None, :])
    else:
        texts = tuple(drawn_parts(of_photo[0], 1)[0] for of_photo in captions)
        relevant = torch.tensor(
            [[any(is_true_of(text, each) for each in of_photo) for of_photo in captions] for text in texts]
        )
    return Queries(texts, relevant, person)


def first_ranks(similarity: Tensor, relevant: Tensor) -> Tensor:
    """Return (Q,) rank of the best right photo from similarities (Q, G); ties count against it."""
    best = similarity.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((similarity >= best - TIE) & ~relevant).sum(dim=1)


def section(
    queries: Queries, similarities: Mapping[str, Tensor], *, ks: Sequence[int], evaluation: Mapping[str, Any]
) -> dict[str, Any]:
    """Return rows of metrics.json: chance, then each way of searching.

    Args:
        queries: Q texts.
        similarities: Way of searching to similarities (Q, G).
        ks: Of recall@k; those above the gallery are left out.
        evaluation: confidence, num_resamples and seed of the bootstrap over people.
    """
    num, gallery = queries.relevant.shape
    ks, dropped = choose_ks(None, ks, gallery)
    ci = f"ci{100 * evaluation['confidence']:g}"
    options = {name: evaluation[name] for name in ("confidence", "num_resamples", "seed")}
    bootstrap = ClusterBootstrap(queries.people.numpy(), **options)
    counts = {"queries": num, "gallery": gallery, "dropped_ks": dropped}
    rows: dict[str, Any] = {}
    for name, similarity in similarities.items():
        rank = first_ranks(similarity.double(), queries.relevant)
        columns = {f"recall@{k}": (rank <= k).double() for k in ks} | {"mrr": 1 / rank.double()}
        found = bootstrap.means(torch.stack(list(columns.values()), dim=1).numpy())
        cells = zip(columns, found, strict=True)
        rows[name] = {metric: {"value": each.value, ci: [each.low, each.high]} for metric, each in cells} | counts
    exact = chance(_ranks(queries.relevant), ks)
    by_chance = {metric: {"value": value, ci: [value, value]} for metric, value in exact.items()} | counts
    by_chance.pop("median_rank")
    return {"chance": by_chance} | rows


def mrr(similarity: Tensor, relevant: Tensor) -> float:
    """Return the mean over queries of 1 / rank of the best right photo."""
    return float((1 / first_ranks(similarity.double(), relevant).double()).mean())


def chosen_path(mrr_of: Mapping[str, float], margin: float) -> str:
    """Return a matcher's default path of search: `both`, unless another's MRR exceeds it by more than `margin`.

    The MRR favours `caption`: its queries are parts of the captions that it searches.
    """
    best = max(mrr_of, key=lambda path: mrr_of[path])
    return best if mrr_of[best] - mrr_of["both"] > margin else "both"


def _ranks(relevant: Tensor) -> Ranks:
    """Return ranks for `chance`, which reads only the numbers of candidates and right ones of each query."""
    num, gallery = relevant.shape
    nothing = torch.zeros(num, dtype=torch.long)
    return Ranks(
        query=torch.arange(num),
        partner=nothing,
        direction=torch.full((num,), AMONG_PROFILES),
        rank=nothing + 1,
        gallery=torch.full((num,), gallery),
        similarity=nothing.double(),
        num_relevant=relevant.sum(dim=1),
        answers=nothing[:, None],
        likeness=nothing[:, None].double(),
    )
