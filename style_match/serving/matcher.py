"""`StyleMatcher`: photos and texts in, embeddings of unit length out, as in the run that was exported."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL.Image import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from style_match.backbone.checkpoint import Checkpoint
from style_match.backbone.inputs import Inputs, load_backbone, own_poolings, text_prompt
from style_match.backbone.pooling import joined
from style_match.backbone.qwen3_vl import Qwen3VL
from style_match.data.dataset import PROFILES
from style_match.data.images import decode, decode_stream
from style_match.data.people import people_of
from style_match.data.prompt import render_all
from style_match.models.embed import embed
from style_match.serving.index.base import Answers, Index
from style_match.serving.matcher_folder import ABOUT, HEAD, TEXT_FILE, MatcherFolder, find_backbone, read_matcher
from style_match.serving.profiles import ProfileEmbeddings, couples_of, dataset_root, sides_of
from style_match.serving.recommend import Candidates, make_query, nearest
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.text import plain, plain_keys_and_values

Photo: TypeAlias = str | Path | Image
Metadata: TypeAlias = Mapping[str, Any]
Prompts: TypeAlias = Iterator[tuple[Image | None, str]]  # decoded photo or None, prompt

NUM_PROBES = 8  # rows of noise that show whether a head treats the sides differently


class StyleMatcher:
    """A trained matcher. Load one with `from_pretrained`.

    The backbone is loaded when it is first needed.

    Example:
        >>> matcher = StyleMatcher.from_pretrained("matcher")
        >>> embeddings = matcher.encode(["one.jpg", "two.jpg"])  # (2, E)
        >>> profiles = matcher.embed_folder("FOLDER")
        >>> matcher.recommend("PROFILE_ID", profiles, k=10, where="age < 35")

    Args:
        folder: A matcher folder from `read_matcher`.
        checkpoint: The files of its backbone.
        device: Device of the backbone: auto, cpu, cuda, cuda:1 or mps.

    Attributes:
        folder: The matcher folder: sides, task, provenance.
        checkpoint: The files of the backbone.
        head: The trained head, in eval mode on the CPU.
    """

    def __init__(self, folder: MatcherFolder, checkpoint: Checkpoint, *, device: str = "auto"):
        self.folder, self.checkpoint, self.device = folder, checkpoint, device
        head = folder.about["head"]
        self.head = _load_head(folder.path / HEAD, head["options"], in_dim=head["in_dim"])

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        backbone: str | Path | None = None,
        device: str = "auto",
        config_dirs: Iterable[str | Path] = (),
    ) -> "StyleMatcher":
        """Load a matcher folder that `python -m style_match.export` wrote.

        Args:
            folder: Path of the matcher folder.
            backbone: Another place of the same backbone, a folder or a hub id; None: its place in training.
            device: Device of the backbone: auto, cpu, cuda, cuda:1 or mps.
            config_dirs: Folders of your own YAMLs, for heads and poolings that this package does not have.

        Raises:
            UserError: The folder is damaged or of a newer format, or the backbone is missing or another one.
        """
        found = read_matcher(folder, config_dirs)
        return cls(found, find_backbone(found, backbone), device=device)

    @property
    def identity(self) -> str:
        """SHA-256 (hex) that differs between any two matchers."""
        return self.folder.identity

    @property
    def dim(self) -> int:
        """Width E of an embedding."""
        return self.folder.about["head"]["dim"]

    def encode(
        self,
        images: Photo | Sequence[Photo] | None,
        metadata: Metadata | Sequence[Metadata] | None = None,
        *,
        side: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> np.ndarray:
        """Embed photos.

        Args:
            images: A file or PIL image, or a list of N; None if the prompt has no image.
            metadata: The attributes of each photo, if the prompt has metadata.
            side: Side of the couple of each photo, if the head treats sides differently: one name for all, or a list.
            batch_size: Photos per forward pass; None: as many as the token budget of the backbone allows.
            show_progress: Whether to show progress.

        Returns:
            (N, E) float32 embeddings of unit length.

        Raises:
            UserError: A photo cannot be read, or metadata or side are missing.
        """
        inputs = MatcherInputs(self, show=show_progress)
        features, sides = inputs.photo_features(images, metadata, side=side, batch_size=batch_size)
        if not len(features):
            return np.empty((0, self.dim), dtype=np.float32)
        return embed(self.head, features, torch.arange(len(features)), sides).numpy()

    def encode_text(
        self, texts: str | Sequence[str], *, batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """Embed texts in the space of the photos.

        Args:
            texts: A text, or a list of N.
            batch_size: Texts per forward pass; None: as many as the token budget of the backbone allows.
            show_progress: Whether to show progress.

        Returns:
            (N, E) float32 embeddings of unit length.

        Raises:
            UserError: The matcher has no text path, or a text is empty or has a control token.
        """
        _ = self.text_options
        if not (texts := _as_texts(texts)):
            return np.empty((0, self.dim), dtype=np.float32)
        inputs = MatcherInputs(self, show=show_progress)
        return self.embed_text_features(inputs.text_features(texts, batch_size=batch_size))

    @staticmethod
    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the cosines (N, M) of embeddings (N, E) and (M, E); a single embedding may be (E,)."""
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
    ) -> ProfileEmbeddings:
        """Embed the profiles of a dataset folder. Features are kept in the feature store, as in training.

        Args:
            root: Folder with profiles.csv; None: the synthetic one that the matcher was trained on.
            features_root: Folder of all feature stores; None: in the cache.
            show_progress: Whether to show progress.
            **data: `image_root`, `on_bad_image` and `num_workers` as in `conf/data`.

        Raises:
            UserError: A fault of the folder or of a photo, or the head needs a side that is unknown.
        """
        inputs = self.folder_inputs(root, features_root=features_root, show_progress=show_progress, **data)
        return embed_profiles(inputs, self.head)

    def recommend(
        self,
        query: Photo | np.ndarray,
        profiles: ProfileEmbeddings,
        *,
        k: int,
        where: str | None = None,
        side: str | None = None,
        metadata: Metadata | None = None,
        index: Index | None = None,
        exclude_known: bool = False,
    ) -> Answers:
        """Recommend k profiles, best first, each with its cosine.

        The person of the query is never recommended; for couples only profiles of the other side are.

        Args:
            query: A profile id, a photo, or an embedding (E,).
            profiles: From `embed_folder`.
            k: Number of profiles.
            where: Filter on the columns, such as "gender == 'm' and age < 35".
            side: Side of a photo or embedding, such as "female", for a matcher of couples.
            metadata: Attributes of a photo, if the prompt has metadata.
            index: An index of `profiles`; None: an exact one.
            exclude_known: Whether known partners of the query are left out.

        Returns:
            k pairs of profile id and cosine.

        Raises:
            UserError: The query or filter is wrong, or k is below 1 or above the number of allowed profiles.
        """
        candidates = Candidates(profiles, where, exclude_known=exclude_known)
        found = make_query(query, profiles, self.folder, self.encode, side=side, metadata=metadata)
        candidates.refuse_too_many(found, k)
        return nearest([found], candidates, k=k, index=index)[0]

    # ---------------------------------------------------------------- parts that steps and the web page use

    def folder_inputs(
        self, root: str | Path | None, *, features_root: str | None = None, show_progress: bool = False, **data: Any
    ) -> "MatcherInputs":
        """Return the inputs of a dataset folder, see `embed_folder`."""
        place = dataset_root(self.folder, root, num_workers=data.get("num_workers", 0), show=show_progress)
        has_couples = any((place / f"couples{suffix}").is_file() for suffix in (".csv", ".parquet"))
        task = "couple" if self.folder.about["task"] == "couple" and has_couples else PROFILES
        about = {"root": str(place), "task": task, **data}
        return MatcherInputs(self, about, features_root=features_root, show=show_progress)

    @torch.no_grad()
    def embed_text_features(self, features: Tensor) -> np.ndarray:
        """Return the embeddings (N, E) of features (N, D) of texts."""
        return self.text_head(features).float().numpy()

    @cached_property
    def backbone(self) -> Qwen3VL:
        """The frozen backbone."""
        return load_backbone(self.checkpoint, MatcherInputs(self).cfg.backbone)

    @property
    def text_options(self) -> DictConfig:
        """Options of texts, as in `conf/text`.

        Raises:
            UserError: The matcher has no text path.
        """
        if (about := self.folder.about["text"]) is None:
            why = self.folder.about.get("no_text") or "its folder does not say why. Export it again."
            raise UserError(f"The matcher {self.folder.path} has no text search: {why}")
        return OmegaConf.create(about["options"])

    @cached_property
    def text_head(self) -> nn.Module:
        """The head of texts, in eval mode on the CPU."""
        about = self.folder.about["text"]["head"]
        if about["options"] is None:
            return self.head
        return _load_head(self.folder.path / TEXT_FILE, about["options"], in_dim=about["in_dim"], dim=about["dim"])


class MatcherInputs(Inputs):
    """`Inputs` with the prompt, pooling and backbone of a matcher; `data` are options of `conf/data` of a folder."""

    def __init__(
        self,
        matcher: StyleMatcher,
        data: Mapping[str, Any] | None = None,
        *,
        features_root: str | None = None,
        show: bool = False,
    ):
        about = matcher.folder.about
        super().__init__(
            OmegaConf.create(
                {
                    "data": {**about["data"]["options"], **(data or {})},
                    "backbone": {**about["backbone"]["options"], "device": matcher.device},
                    "prompt": about["prompt"],
                    "pooling": about["pooling"],
                    "features": {**about["features"], "root": features_root},
                    "progress": show,
                }
            )
        )
        self.matcher = matcher

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The files of the backbone."""
        return self.matcher.checkpoint

    @cached_property
    def backbone(self) -> Qwen3VL:
        """The frozen backbone."""
        return self.matcher.backbone

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """(P,) prompts of the photos of the dataset folder."""
        return self._render([photo.image for photo in self.folder.photos], self.folder.metadata)

    def photo_features(
        self,
        images: Photo | Sequence[Photo] | None,
        metadata: Metadata | Sequence[Metadata] | None,
        *,
        side: str | Sequence[str] | None = None,
        batch_size: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return features (N, D) float32 of photos, and sides (N,) as numbers if the head treats sides differently."""
        prompt = self.cfg.prompt
        if prompt.image and images is None:
            raise UserError(f"This matcher reads photos (prompt={prompt.name}). Pass images.")
        photos, about = [] if images is None else _as_list(images), None
        if prompt.metadata:
            if metadata is None:
                raise UserError(f"This matcher reads metadata (prompt={prompt.name}). Pass a dict for each photo.")
            given = [metadata] if isinstance(metadata, Mapping) else list(metadata)
            about = plain_keys_and_values(given)  # as a dataset folder is read
            photos = photos if images is not None else [None] * len(about)
            if len(about) != len(photos):
                raise UserError(f"There are {len(photos)} photos, but metadata of {len(about)}. Pass a dict for each.")
        names = [
            str(photo) if isinstance(photo, str | Path) else f"photo {number}"
            for number, photo in enumerate(photos, start=1)
        ]
        # photos may have the same name, so each is rendered under its number
        keys = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
        texts = self._render(keys, {} if about is None else dict(zip(keys, about, strict=True)))
        prompts = (
            (self._decoded(photo, name) if prompt.image else None, text)
            for photo, name, text in zip(photos, names, texts, strict=True)
        )
        sides = _side_numbers(self.matcher.folder, side, names)
        return self._pooled(prompts, len(names), self.pooling, batch_size), sides

    def text_features(self, texts: Sequence[str], *, batch_size: int | None = None) -> Tensor:
        """Compute the features (N, D) float32 of texts, see `StyleMatcher.encode_text`."""
        options = self.matcher.text_options
        poolings = {name: own_poolings()[name] for name in options.pooling}
        return self._pooled(((None, text_prompt(text, options)) for text in texts), len(texts), poolings, batch_size)

    def _pooled(self, prompts: Prompts, num: int, poolings: Mapping[str, Callable], batch_size: int | None) -> Tensor:
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be at least 1, or None.")
        rows, done = [], 0
        with progress.bar("encoding", "photos", show=self.cfg.progress) as advance:
            advance(0, num)
            for images, texts in self._batches(prompts, batch_size):
                vectors = self.backbone.pooled(images, texts, poolings)
                rows.append(joined([vectors[name] for name in poolings]).cpu())
                done += len(texts)
                advance(done, num)
        return torch.cat(rows) if rows else torch.empty(0, self.dim)

    def _render(self, images: list[str], metadata: Mapping[str, Metadata]) -> tuple[str, ...]:
        """Return the prompts of photos by name, without the label that the matcher was trained on."""
        label = self.matcher.folder.about["label_column"]
        return render_all(images, metadata, prompt=self.cfg.prompt, leave_out=(plain(label),) if label else ())

    def _decoded(self, image: Photo, name: str) -> Image:
        bound = self.cfg.data.max_source_pixels
        if isinstance(image, str | Path):
            return decode(Path(image).expanduser(), max_source_pixels=bound)
        return decode_stream(image, name, max_source_pixels=bound)

    def _batches(self, prompts: Prompts, batch_size: int | None) -> Iterator[tuple[list[Image | None], list[str]]]:
        """Batches in the given order; if `batch_size` is None, bounded by their padded tokens."""
        images: list[Image | None] = []
        texts: list[str] = []
        longest = 0
        for image, text in prompts:
            width, height = image.size if image is not None else (0, 0)
            tokens = self.backbone.num_tokens(text, width, height)
            padded = max(longest, tokens) * (len(texts) + 1)
            is_full = padded > self.cfg.backbone.token_budget if batch_size is None else len(texts) == batch_size
            if texts and is_full:
                yield images, texts
                images, texts, longest = [], [], 0
            images.append(image)
            texts.append(text)
            longest = max(longest, tokens)
        if texts:
            yield images, texts


def embed_profiles(inputs: MatcherInputs, head: nn.Module) -> ProfileEmbeddings:
    """Embed the profiles of a dataset folder with a head; each is the mean over its photos."""
    matcher, dataset = inputs.matcher.folder, inputs.folder
    ids, sides, people = dataset.profile_ids, sides_of(dataset, matcher), people_of(dataset)
    row_of = {profile_id: row for row, profile_id in enumerate(ids)}
    photo_profile = torch.tensor([row_of[photo.profile_id] for photo in dataset.photos])
    photo_sides = torch.from_numpy(sides)[photo_profile] if matcher.tells_sides else None
    return ProfileEmbeddings(
        profile_ids=ids,
        embeddings=embed(head, inputs.features, photo_profile, photo_sides).numpy(),
        columns=tuple(dataset.columns[one] for one in ids),
        people=np.array([people[one] for one in ids]),
        sides=sides,
        matcher=matcher.identity,
        photos=tuple(tuple(str(photo.path) for photo in dataset.photos_of(one)) for one in ids),
        person_of_photo={
            dataset.photo_sha256[photo.image]: people[photo.profile_id]
            for photo in dataset.photos
            if photo.image in dataset.photo_sha256
        },
        side_names=matcher.sides,
        couples=couples_of(dataset, matcher),
    )


def _side_numbers(folder: MatcherFolder, side: str | Sequence[str] | None, names: Sequence[str]) -> Tensor | None:
    """Return the sides (N,) of photos, 0 for left, 1 for right; None if the head does not treat sides differently."""
    if not folder.tells_sides or folder.sides is None:
        return None
    left, right = folder.sides
    sides = [side] * len(names) if side is None or isinstance(side, str) else list(side)
    if len(sides) != len(names):
        raise UserError(f"There are {len(names)} photos, but sides of {len(sides)}. Pass one name, or one for each.")
    for name, one in zip(names, sides, strict=True):
        if one not in folder.sides:
            what = "its side is missing" if one is None else f"the side {one!r} is unknown"
            raise UserError(
                f"{name}: {what}, but the head of {folder.path} treats {left} and {right} profiles differently. Pass "
                f'side="{left}" or side="{right}".'
            )
    return torch.tensor([folder.sides.index(one) for one in sides])


def _as_list(images: Photo | Sequence[Photo]) -> list[Any]:
    found = [images] if isinstance(images, str | Path | Image) else list(images)
    for number, image in enumerate(found, start=1):
        if not isinstance(image, str | Path | Image):
            raise UserError(f"Photo {number} is a {type(image).__name__}. Pass a file or a PIL image.")
    return found


def _as_texts(texts: str | Sequence[str]) -> list[str]:
    found = [texts] if isinstance(texts, str | bytes) or not isinstance(texts, Iterable) else list(texts)
    for number, text in enumerate(found, start=1):
        if not isinstance(text, str):
            raise UserError(f"Text {number} is a {type(text).__name__}. Pass a text or a list of texts.")
        if not text.strip():
            raise UserError("A text is empty. Pass some words.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"The text {text!r} is not UTF-8 ({error.reason}). Write it in UTF-8.") from error
    return found


# Heads


def make_head(options: Mapping[str, Any], **sizes: int) -> nn.Module:
    """Return an untrained head from its options and `in_dim`; heads of texts also take `dim`."""
    return instantiate(OmegaConf.create(dict(options)))(**sizes)


def _load_head(file: Path, options: Mapping[str, Any], **sizes: int) -> nn.Module:
    """Return a trained head in eval mode on the CPU."""
    try:
        head = make_head(options, **sizes)
        head.load_state_dict(load(file.read_bytes()))
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{file} does not hold the head that {ABOUT} describes ({reason}). Export it again.") from error
    return head.eval()


@torch.no_grad()
def tells_sides(head: nn.Module, in_dim: int) -> bool:
    """Return whether a head in eval mode embeds a photo differently on the left and on the right."""
    noise = torch.randn(NUM_PROBES, in_dim, generator=torch.Generator().manual_seed(0))
    left, right = (head(noise, torch.full((NUM_PROBES,), side)) for side in (0, 1))
    return not torch.equal(left, right)
