"""Training on texts: their features, the text term, text search in a split, and a text head fitted afterwards."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional

from style_match.backbone.feature_key import owner_of
from style_match.backbone.inputs import Inputs, TextInputs
from style_match.cli.schema import TELL_SIDES, targets_of
from style_match.data.captions import drawn_parts
from style_match.data.datamodule import MatchDataModule, TrainSet
from style_match.data.people import people_of
from style_match.data.texts import Texts
from style_match.evaluation.text_search import KINDS, Queries, mrr, queries, section
from style_match.models.embed import embed
from style_match.models.head.linear_models import TextMap
from style_match.models.module import MatchModule
from style_match.models.text_term import TextTerm, width
from style_match.utils.errors import UserError

OPTIONS = ("text_weight", "text_temperature")  # of `loss`, for the text term and not for the loss's constructor
TRAINED = {"image": "trained", "caption": "trained captions", "both": "trained both"}  # names in metrics.json


def is_on(cfg: DictConfig) -> bool:
    """Return whether a run trains on texts; runs of earlier versions have no such option."""
    return bool(OmegaConf.select(cfg, "loss.text_weight"))


def loss_options(cfg: DictConfig) -> Any:
    """Return the `loss` node without the options of the text term."""
    return OmegaConf.masked_copy(cfg.loss, [key for key in cfg.loss if key not in OPTIONS])


def training_texts(cfg: DictConfig, inputs: Inputs, photos: Sequence[int]) -> Texts:
    """Return the texts of these photos (positions in `folder.photos`) with their features."""
    all_photos = inputs.folder.photos
    captions = [inputs.captions[photo] for photo in photos]
    parts = [[part for text in texts for part in drawn_parts(text, cfg.text.parts)] for texts in captions]
    number: dict[str, int] = {}
    owners: list[str] = []
    for photo, *groups in zip(photos, captions, parts, strict=True):
        for text in (text for group in groups for text in group):
            if number.setdefault(text, len(number)) == len(owners):
                owners.append(owner_of(all_photos[photo].profile_id))
    features = TextInputs(inputs, cfg.text).of(list(number), owners, "texts")
    return Texts(
        features,
        whole=_table(photos, captions, number, len(all_photos)),
        parts=_table(photos, parts, number, len(all_photos)),
        part_share=cfg.text.part_share,
    )


def _table(
    photos: Sequence[int], texts_of: Sequence[Sequence[str]], number: Mapping[str, int], num_photos: int
) -> Tensor:
    """Return (P, K) long: the numbers of each photo's texts, repeated up to K; 0 for other photos."""
    most = max(map(len, texts_of), default=0)
    table = torch.zeros(num_photos, most, dtype=torch.long)
    for photo, texts in zip(photos, texts_of, strict=True):
        table[photo] = torch.tensor([number[texts[place % len(texts)]] for place in range(most)], dtype=torch.long)
    return table


def text_term(cfg: DictConfig, inputs: Inputs, head: nn.Module, texts: Texts | None) -> TextTerm | None:
    """Return the text term of a run with new weights, which depend only on `seed`; None without texts.

    Args:
        cfg: Config of the run.
        inputs: Data of the run.
        head: The head of photos.
        texts: Texts whose mean and deviation a text head uses to standardise features; None if its weights come from
            a checkpoint.

    Raises:
        UserError: The head is not trained by gradient steps, or a shared one does not fit the texts.
    """
    if not is_on(cfg):
        return None
    if not any(parameter.requires_grad for parameter in head.parameters()):
        raise UserError(
            f"loss.text_weight={cfg.loss.text_weight} needs a head that is trained by gradient steps. Use head=mlp, or "
            "set loss.text_weight=0; style_match.export then fits a text head."
        )
    dim = TextInputs(inputs, cfg.text).dim
    own = None
    if cfg.text.head == "own":
        lightning.seed_everything(cfg.seed, verbose=False)
        own = instantiate(cfg.text.own)(in_dim=dim, dim=width(head))
        if texts is not None and hasattr(own, "fit_closed") and not own.is_fitted():
            own.fit_closed(TrainSet(photos=texts.features))
    elif TELL_SIDES & targets_of(cfg.head):
        raise UserError(
            "text.head=shared: this head treats left and right differently, and texts have no side. Set own."
        )
    elif dim != inputs.dim:
        raise UserError(
            f"text.head=shared: features of photos (pooling={cfg.pooling.name}) have {inputs.dim} dimensions, those of "
            f"texts (text.pooling=[{','.join(cfg.text.pooling)}]) have {dim}. Use the same number of poolings, or "
            "text.head=own."
        )
    return TextTerm(weight=cfg.loss.text_weight, temperature=cfg.loss.text_temperature, head=own)


class TextSpace:
    """Photos and texts of a split in one space, and the ways of searching it.

    Args:
        cfg: Config of the run.
        inputs: Data of the run.
        data: Its splits.
        head: The head of photos, in eval mode.
        text_head: Features (B, D) of texts to embeddings (B, E), in eval mode; None where only photos are needed.
    """

    def __init__(
        self, cfg: DictConfig, inputs: Inputs, data: MatchDataModule, head: nn.Module, text_head: nn.Module | None
    ):
        self.cfg, self.inputs, self.data = cfg, inputs, data
        self.head, self.text_head = head, text_head

    @classmethod
    def of(cls, cfg: DictConfig, inputs: Inputs, data: MatchDataModule, matcher: MatchModule) -> "TextSpace":
        """Return the space of a run that was trained on texts."""
        assert matcher.text is not None
        text_head = matcher.text.head or matcher.head
        return cls(cfg, inputs, data, matcher.head.eval().cpu(), text_head.eval().cpu())

    def photos(self, split: str) -> list[int]:
        """Return the positions in `folder.photos` of the photos of a split."""
        return self.data.gallery(split).photos.tolist()

    def embedded(self, split: str) -> Tensor:
        """Return (P, E) embeddings of the split's photos."""
        gallery = self.data.gallery(split)
        side = (gallery.photo_profile >= gallery.num_left).long() if gallery.num_left else None
        features = self.inputs.features[gallery.photos]
        return embed(self.head, features, torch.arange(len(features)), side)

    def captions(self, split: str) -> list[tuple[str, ...]]:
        """Return the captions of the split's photos."""
        return [self.inputs.captions[photo] for photo in self.photos(split)]

    def queries(self, split: str, kind: str) -> Queries:
        """Return the text queries of a split; `kind` is one of `KINDS`."""
        people, photos = people_of(self.inputs.folder), self.inputs.folder.photos
        return queries(self.captions(split), [people[photos[photo].profile_id] for photo in self.photos(split)], kind)

    def features(self, split: str, pooling: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return text -> feature (D,) of all queries and captions of a split."""
        profile_of: dict[str, str] = {}  # text -> the profile of one of its photos
        for photo, captions in zip(self.photos(split), self.captions(split), strict=True):
            texts = (captions[0], *drawn_parts(captions[0], 1))
            profile_of |= dict.fromkeys(texts, self.inputs.folder.photos[photo].profile_id)
        owners = [owner_of(profile_id) for profile_id in profile_of.values()]
        text_inputs = TextInputs(self.inputs, self.cfg.text, pooling=pooling)
        features = text_inputs.of(list(profile_of), owners, f"texts, {split} split")
        return dict(zip(profile_of, features, strict=True))

    @torch.no_grad()
    def texts(self, features: Tensor) -> Tensor:
        """Return (N, E) embeddings of texts from their features (N, D)."""
        assert self.text_head is not None
        return self.text_head(features).float()

    def similarities(self, split: str, queries: Queries, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return (Q, G) by each path: `image`, `caption` (the photo's first one) and `both`, their mean."""
        texts, captions = (self.texts(rows) for rows in self._rows(split, queries, features))
        image, caption = texts @ self.embedded(split).T, texts @ captions.T
        return {"image": image, "caption": caption, "both": (image + caption) / 2}

    def untrained(self, split: str, queries: Queries, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return (Q, G) by the cosine of frozen features: of the photos, and of their captions."""
        texts, captions = (functional.normalize(rows, dim=1) for rows in self._rows(split, queries, features))
        photos = functional.normalize(self.inputs.features[self.photos(split)], dim=1)
        return {"untrained": texts @ photos.T, "captions": texts @ captions.T}

    def _rows(self, split: str, queries: Queries, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the features of the queries (Q, D) and of the photos' first captions (G, D)."""
        captions = [each[0] for each in self.captions(split)]
        of_queries, of_captions = (torch.stack([features[text] for text in each]) for each in (queries.texts, captions))
        return of_queries, of_captions

    def _frozen_poolings(self) -> list[str]:
        """Return the photos' poolings; the mean instead of one that does not exist for texts."""
        for_texts = TextInputs(self.inputs, self.cfg.text).poolings
        return [name if name in for_texts else "mean" for name in self.inputs.pooling]

    def measured(self, split: str) -> dict[str, Any]:
        """Return the section `text` of metrics.json: kind of query -> chance and each way of searching."""
        sections = {}
        frozen, trained = self.features(split, self._frozen_poolings()), self.features(split)
        for kind in KINDS:
            queries = self.queries(split, kind)
            by_path = self.similarities(split, queries, trained)
            ways = self.untrained(split, queries, frozen) | {TRAINED[path]: each for path, each in by_path.items()}
            if kind == "caption":  # a caption finds itself among captions
                ways = {name: ways[name] for name in ("untrained", "trained")}
            sections[kind] = section(queries, ways, ks=self.cfg.text.ks, evaluation=self.cfg.evaluation)
        return sections

    def measured_paths(self, split: str) -> dict[str, float]:
        """Return the MRR of the short queries of a split by each path."""
        queries = self.queries(split, "part")
        by_path = self.similarities(split, queries, self.features(split))
        return {path: mrr(each, queries.relevant) for path, each in by_path.items()}


def fitted(space: TextSpace) -> TextMap:
    """Return a text head fitted to the training photos' embeddings, their captions and parts of these.

    Args:
        space: Its text head is not used, and may be None.

    Raises:
        UserError: Photos have no captions, or equal embeddings.
    """
    photos = space.photos("train")
    texts = training_texts(space.cfg, space.inputs, photos)
    numbers = torch.cat([texts.whole, texts.parts], dim=1)[photos]
    embeddings = space.embedded("train").repeat_interleave(numbers.shape[1], dim=0)
    head: TextMap = instantiate(space.cfg.text.fitted)(in_dim=texts.features.shape[1], dim=width(space.head))
    head.fit(embeddings, texts.features[numbers.flatten()])
    return head.eval()
