"""Scoring: the test split's ranks and metrics of the frozen backbone and of a trained head, through the same code."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from style_match.backbone.inputs import Inputs
from style_match.data.datamodule import MatchData
from style_match.data.people import people_of
from style_match.evaluation.evaluator import Evaluator, Result
from style_match.evaluation.ranks import check_k
from style_match.models.head.identity import Identity
from style_match.models.module import embed_profiles
from style_match.utils.files import write_whole


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

    def __init__(self, cfg: DictConfig, inputs: Inputs):
        self.inputs, self.folder, self.split = inputs, inputs.folder, inputs.split
        self.data = MatchData.from_folder(
            inputs.folder, inputs.split, features=None, rows=(), sampler=None, seed=0, max_loss_items=None
        )
        self.evaluator: Evaluator = instantiate(cfg.evaluation)
        self.people = people_of(self.folder)
        test = self.data.gallery("test")
        num_right = len(test.right_ids)
        self.evaluator.check_ks(min(test.num_left, num_right) if test.num_left else num_right - 1)
        if self.evaluator.csls_k is not None:
            train = self.data.gallery("train")
            check_k(self.evaluator.csls_k, min(train.num_left, len(train.right_ids)))

    def couples(self, name: str) -> list[tuple[str, str]]:
        """(left id, right id) of the couples of a split, in the order of the couples file."""
        names = self.split.name_of
        return [
            (couple.left_id, couple.right_id)
            for couple in self.folder.couples
            if names.get(f"{couple.left_id}\t{couple.right_id}") == name
        ]

    def embed(self, head: nn.Module, name: str) -> Embedded:
        """Embeddings of a split, from the stored features."""
        gallery = self.data.gallery(name)
        head = head.eval().cpu()
        return Embedded(
            gallery.profile_ids,
            embed_profiles(head, self.inputs.features[gallery.photos], gallery.photo_profile, gallery.num_left),
        )

    def bank(self, head: nn.Module) -> tuple[Tensor, Tensor] | None:
        """Left and right embeddings of the training split, where evaluation.csls_k asks for them."""
        if self.evaluator.csls_k is None:
            return None
        embeddings, num_left = self.embed(head, "train").embeddings, self.data.gallery("train").num_left
        return embeddings[:num_left], embeddings[num_left:]

    def result(self, embedded: Embedded, name: str, bank: tuple[Tensor, Tensor] | None = None) -> Result:
        """Ranks and metrics of a split; `bank` is of the same head."""
        if self.folder.task == "couple":
            known = [(couple.left_id, couple.right_id) for couple in self.folder.couples]
            return self.evaluator.couples(
                embedded.embeddings,
                embedded.profile_ids,
                self.couples(name),
                known=known,
                people=self.people,
                split=name,
                bank=bank,
            )
        return self.evaluator.styles(
            embedded.embeddings, embedded.profile_ids, self.folder.labels, people=self.people, split=name
        )


@dataclass(frozen=True)
class Scores:
    """Results and embeddings of the test split, `trained` None for head=identity; `val` is of the model reported."""

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


def score(scorer: Scorer, trained: nn.Module | None) -> Scores:
    """Read the test split, once, with the frozen backbone and with the selected head."""
    frozen = Identity(in_dim=scorer.inputs.features.shape[1])
    frozen_embedded = scorer.embed(frozen, "test")
    trained_embedded = scorer.embed(trained, "test") if trained else None
    frozen_bank = scorer.bank(frozen)
    bank = scorer.bank(trained) if trained else frozen_bank
    return Scores(
        frozen=scorer.result(frozen_embedded, "test", frozen_bank),
        trained=scorer.result(trained_embedded, "test", bank) if trained_embedded else None,
        val=scorer.result(scorer.embed(trained or frozen, "val"), "val", bank),
        frozen_embedded=frozen_embedded,
        trained_embedded=trained_embedded,
    )


def write_embeddings(path: Path, scorer: Scorer, embedded: Embedded) -> None:
    """Write embeddings.safetensors: `left` and `right` (C, E), row i of both one couple of the test split, with
    `left_ids` and `right_ids` in the header; for styles `embeddings` (N, E) with `ids` and `labels`.
    """
    from safetensors.torch import save

    if scorer.folder.task == "couple":
        left_ids, right_ids = zip(*scorer.couples("test"), strict=True)
        tensors = {"left": embedded.rows(left_ids), "right": embedded.rows(right_ids)}
        header = {"left_ids": list(left_ids), "right_ids": list(right_ids)}
    else:
        tensors = {"embeddings": embedded.embeddings}
        labels = [scorer.folder.labels[profile_id] for profile_id in embedded.profile_ids]
        header = {"ids": list(embedded.profile_ids), "labels": labels}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    about = {name: json.dumps(ids, ensure_ascii=False) for name, ids in header.items()}
    write_whole(path, in_order(save(contiguous, metadata=about)))


def in_order(content: bytes) -> bytes:
    """A safetensors file with the metadata of its header by name, which safetensors writes in a random order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
