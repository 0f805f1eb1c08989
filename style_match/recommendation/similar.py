"""The nearest who are allowed, found by an index."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf

from style_match.errors import UserError
from style_match.matcher.vectors import Vectors
from style_match.recommendation.allowed import Allowed
from style_match.recommendation.query import Asked
from style_match.targets import conf_dir

if TYPE_CHECKING:
    from style_match.index import Index

Answers = list[tuple[str, float]]


def exact_index(profiles: Vectors) -> "Index":
    """An exact index of the profiles, in memory; built once, then kept on the object as a cached property is."""
    index: Index | None = vars(profiles).get("exact_index")
    if index is None:
        index = instantiate(OmegaConf.load(conf_dir() / "index" / "exact.yaml"))
        index.build(profiles.profile_ids, profiles.embeddings, profiles.rows, profiles.matcher)
        vars(profiles)["exact_index"] = index
    return index


def refuse_too_many(asked: Asked, allowed: Allowed, k: int, where: str | None) -> None:
    """Refuse a k that nobody, or not enough, are left for.

    Raises:
        UserError: says how many are left, and after what.
    """
    if k < 1:
        raise UserError(f"k={k} must be at least 1.")
    could, left = int(allowed.side(asked).sum()), int(allowed.rows(asked).sum())
    if left < k:
        after = f"where leaves {left} of {could}" if where is not None else f"there are {left}"
        remedy = (
            f"write k={left} at most" + (", or widen where" if where is not None else "") if left else "widen where"
        )
        if could == 0:
            remedy = "the folder holds nobody else whom it could be recommended to or from"
        raise UserError(f"query={asked.name}, k={k}: {after} profiles to recommend; {remedy}.")


def best(
    askers: Sequence[Asked], profiles: Vectors, allowed: Allowed, *, k: int, index: "Index | None"
) -> list[Answers]:
    """For each who asks the k nearest who are allowed, best first, equal scores in the order of ids; fewer where there
    are fewer.

    Raises:
        UserError: the index is of another matcher than the profiles.
    """
    if index is not None and index.matcher != profiles.matcher:
        raise UserError(
            f"The index was built from the profiles of another matcher ({index.matcher[:8]}), not of the one that made "
            f"these profiles ({profiles.matcher[:8]}): build it from these."
        )
    used = index if index is not None else exact_index(profiles)
    found: list[Answers] = [[] for _ in askers]
    for side in sorted({asked.side for asked in askers}):
        chosen = [number for number, asked in enumerate(askers) if asked.side == side]
        if profiles.side_names is not None and side < 0:
            continue  # nobody's counterpart
        answers = used.search(
            np.stack([askers[number].embedding for number in chosen]),
            k,
            where=allowed.for_index(side),
            exclude=[allowed.themselves(askers[number]) for number in chosen],
        )
        for number, answer in zip(chosen, answers, strict=True):
            found[number] = answer
    return found
