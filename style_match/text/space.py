"""Photos and texts of a split in one space, and the ways of searching it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional

from style_match.data.people import people_of
from style_match.features.identity import owner_of
from style_match.head.apply import embed
from style_match.inputs import Inputs
from style_match.module import Matcher
from style_match.score import Scorer
from style_match.text.captions import drawn_parts
from style_match.text.inputs import TextInputs
from style_match.text.measure import KINDS, Queries, mrr, queries, section

TRAINED = {"image": "trained", "caption": "trained captions", "both": "trained both"}  # in metrics.json


class TextSpace:
    """The photos of a split, their captions and a text head.

    Args:
        head: of photos, in eval mode.
        text_head: features (B, D) of texts to embeddings (B, E), in eval mode.
    """

    def __init__(self, cfg: DictConfig, inputs: Inputs, scorer: Scorer, head: nn.Module, text_head: nn.Module | None):
        self.cfg, self.inputs, self.scorer = cfg, inputs, scorer
        self.head, self.text_head = head, text_head

    @classmethod
    def of(cls, cfg: DictConfig, inputs: Inputs, scorer: Scorer, matcher: Matcher) -> "TextSpace":
        """That of a run which was trained on texts."""
        assert matcher.text is not None
        own = matcher.text.head or matcher.head
        return cls(cfg, inputs, scorer, matcher.head.eval().cpu(), own.eval().cpu())

    def photos(self, split: str) -> list[int]:
        """Positions in `folder.photos` of the photos of a split."""
        return self.scorer.data.gallery(split).photos.tolist()

    def embedded(self, split: str) -> Tensor:
        """(P, E) embeddings of the split's photos, one a photo."""
        gallery = self.scorer.data.gallery(split)
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
