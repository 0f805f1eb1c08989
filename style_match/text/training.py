"""What a run with loss.text_weight above 0 needs: its texts' features and the term."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from style_match.errors import UserError
from style_match.features.identity import owner_of
from style_match.for_couples import TELL_SIDES, targets_of
from style_match.gallery import TrainSet
from style_match.inputs import Inputs
from style_match.text.batch import Texts
from style_match.text.captions import drawn_parts
from style_match.text.inputs import TextInputs
from style_match.text.term import TextTerm, width

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
