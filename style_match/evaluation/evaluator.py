"""Evaluation: from embeddings of a split's profiles to ranks and metrics with intervals."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from style_match.evaluation.bootstrap import ClusterBootstrap, Interval
from style_match.evaluation.metrics import chance, choose_ks, scores
from style_match.evaluation.ranks import Ranks, couple_ranks, neighbourhood, style_ranks
from style_match.evaluation.sign_test import NUM_FLIPS, sign_flip
from style_match.utils.errors import UserError
from style_match.utils.graph import connected, not_strangers


@dataclass(frozen=True)
class Result:
    """Result of one model on one split.

    Attributes:
        ranks: Ranks of the queries.
        query_ids: (Q,) profile ids in the order of `ranks`.
        partner_ids: (Q,) profile ids of the true partners.
        answer_ids: (Q,) the first answers of each query, best first.
        clusters: (Q,) numbers of the connected people.
        scores: Metric to its score (Q,), of which `metrics` has the means.
        metrics: Section of metrics.json: each metric as {"value", "ci95": [low, high]}, then the counts "queries",
            "gallery" (of the smaller side), "dropped_ks" (default ks above the gallery) and, for styles, "skipped"
            (profiles that are the only one of their class).
        chance: The same of a gallery in random order.
    """

    ranks: Ranks
    query_ids: tuple[str, ...]
    partner_ids: tuple[str, ...]
    answer_ids: tuple[tuple[str, ...], ...]
    clusters: Tensor
    scores: dict[str, Tensor]
    metrics: dict[str, Any]
    chance: dict[str, Any]


class Evaluator:
    """Evaluates the frozen backbone, the trained head and validation in the same way.

    Args:
        ks: Of recall@k and precision@k; one above the gallery is an error. None for `default_ks`.
        default_ks: Those above the gallery are left out.
        confidence: Of the intervals.
        num_resamples: Of the bootstrap (`evaluation.bootstrap`).
        seed: Of the bootstrap.
        block: Number of queries that are compared with the gallery at a time; memory grows with block x gallery.
        num_answers: Number of first answers of each query that are kept.
        csls_k: Couples are ranked by CSLS over so many neighbours (`evaluation.ranks`); None for the cosine.

    Raises:
        UserError: Invalid values, all in one message.
    """

    def __init__(
        self,
        *,
        ks: Sequence[int] | None = None,
        default_ks: Sequence[int] = (5, 10, 20, 30, 50),
        confidence: float = 0.95,
        num_resamples: int = 2000,
        seed: int = 0,
        block: int = 256,
        num_answers: int = 10,
        csls_k: int | None = None,
    ) -> None:
        faults = []
        for name, values in {"ks": ks, "default_ks": default_ks}.items():
            values = list(values or [])
            if any(not isinstance(k, int) or k < 1 for k in values) or len(set(values)) < len(values):
                faults.append(f"evaluation.{name} must be distinct integers >= 1 (got {values}).")
        if not 0 < confidence < 1:
            faults.append(f"evaluation.confidence must be > 0 and < 1, such as 0.95 (got {confidence}).")
        if num_resamples < 100:
            faults.append(f"evaluation.num_resamples must be >= 100 (got {num_resamples}).")
        if block < 1:
            faults.append(f"block must be >= 1 (got {block}).")
        if num_answers < 0:
            faults.append(f"evaluation.num_answers must be >= 0 (got {num_answers}).")
        if csls_k is not None and csls_k < 1:
            faults.append(f"evaluation.csls_k must be >= 1, or null for the cosine (got {csls_k}).")
        if faults:
            raise UserError("\n".join(faults))
        self.csls_k = csls_k
        self._ks = None if ks is None else tuple(sorted(ks))
        self._default_ks = tuple(sorted(default_ks))
        self._confidence, self._num_resamples, self._seed = confidence, num_resamples, seed
        self._ci = f"ci{100 * confidence:g}"
        self.block, self._num_answers = block, num_answers

    def check_ks(self, gallery: int) -> None:
        """Refuse one of `ks` that is above the gallery, before a long run and not at its end.

        Raises:
            UserError: There is one.
        """
        choose_ks(self._ks, self._default_ks, gallery)

    def val_ks(self, gallery: int) -> tuple[int, ...]:
        """Return the ks of validation: `ks`, or the default ones, up to the gallery."""
        return choose_ks(None, self._ks or self._default_ks, gallery)[0]

    def couples(
        self,
        embeddings: Tensor,
        profile_ids: Sequence[str],
        couples: Iterable[tuple[str, str]],
        *,
        known: Iterable[tuple[str, str]] = (),
        people: Mapping[str, Hashable] | None = None,
        split: str = "test",
        bank: tuple[Tensor, Tensor] | None = None,
    ) -> Result:
        """Return the result of both directions of every couple of a split; its profiles are the galleries.

        Args:
            embeddings: (N, E) unit rows in the order of `profile_ids`.
            profile_ids: (N,); may contain more profiles than the couples.
            couples: (left id, right id).
            known: Couples of other splits. They are no queries, and are left out of each other's galleries.
            people: Profile id to person (`people_of`). Profiles of one person are one cluster; they and the partners
                of these profiles are left out of each other's galleries.
            split: Name of the split; one of `ks` above the gallery is an error on the test split.
            bank: Left and right embeddings (B, E) of the training split; needed with `csls_k`.

        Raises:
            UserError: The split has no couple.
            ValueError: A profile has no embedding.
        """
        row_of = _rows(embeddings, profile_ids)
        couples = list(couples)
        missing = sorted({profile for couple in couples for profile in couple} - row_of.keys())
        if missing:
            raise ValueError(f"no embedding for {len(missing)} profiles of the couples, first {missing[:3]}")
        if not couples:
            raise UserError(f"The {split} split has no couple to evaluate. Add couples, or change split.fractions.")
        left_ids, right_ids = (list(dict.fromkeys(side)) for side in zip(*couples, strict=True))
        left_row, right_row = ({profile: i for i, profile in enumerate(ids)} for ids in (left_ids, right_ids))
        true = not_strangers(
            [_person(left, people) for left in left_ids],
            [_person(right, people) for right in right_ids],
            [(_person(left, people), _person(right, people)) for left, right in (*couples, *known)],
        )
        chosen, dropped = self._choose(split, min(len(left_ids), len(right_ids)))
        left, right = (embeddings[[row_of[profile] for profile in ids]] for ids in (left_ids, right_ids))
        ranks = couple_ranks(
            left,
            right,
            torch.tensor([(left_row[left], right_row[right]) for left, right in couples]),
            block=self.block,
            known=torch.tensor(true),
            num_answers=self._num_answers,
            hubness=self._hubness(left, right, bank),
        )
        number = connected((_person(left, people), _person(right, people)) for left, right in couples)
        clusters = torch.tensor([number[_person(left, people)] for left, _ in couples]).repeat(2)
        lefts, rights = zip(*couples, strict=True)
        counts = {"gallery": min(len(left_ids), len(right_ids)), "dropped_ks": dropped}
        galleries = (right_ids, left_ids)
        return self._result(ranks, chosen, lefts + rights, rights + lefts, galleries, clusters, counts)

    def styles(
        self,
        embeddings: Tensor,
        profile_ids: Sequence[str],
        labels: Mapping[str, str],
        *,
        people: Mapping[str, Hashable] | None = None,
        split: str = "test",
    ) -> Result:
        """Return the result of searching, for every profile, those of its class among the other people of the split.

        Args:
            embeddings: (N, E) unit rows in the order of `profile_ids`.
            profile_ids: (N,).
            labels: Profile id to class.
            people: Profile id to person. Profiles of the same person are left out of the gallery.
            split: Name of the split.
        """
        _rows(embeddings, profile_ids)
        chosen, dropped = self._choose(split, len(profile_ids) - 1)
        classes = {label: i for i, label in enumerate(sorted({labels[profile] for profile in profile_ids}))}
        number = connected((_person(profile, people),) * 2 for profile in profile_ids)
        person = torch.tensor([number[_person(profile, people)] for profile in profile_ids])
        ranks = style_ranks(
            embeddings,
            torch.tensor([classes[labels[profile]] for profile in profile_ids]),
            ks=chosen,
            block=self.block,
            people=person,
            num_answers=self._num_answers,
        )
        queries, partners = (tuple(profile_ids[i] for i in column.tolist()) for column in (ranks.query, ranks.partner))
        counts = {"gallery": int(ranks.gallery.max()), "dropped_ks": dropped, "skipped": ranks.skipped}
        galleries = (profile_ids,) * 3
        return self._result(ranks, chosen, queries, partners, galleries, person[ranks.query], counts)

    def difference(self, one: Result, other: Result) -> dict[str, Any]:
        """Return `one` minus `other`, paired by query: metric to {"value", "ci95": [low, high]}, and "p" of the MRR.

        The p value is of `sign_flip` over connected people.

        Raises:
            ValueError: The two have different queries.
        """
        if (one.query_ids, list(one.scores)) != (other.query_ids, list(other.scores)):
            raise ValueError("only results on the same queries and ks can be paired")
        columns = torch.stack([one.scores[name] - other.scores[name] for name in one.scores], dim=1)
        gain = self._named(one.scores, self._intervals(one.clusters).differences(columns.numpy()))
        differences = columns[:, list(one.scores).index("mrr")].numpy()
        p = sign_flip(differences, one.clusters.numpy(), num_resamples=NUM_FLIPS, seed=self._seed)
        return {**gain, "mrr": {**gain["mrr"], "p": p}}

    def _hubness(self, left: Tensor, right: Tensor, bank: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
        """Return r of CSLS of the profiles of each side, over the other side of the training split."""
        if self.csls_k is None:
            return None
        if bank is None:
            raise ValueError("csls_k needs the embeddings of the training split")
        to_right = neighbourhood(left, bank[1], k=self.csls_k, block=self.block)
        return to_right, neighbourhood(right, bank[0], k=self.csls_k, block=self.block)

    def _choose(self, split: str, gallery: int) -> tuple[tuple[int, ...], list[int]]:
        if split == "test":
            return choose_ks(self._ks, self._default_ks, gallery)
        return choose_ks(None, self._ks or self._default_ks, gallery)

    def _intervals(self, clusters: Tensor) -> ClusterBootstrap:
        return ClusterBootstrap(
            clusters.numpy(), confidence=self._confidence, num_resamples=self._num_resamples, seed=self._seed
        )

    def _named(self, names: Iterable[str], intervals: Iterable[Interval]) -> dict[str, Any]:
        return {n: {"value": i.value, self._ci: [i.low, i.high]} for n, i in zip(names, intervals, strict=True)}

    def _result(
        self,
        ranks: Ranks,
        ks: tuple[int, ...],
        query_ids: tuple[str, ...],
        partner_ids: tuple[str, ...],
        galleries: Sequence[Sequence[str]],
        clusters: Tensor,
        counts: dict[str, Any],
    ) -> Result:
        """Return the result; `galleries` are the profile ids that `ranks.answers` index, for each direction."""
        columns = scores(ranks, ks)
        bootstrap = self._intervals(clusters)
        intervals = bootstrap.means(torch.stack(list(columns.values()), dim=1).numpy())
        median = bootstrap.median(ranks.rank.numpy(), largest=int(ranks.gallery.max()))
        counts = {"queries": len(query_ids), **counts}
        exact = {name: {"value": value, self._ci: [value, value]} for name, value in chance(ranks, ks).items()}
        named = self._named([*columns, "median_rank"], [*intervals, median])
        answer_ids = tuple(
            tuple(galleries[direction][i] for i in row if i >= 0)
            for direction, row in zip(ranks.direction.tolist(), ranks.answers.tolist(), strict=True)
        )
        return Result(ranks, query_ids, partner_ids, answer_ids, clusters, columns, named | counts, exact | counts)


def _rows(embeddings: Tensor, profile_ids: Sequence[str]) -> dict[str, int]:
    row_of = {profile: i for i, profile in enumerate(profile_ids)}
    if not len(embeddings) == len(profile_ids) == len(row_of):
        raise ValueError(
            f"{len(embeddings)} embeddings for {len(profile_ids)} profiles, {len(row_of)} of them distinct"
        )
    return row_of


def _person(profile_id: str, people: Mapping[str, Hashable] | None) -> tuple[str, Hashable]:
    """Return the person of a profile; a profile that `people` lacks is a person."""
    return ("person", people[profile_id]) if people and profile_id in people else ("profile", profile_id)
