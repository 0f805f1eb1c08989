"""`StyleMatcher`: photos and texts in, embeddings of unit length out, as in the run that was exported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from style_match.matcher.folder import MatcherFolder, read_matcher
from style_match.matcher.vectors import Vectors

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

    from style_match.backbone.qwen3_vl import Qwen3VL
    from style_match.features.identity import Checkpoint
    from style_match.index import Index
    from style_match.matcher.profiles import MatcherInputs

    Picture: TypeAlias = str | Path | Image


class StyleMatcher:
    """A trained matcher, loaded by `from_pretrained`. Nothing is computed on import, the backbone is loaded when used.

    Attributes:
        folder: the matcher folder: sides, task, provenance.
        checkpoint: the backbone's files.
    """

    def __init__(self, folder: MatcherFolder, checkpoint: Checkpoint, *, device: str):
        from style_match.matcher.head import load_head

        self.folder, self.checkpoint, self.device = folder, checkpoint, device
        self.head: nn.Module = load_head(folder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        backbone: str | Path | None = None,
        device: str = "auto",
        config_dirs: Iterable[str | Path] = (),
    ) -> StyleMatcher:
        """Load a matcher folder that `python -m style_match.export` wrote.

        Args:
            backbone: another place of the same backbone: a folder, a hub id, or None for where it was in training.
            device: of the backbone: auto, cpu, cuda, cuda:1, mps.
            config_dirs: folders of one's own YAMLs, for heads and poolings that this package does not have.

        Raises:
            UserError: the folder is damaged or of a newer format, or the backbone is not to be had or another.
        """
        from style_match.data.fingerprint import Fingerprints
        from style_match.files import cache_root
        from style_match.matcher.checkpoint import find_backbone

        found = read_matcher(folder, config_dirs)
        hashes = Fingerprints(cache_root() / "fingerprints.sqlite")
        place = None if backbone is None else str(backbone)
        return cls(found, find_backbone(found, place, hashes), device=device)

    @property
    def identity(self) -> str:
        """What tells this matcher from every other, hex."""
        return self.folder.identity

    @property
    def dim(self) -> int:
        """E, the width of an embedding."""
        return self.folder.about["head"]["dim"]

    def encode(
        self,
        images: Picture | Sequence[Picture] | None,
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        side: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> np.ndarray:
        """(N, E) float32 embeddings of photos, of unit length, one a photo.

        Args:
            images: files or PIL images, one or a list; None where the prompt has no image.
            metadata: the attributes of each, where the prompt has them.
            side: of which side of a couple each is, where the head tells sides: one name for all, or a list.
            batch_size: photos that go through the backbone at once; None: as many as its token budget holds.

        Raises:
            UserError: a photo that is none or cannot be read, metadata or side missing.
        """
        import torch

        from style_match.head.apply import embed
        from style_match.matcher.encoding import Photos, pooled
        from style_match.matcher.profiles import named_sides

        inputs = self.inputs()
        photos = Photos(inputs, images, metadata)
        if not len(photos):
            return np.empty((0, self.dim), dtype=np.float32)
        sides = named_sides(self.folder, side, photos.names)
        features = pooled(
            inputs, photos.decoded(), len(photos), inputs.pooling, batch_size=batch_size, show=show_progress
        )
        return embed(self.head, features, torch.arange(len(photos)), sides).numpy()

    def encode_text(
        self, texts: str | Sequence[str], *, batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """(N, E) float32 embeddings of texts, of unit length, to be compared with those of photos.

        Raises:
            UserError: the matcher was not trained for texts.
        """
        from style_match.matcher.text import encode_text

        return encode_text(self, texts, batch_size, show_progress)

    @staticmethod
    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(N, M) cosines of embeddings (N, E) and (M, E); a single one may be given as (E,)."""
        rows = [np.atleast_2d(np.asarray(each, dtype=np.float32)) for each in (a, b)]
        a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in rows)
        return a @ b.T

    def embed_folder(
        self,
        root: str | Path | None = None,
        *,
        features_root: str | None = None,
        show_progress: bool = False,
        **data: Any,
    ) -> Vectors:
        """The profiles of a dataset folder, embedded; their features are kept in the feature store, as in training.

        Args:
            root: the folder that holds profiles.csv; None: the synthetic one that the matcher was trained on.
            features_root: folder of all feature stores; None for that of the cache.
            data: image_root, on_bad_image, num_workers, as in `conf/data`.

        Raises:
            UserError: any fault of the folder or of a photo, or a side that the head needs and nothing tells.
        """
        from style_match.matcher.profiles import demo_root, embedded, task_of

        place = demo_root(self.folder, root, num_workers=data.get("num_workers", 0), show=show_progress)
        about = {"root": str(place), "task": task_of(self.folder, place), **data}
        return embedded(self.inputs(about, features_root=features_root, show=show_progress), self.head)

    def recommend(
        self,
        query: str | Path | Image | np.ndarray,
        profiles: Vectors,
        *,
        k: int,
        where: str | None = None,
        side: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        index: Index | None = None,
    ) -> list[tuple[str, float]]:
        """The k best profiles for one, best first, each with its cosine.

        Never the person of the query, nobody of the query's own side of couples, nobody whom `where` leaves out.

        Args:
            query: a profile id, a photo, or an embedding (E,).
            profiles: of `embed_folder`.
            where: such as "gender == 'm' and age < 35".
            side: the query's, such as "female", where it is no profile and the matcher is of couples.
            metadata: of a photo, where the prompt has it.
            index: built from `profiles`; None: exact.

        Raises:
            UserError: unknown profile, no photo, nobody left, k below 1 or above who is left.
        """
        from style_match.recommendation.allowed import Allowed
        from style_match.recommendation.query import ask
        from style_match.recommendation.similar import best, refuse_too_many

        allowed = Allowed(profiles, where)
        asked = ask(self, query, profiles, side=side, metadata=metadata)
        refuse_too_many(asked, allowed, k, where)
        return best([asked], profiles, allowed, k=k, index=index)[0]

    def inputs(
        self, data: Mapping[str, Any] | None = None, *, features_root: str | None = None, show: bool = False
    ) -> MatcherInputs:
        """The inputs of the backbone: `data` are options of `conf/data`, where a dataset folder is read."""
        from style_match.matcher.profiles import MatcherInputs

        return MatcherInputs(self, data or {}, features_root=features_root, show=show)

    @cached_property
    def backbone(self) -> Qwen3VL:
        """The frozen backbone, loaded once, when it is first needed."""
        from style_match.inputs import load_backbone

        return load_backbone(self.checkpoint, self.inputs().cfg.backbone)
