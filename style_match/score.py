"""Scoring: the test split's ranks and metrics of the frozen backbone and of a trained head, through the same code."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from style_match.datamodule import MatchData
from style_match.evaluation.evaluator import Evaluator, Result
from style_match.head.identity import Identity
from style_match.inputs import Inputs
from style_match.module import Matcher


@dataclass(frozen=True)
class Embedded:
    """Embeddings (N, E) of the profiles of one split, each once, in the order of `profile_ids`."""

    profile_ids: tuple[str, ...]
    embeddings: Tensor

    def rows(self, profile_ids: Iterable[str]) -> Tensor:
        """The embeddings of these profiles, one row each, in their order."""
        position = {profile_id: row for row, profile_id in enumerate(self.profile_ids)}
        return self.embeddings[[position[profile_id] for profile_id in profile_ids]]


class Scorer:
    """Scores heads on the splits of one dataset.

    Raises:
        UserError: a k asked for is above the test gallery; a test split too small.
    """

    def __init__(self, cfg: DictConfig, inputs: Inputs, data: MatchData):
        self.folder, self.split, self.data = inputs.folder, inputs.split, data
        self.evaluator: Evaluator = instantiate(cfg.evaluation)
        columns = self.folder.columns
        self.people = {profile: user for profile in columns if (user := columns[profile].get("user_id"))}
        test = data.gallery("test")
        num_right = len(test.right_ids)
        self.evaluator.check_ks(min(test.num_left, num_right) if test.num_left else num_right - 1)

    def couples(self, name: str) -> list[tuple[str, str]]:
        """(left id, right id) of the couples of a split, in the order of the couples file."""
        names = self.split.name_of
        return [
            (couple.left_id, couple.right_id)
            for couple in self.folder.couples
            if names.get(f"{couple.left_id}\t{couple.right_id}") == name
        ]

    def embed(self, matcher: Matcher, name: str) -> Embedded:
        """Embeddings of a split by the head of `matcher`."""
        gallery = self.data.gallery(name)
        matcher.eval()
        return Embedded(gallery.profile_ids, matcher.embed_profiles(self.data.gallery_batch(gallery)).cpu())

    def result(self, embedded: Embedded, name: str) -> Result:
        """Ranks and metrics of a split."""
        if self.folder.task == "couple":
            known = [(couple.left_id, couple.right_id) for couple in self.folder.couples]
            return self.evaluator.couples(
                embedded.embeddings, embedded.profile_ids, self.couples(name), known=known, people=self.people, split=name
            )
        return self.evaluator.styles(
            embedded.embeddings, embedded.profile_ids, self.folder.labels, people=self.people, split=name
        )


@dataclass(frozen=True)
class Scores:
    """Test split: `frozen` and `trained` (None for head=identity) results and embeddings; `val` of the model reported."""

    frozen: Result
    trained: Result | None
    val: Result
    frozen_embedded: Embedded
    trained_embedded: Embedded | None

    @property
    def embedded(self) -> Embedded:
        return self.trained_embedded or self.frozen_embedded

    @property
    def results(self) -> dict[str, Result]:
        return {"frozen": self.frozen} | ({"trained": self.trained} if self.trained else {})


def score(scorer: Scorer, frozen: Matcher, trained: Matcher | None) -> Scores:
    """Read the test split, once, with the frozen backbone and with the selected head."""
    frozen_embedded = scorer.embed(frozen, "test")
    trained_embedded = scorer.embed(trained, "test") if trained else None
    val = scorer.result(scorer.embed(trained or frozen, "val"), "val")
    return Scores(
        frozen=scorer.result(frozen_embedded, "test"),
        trained=scorer.result(trained_embedded, "test") if trained_embedded else None,
        val=val,
        frozen_embedded=frozen_embedded,
        trained_embedded=trained_embedded,
    )


def frozen_matcher(trained: Matcher, in_dim: int) -> Matcher:
    """A module like `trained` whose embeddings are the features themselves, brought to unit length."""
    return Matcher(
        head=Identity(in_dim=in_dim),
        loss=trained.loss,
        optimizer=trained.make_optimizer,
        scheduler=trained.make_scheduler,
        ks=trained.ks,
        block=trained.block,
        encode_fn=trained.encode_fn,
    )


def write_embeddings(path: Path, scorer: Scorer, embedded: Embedded) -> None:
    """Write embeddings.safetensors: `left` and `right` (C, E), row i of both one couple of the test split, with
    `left_ids` and `right_ids` in the header; for styles `embeddings` (N, E) with `ids` and `labels`.
    """
    from safetensors.torch import save_file

    if scorer.folder.task == "couple":
        left_ids, right_ids = zip(*scorer.couples("test"), strict=True)
        tensors = {"left": embedded.rows(left_ids), "right": embedded.rows(right_ids)}
        header = {"left_ids": left_ids, "right_ids": right_ids}
    else:
        tensors = {"embeddings": embedded.embeddings}
        labels = [scorer.folder.labels[profile_id] for profile_id in embedded.profile_ids]
        header = {"ids": embedded.profile_ids, "labels": labels}
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        beside,
        metadata={name: json.dumps(list(ids), ensure_ascii=False) for name, ids in header.items()},
    )
    os.replace(beside, path)
