"""The text head of a run that was trained on photos alone: fitted to its head, which stays as it is."""

import torch
from hydra.utils import instantiate

from style_match.head.text_map import TextMap
from style_match.text.space import TextSpace
from style_match.text.term import width
from style_match.text.training import training_texts


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
