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

# What a run with loss.text_weight above 0 needs: its texts' features and the term.


OPTIONS = ("text_weight", "text_temperature")  # of `loss`, that no loss's constructor takes


def is_on(cfg: DictConfig) -> bool:
    """Whether a run trains on texts; one of an older version has no such option."""
    return bool(OmegaConf.select(cfg, "loss.text_weight"))


def loss_options(cfg: DictConfig) -> Any:
    """The `loss` node without what all losses share."""
    return OmegaConf.masked_copy(cfg.loss, [key for key in cfg.loss if key not in OPTIONS])


def training_texts(cfg: DictConfig, inputs: Inputs, photos: Sequence[int]) -> Texts:
    """The texts of these photos (positions in `folder.photos`), embedded; other photos have none."""
    said, everyone = inputs.captions, inputs.folder.photos
    whole = [said[photo] for photo in photos]
    parts = [[part for text in texts for part in drawn_parts(text, cfg.text.parts)] for texts in whole]
    number: dict[str, int] = {}
    owners: list[str] = []
    for photo, *groups in zip(photos, whole, parts, strict=True):
        for text in (text for group in groups for text in group):
            if number.setdefault(text, len(number)) == len(owners):
                owners.append(owner_of(everyone[photo].profile_id))
    features = TextInputs(inputs, cfg.text).of(list(number), owners, "texts")
    return Texts(
        features,
        whole=_table(photos, whole, number, len(everyone)),
        parts=_table(photos, parts, number, len(everyone)),
        part_share=cfg.text.part_share,
    )


def _table(
    photos: Sequence[int], texts_of: Sequence[Sequence[str]], number: Mapping[str, int], num_photos: int
) -> Tensor:
    """(P, K) long: the numbers of each photo's texts, repeated where there are fewer than K; 0 for other photos."""
    most = max(map(len, texts_of), default=0)
    table = torch.zeros(num_photos, most, dtype=torch.long)
    for photo, texts in zip(photos, texts_of, strict=True):
        table[photo] = torch.tensor([number[texts[place % len(texts)]] for place in range(most)], dtype=torch.long)
    return table


def text_term(cfg: DictConfig, inputs: Inputs, head: nn.Module, texts: Texts | None) -> TextTerm | None:
    """The term of a run with fresh weights, which depend on `seed` alone; None where the run has none.

    Args:
        texts: what a text head that standardises its features takes mean and deviation from; None where its weights
            come from a checkpoint.

    Raises:
        UserError: a head without gradient steps, or a shared one that does not fit the texts.
    """
    if not is_on(cfg):
        return None
    if not any(parameter.requires_grad for parameter in head.parameters()):
        raise UserError(
            f"loss.text_weight={cfg.loss.text_weight} trains a head by gradient steps, and this one is computed at "
            "once: write loss.text_weight=0 (style_match.export fits a text head to it), or head=mlp."
        )
    dim = TextInputs(inputs, cfg.text).dim
    own = None
    if cfg.text.head == "own":
        lightning.seed_everything(cfg.seed, verbose=False)
        own = instantiate(cfg.text.own)(in_dim=dim, dim=width(head))
        if texts is not None and hasattr(own, "fit_closed") and not own.is_fitted():
            own.fit_closed(TrainSet(photos=texts.features))
    elif TELL_SIDES & targets_of(cfg.head):
        raise UserError("text.head=shared: this head tells the sides of couples apart, and a text has none: write own.")
    elif dim != inputs.dim:
        raise UserError(
            f"text.head=shared: features of photos (pooling={cfg.pooling.name}) are {inputs.dim} wide, those of texts "
            f"(text.pooling=[{','.join(cfg.text.pooling)}]) {dim}: write as many of one as of the other, or "
            "text.head=own."
        )
    return TextTerm(weight=cfg.loss.text_weight, temperature=cfg.loss.text_temperature, head=own)


# Photos and texts of a split in one space, and the ways of searching it.


TRAINED = {"image": "trained", "caption": "trained captions", "both": "trained both"}  # in metrics.json


class TextSpace:
    """The photos of a split, their captions and a text head.

    Args:
        head: of photos, in eval mode.
        text_head: features (B, D) of texts to embeddings (B, E), in eval mode.
    """

    def __init__(
        self, cfg: DictConfig, inputs: Inputs, data: MatchDataModule, head: nn.Module, text_head: nn.Module | None
    ):
        self.cfg, self.inputs, self.data = cfg, inputs, data
        self.head, self.text_head = head, text_head

    @classmethod
    def of(cls, cfg: DictConfig, inputs: Inputs, data: MatchDataModule, matcher: MatchModule) -> "TextSpace":
        """That of a run which was trained on texts."""
        assert matcher.text is not None
        own = matcher.text.head or matcher.head
        return cls(cfg, inputs, data, matcher.head.eval().cpu(), own.eval().cpu())

    def photos(self, split: str) -> list[int]:
        """Positions in `folder.photos` of the photos of a split."""
        return self.data.gallery(split).photos.tolist()

    def embedded(self, split: str) -> Tensor:
        """(P, E) embeddings of the split's photos, one a photo."""
        gallery = self.data.gallery(split)
        side = (gallery.photo_profile >= gallery.num_left).long() if gallery.num_left else None
        features = self.inputs.features[gallery.photos]
        return embed(self.head, features, torch.arange(len(features)), side)

    def captions(self, split: str) -> list[tuple[str, ...]]:
        return [self.inputs.captions[photo] for photo in self.photos(split)]

    def asked(self, split: str, kind: str) -> Queries:
        """The queries of a split."""
        people, everyone = people_of(self.inputs.folder), self.inputs.folder.photos
        return queries(self.captions(split), [people[everyone[photo].profile_id] for photo in self.photos(split)], kind)

    def features(self, split: str, pooling: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Text -> (D,) feature, of all texts that are asked and searched in a split."""
        pairs: dict[str, str] = {}  # text -> the profile of a photo that it is of
        for photo, said in zip(self.photos(split), self.captions(split), strict=True):
            pairs |= dict.fromkeys((said[0], *drawn_parts(said[0], 1)), self.inputs.folder.photos[photo].profile_id)
        owners = [owner_of(profile_id) for profile_id in pairs.values()]
        found = TextInputs(self.inputs, self.cfg.text, pooling=pooling).of(list(pairs), owners, f"texts, {split} split")
        return dict(zip(pairs, found, strict=True))

    @torch.no_grad()
    def texts(self, features: Tensor) -> Tensor:
        """(N, E) embeddings of texts."""
        assert self.text_head is not None
        return self.text_head(features).float()

    def similarities(self, split: str, asked: Queries, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(Q, G) by each path: `image`, `caption` (of the photo's first caption) and `both`, their mean."""
        said, own = (self.texts(rows) for rows in self._rows(split, asked, features))
        image, caption = said @ self.embedded(split).T, said @ own.T
        return {"image": image, "caption": caption, "both": (image + caption) / 2}

    def untrained(self, split: str, asked: Queries, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(Q, G) by the cosine of frozen features: of the photos, and of their captions."""
        said, own = (functional.normalize(rows, dim=1) for rows in self._rows(split, asked, features))
        photos = functional.normalize(self.inputs.features[self.photos(split)], dim=1)
        return {"untrained": said @ photos.T, "captions": said @ own.T}

    def _rows(self, split: str, asked: Queries, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The features of the queries and of the captions."""
        texts = (asked.texts, [said[0] for said in self.captions(split)])
        said, own = (torch.stack([features[text] for text in each]) for each in texts)
        return said, own

    def _frozen_poolings(self) -> list[str]:
        """For texts, poolings as for the photos, or the mean where a photo's is of its image or of one's own."""
        known = TextInputs(self.inputs, self.cfg.text).poolings
        return [name if name in known else "mean" for name in self.inputs.pooling]

    def measured(self, split: str) -> dict[str, Any]:
        """The section `text` of metrics.json: for either kind of query chance, and each way of searching."""
        found = {}
        frozen, trained = self.features(split, self._frozen_poolings()), self.features(split)
        for kind in KINDS:
            asked = self.asked(split, kind)
            by_path = self.similarities(split, asked, trained)
            ways = self.untrained(split, asked, frozen) | {TRAINED[path]: each for path, each in by_path.items()}
            if kind == "caption":  # a caption among captions finds itself
                ways = {name: ways[name] for name in ("untrained", "trained")}
            found[kind] = section(asked, ways, ks=self.cfg.text.ks, evaluation=self.cfg.evaluation)
        return found

    def measured_paths(self, split: str) -> dict[str, float]:
        """The MRR of the short queries of a split by each path."""
        asked = self.asked(split, "part")
        by_path = self.similarities(split, asked, self.features(split))
        return {path: mrr(each, asked.relevant) for path, each in by_path.items()}


def fitted(space: TextSpace) -> TextMap:
    """A text head from the training photos' embeddings and their captions with parts of them; `space` may have none.

    Raises:
        UserError: photos without captions, or whose embeddings do not differ.
    """
    photos = space.photos("train")
    texts = training_texts(space.cfg, space.inputs, photos)
    own = torch.cat([texts.whole, texts.parts], dim=1)[photos]
    embeddings = space.embedded("train").repeat_interleave(own.shape[1], dim=0)
    made: TextMap = instantiate(space.cfg.text.fitted)(in_dim=texts.features.shape[1], dim=width(space.head))
    made.fit(embeddings, texts.features[own.flatten()])
    return made.eval()
