"""Text search among the profiles of a dataset folder."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from style_match.backbone.feature_key import owner_of
from style_match.backbone.inputs import TextInputs
from style_match.data.captions import UnreadableCaptions, captions
from style_match.serving.index.base import Answers
from style_match.serving.matcher import MatcherInputs, StyleMatcher
from style_match.serving.profiles import ProfileEmbeddings
from style_match.serving.recommend import Candidates, Query, nearest
from style_match.utils.errors import UserError

PATHS = {  # path -> what is searched, for messages
    "image": "the photos only",
    "caption": "the captions in metadata.jsonl",
    "both": "photos and captions",
}


class TextSearch:
    """Finds the profiles that fit a text.

    A text is compared with the photos (path=image), with their captions (caption), or with both, by the mean of both
    cosines. Without a path, that of the export is used.

    Attributes:
        path: The path.
        profiles: The profiles with the embeddings (N, E), or (N, 2E) for `both`, that texts are compared with.

    Raises:
        UserError: The matcher has no text path, or photos have no captions and the path needs them.
    """

    def __init__(
        self, matcher: StyleMatcher, inputs: MatcherInputs, profiles: ProfileEmbeddings, path: str | None = None
    ):
        _ = matcher.text_options
        self.matcher, self.path = matcher, path or matcher.folder.about["text"]["path"]
        if self.path == "image":
            self.profiles = profiles
            return
        rows = caption_embeddings(matcher, inputs, profiles.profile_ids, self.path)
        if self.path == "both":
            rows = np.concatenate([profiles.embeddings, rows], axis=1) / 2**0.5
        self.profiles = replace(profiles, embeddings=rows)

    def find(self, text: str, *, k: int, where: str | None = None) -> Answers:
        """Return the k profiles that fit a text best, best first, with the score.

        Raises:
            UserError: The text or filter is wrong, or k is above the number of profiles that satisfy it.
        """
        candidates = Candidates(self.profiles, where)
        candidates.refuse_too_many(Query(text, np.empty(0)), k)
        embedding = self.matcher.encode_text(text)[0]
        if self.path == "both":
            embedding = np.concatenate([embedding, embedding]) / 2**0.5
        return nearest([Query(text, embedding)], candidates, k=k)[0]


def caption_embeddings(
    matcher: StyleMatcher, inputs: MatcherInputs, profile_ids: Sequence[str], path: str
) -> np.ndarray:
    """Embed the captions of photos through the feature store; a profile is the mean over its photos.

    Returns:
        (N, E) float32 of unit length.

    Raises:
        UserError: Photos have no captions; the message names `path`.
    """
    options, dataset = matcher.text_options, inputs.folder
    try:
        found = captions([photo.image for photo in dataset.photos], dataset.metadata, keys=options.attributes)
    except UnreadableCaptions as error:
        raise UserError(
            f"path={path} searches captions too. Set path=image to search the photos only, or add captions to "
            f"metadata.jsonl (style_match.label writes them). No {' or '.join(options.attributes)} can be read for "
            f"{error.photos}"
        ) from error
    owners = [owner_of(photo.profile_id) for photo in dataset.photos]
    features = TextInputs(inputs, options).of([texts[0] for texts in found], owners, "captions")
    row_of = {profile_id: row for row, profile_id in enumerate(profile_ids)}
    sums = np.zeros((len(profile_ids), matcher.dim), dtype=np.float32)
    np.add.at(sums, [row_of[photo.profile_id] for photo in dataset.photos], matcher.embed_text_features(features))
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)
