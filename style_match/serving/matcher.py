"""`StyleMatcher`: photos and texts in, embeddings of unit length out, as in the run that was exported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from style_match.backbone.checkpoint import Checkpoint
from style_match.backbone.inputs import Inputs
from style_match.backbone.pooling import joined
from style_match.data.dataset import PROFILES, DatasetFolder
from style_match.data.images import decode, decode_opened
from style_match.data.people import people_of
from style_match.data.profiles import gender_of
from style_match.data.prompt import render_all
from style_match.serving.matcher_folder import ABOUT, HEAD, MatcherFolder, read_matcher
from style_match.synthetic.dataset import draw_demo
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.text import plain, plain_keys_and_values

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from style_match.backbone.checkpoint import Checkpoint
    from style_match.backbone.qwen3_vl import Qwen3VL
    from style_match.serving.index.base import Index

    Picture: TypeAlias = str | Path | Image


# Embedded profiles: who they are, what is known of them, and where they are in the space of a matcher.


SIDE = "side of couple"  # column of `Vectors.rows`


@dataclass(frozen=True)
class Vectors:
    """The profiles of a dataset folder, embedded.

    Attributes:
        profile_ids: (N,) each once, in the order of the table.
        embeddings: (N, E) float32, of unit length.
        columns: (N,) the further columns of each profile, name -> cell.
        people: (N,) number of the person behind each profile; profiles of one person are never matched.
        sides: (N,) 0 for left, 1 for right, -1 where it is not known; all -1 where the matcher is of styles.
        matcher: identity of the matcher.
        photos: (N,) the files of each profile's photos.
        person_of_photo: sha256 (hex) of a photo's file -> number of the person; empty where photos are not looked at.
        side_names: what the sides are called; None for styles.
    """

    profile_ids: tuple[str, ...]
    embeddings: np.ndarray
    columns: tuple[dict[str, str], ...]
    people: np.ndarray
    sides: np.ndarray
    matcher: str
    photos: tuple[tuple[str, ...], ...]
    person_of_photo: dict[str, int]
    side_names: tuple[str, str] | None

    def __len__(self) -> int:
        return len(self.profile_ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {profile_id: row for row, profile_id in enumerate(self.profile_ids)}

    @cached_property
    def rows(self) -> tuple[dict[str, str], ...]:
        """(N,) what an index keeps of each profile: its columns and, of couples, its side."""
        if self.side_names is None:
            return self.columns
        names = {0: self.side_names[0], 1: self.side_names[1]}
        sides = [names.get(side, "") for side in self.sides.tolist()]
        return tuple({**cells, SIDE: side} for cells, side in zip(self.columns, sides, strict=True))


# The trained head of a matcher folder, and whether a head tells the two sides of couples.


PROBES = 8  # rows of noise that a head is tried with


def make_head(options: dict[str, Any], in_dim: int) -> nn.Module:
    """A head with the first weights that its options give."""
    return instantiate(OmegaConf.create(options))(in_dim=in_dim)


def load_head(folder: MatcherFolder) -> nn.Module:
    """The head with its trained weights, in eval mode on the CPU.

    Raises:
        UserError: weights and options are not of one head.
    """
    about = folder.about["head"]
    try:
        head = make_head(about["options"], about["in_dim"])
        head.load_state_dict(load((folder.path / HEAD).read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(
            f"{folder.path / HEAD} does not hold the head that {ABOUT} describes ({said}): export it again."
        ) from error
    return head.eval()


@torch.no_grad()
def tells_sides(head: nn.Module, in_dim: int) -> bool:
    """Whether a head in eval mode gives one photo other embeddings on the left than on the right."""
    noise = torch.randn(PROBES, in_dim, generator=torch.Generator().manual_seed(0))
    left, right = (head(noise, torch.full((PROBES,), side)) for side in (0, 1))
    return not torch.equal(left, right)


# The profiles of a dataset folder as a matcher's inputs: same prompts, same store, same rows as in training.


UNKNOWN = -1


class MatcherInputs(Inputs):
    """`Inputs` of a matcher instead of a run.

    Args:
        data: options of `conf/data` that replace the matcher's own: root, task, image_root, on_bad_image, num_workers.
        features_root: folder of all feature stores; None for that of the cache.
        show: progress bars.
    """

    def __init__(self, matcher: StyleMatcher, data: Mapping[str, Any], *, features_root: str | None, show: bool):
        about = matcher.folder.about
        super().__init__(
            OmegaConf.create(
                {
                    "data": {**about["data"]["options"], **data},
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
        return self.matcher.checkpoint

    @cached_property
    def backbone(self) -> Qwen3VL:
        return self.matcher.backbone

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        return self.render([photo.image for photo in self.folder.photos], self.folder.metadata)

    def render(self, images: list[str], metadata: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
        """The prompts of photos by name, without the label that was trained on.

        Raises:
            UserError: metadata that the prompt needs is missing or cannot be rendered.
        """
        label = self.matcher.folder.about["label_column"]
        return render_all(images, metadata, prompt=self.cfg.prompt, leave_out=(plain(label),) if label else ())


def demo_root(folder: MatcherFolder, root: str | Path | None, *, show: bool, num_workers: int = 0) -> Path:
    """The dataset folder asked for, or with None the synthetic one that the matcher was trained on, drawn if it lacks.

    Args:
        num_workers: processes that draw; 0: this one, which a script without a main guard needs.

    Raises:
        UserError: none is asked for, and the matcher was trained on a folder of photos.
    """
    if root is not None:
        return Path(root).expanduser()
    if (demo := folder.about["data"]["demo"]) is None:
        raise UserError(f"data.root=FOLDER is needed: {folder.path} was trained on photos, and tells nothing of where.")
    return draw_demo(OmegaConf.create({**demo, "num_workers": num_workers}), show=show)


def task_of(folder: MatcherFolder, root: Path) -> str:
    """How the folder is read: with its couples where a matcher of couples finds them, else its profiles alone."""
    has_couples = any((root / f"couples{suffix}").is_file() for suffix in (".csv", ".parquet"))
    return "couple" if folder.about["task"] == "couple" and has_couples else PROFILES


def sides_of(folder: DatasetFolder, sides: tuple[str, str] | None) -> np.ndarray:
    """(N,) 0 for left, 1 for right, UNKNOWN otherwise: from the couples, else from the column `gender`."""
    found = np.full(len(folder.profile_ids), UNKNOWN)
    if sides is None:
        return found
    if folder.couples and (folder.left_name, folder.right_name) != sides:
        raise UserError(
            f"{folder.couples_file} has the sides {folder.left_name} and {folder.right_name}, but the matcher was "
            f"trained on {sides[0]} and {sides[1]}: name the columns {sides[0]}_id and {sides[1]}_id."
        )
    of_couples = {couple.left_id: 0 for couple in folder.couples} | {couple.right_id: 1 for couple in folder.couples}
    for row, profile_id in enumerate(folder.profile_ids):
        gender = gender_of(folder.columns[profile_id].get("gender", ""))
        if profile_id in of_couples:
            found[row] = of_couples[profile_id]
        elif gender in sides:
            found[row] = sides.index(gender)
    return found


def named_sides(folder: MatcherFolder, side: str | Sequence[str] | None, names: Sequence[str]) -> Tensor | None:
    """(len(names),) long of photos, 0 for left, 1 for right; None where the head does not tell sides.

    Raises:
        UserError: the head tells sides, and one is missing or unknown.
    """
    import torch

    if not folder.tells_sides or folder.sides is None:
        return None
    left, right = folder.sides
    given = [side] * len(names) if side is None or isinstance(side, str) else list(side)
    if len(given) != len(names):
        raise UserError(f"There are {len(names)} photos, but sides of {len(given)}: give one name for all, or a list.")
    for name, one in zip(names, given, strict=True):
        if one not in folder.sides:
            what = "its side is not given" if one is None else f"the side {one!r} is not known"
            raise UserError(
                f"{name}: {what}, but the head of {folder.path} treats {left} and {right} profiles in two ways: "
                f'give side="{left}" or side="{right}".'
            )
    return torch.tensor([folder.sides.index(one) for one in given])


def embedded(inputs: MatcherInputs, head: nn.Module) -> Vectors:
    """The profiles of the inputs' dataset folder, each the mean over its photos.

    Raises:
        UserError: the head tells sides, and nothing tells that of a profile.
    """
    import torch

    from style_match.models.embed import embed

    matcher, folder = inputs.matcher.folder, inputs.folder
    sides = sides_of(folder, matcher.sides)
    if matcher.tells_sides and (unknown := np.flatnonzero(sides == UNKNOWN)).size:
        names = ", ".join(folder.profile_ids[row] for row in unknown[:5].tolist())
        left, right = matcher.sides or ("", "")
        raise UserError(
            f"{folder.profiles_file} does not tell the side of {len(unknown)} profiles ({names}), which the head of "
            f"{matcher.path} needs: fill in the column gender, or add couples with {left}_id and {right}_id."
        )
    row_of = {profile_id: row for row, profile_id in enumerate(folder.profile_ids)}
    photo_profile = torch.tensor([row_of[photo.profile_id] for photo in folder.photos])
    side = torch.from_numpy(sides)[photo_profile] if matcher.tells_sides else None
    people = people_of(folder)
    return Vectors(
        profile_ids=folder.profile_ids,
        embeddings=embed(head, inputs.features, photo_profile, side).numpy(),
        columns=tuple(folder.columns[profile_id] for profile_id in folder.profile_ids),
        people=np.array([people[profile_id] for profile_id in folder.profile_ids]),
        sides=sides,
        matcher=matcher.identity,
        photos=tuple(
            tuple(str(photo.path) for photo in folder.photos_of(profile_id)) for profile_id in folder.profile_ids
        ),
        person_of_photo={
            folder.photo_sha256[photo.image]: people[photo.profile_id]
            for photo in folder.photos
            if photo.image in folder.photo_sha256
        },
        side_names=matcher.sides,
    )


# Photos and prompts through the frozen backbone, without a store.


Metadata: TypeAlias = Mapping[str, Any]


class Photos:
    """What `StyleMatcher.encode` is given, as a list with a prompt each.

    Raises:
        UserError: photos or metadata are missing where the prompt has them, or are not equally many.
    """

    def __init__(self, inputs: MatcherInputs, images: Any, metadata: Metadata | Sequence[Metadata] | None):
        prompt = inputs.cfg.prompt
        if prompt.image and images is None:
            raise UserError(f"This matcher looks at photos (prompt={prompt.name}): give some.")
        about = [metadata] if isinstance(metadata, Mapping) else None if metadata is None else list(metadata)
        about = plain_keys_and_values(about)  # as a dataset folder is read
        if not prompt.metadata:
            about = None
        elif about is None:
            raise UserError(f"This matcher reads metadata (prompt={prompt.name}): give encode a dict for each photo.")
        self.images = as_list(images) if images is not None else [None] * len(about or ())
        if about is not None and len(about) != len(self.images):
            raise UserError(f"There are {len(self.images)} photos, but metadata of {len(about)}: give a dict for each.")
        self.names = [name_of(image, number) for number, image in enumerate(self.images, start=1)]
        # two photos may have one name, so that each is rendered under its number
        keys = [f"{number}: {name}" for number, name in enumerate(self.names, start=1)]
        self.prompts = inputs.render(keys, dict(zip(keys, about, strict=True)) if about is not None else {})
        self.bound = inputs.cfg.data.max_source_pixels
        self.are_seen = bool(prompt.image)

    def __len__(self) -> int:
        return len(self.images)

    def decoded(self) -> Iterator[tuple[Image | None, str]]:
        """Each photo, upright RGB, with its prompt; UserError names one that is none."""
        for image, name, prompt in zip(self.images, self.names, self.prompts, strict=True):
            if not self.are_seen:
                yield None, prompt
            elif isinstance(image, str | Path):
                yield decode(Path(image).expanduser(), max_source_pixels=self.bound), prompt
            else:
                yield decode_opened(image, name, max_source_pixels=self.bound), prompt


def as_list(images: Any) -> list[Any]:
    """One photo, or several, as a list.

    Raises:
        UserError: something that is neither a file nor a PIL image.
    """
    from PIL.Image import Image

    found = [images] if isinstance(images, str | Path | Image) else list(images)
    for number, image in enumerate(found, start=1):
        if not isinstance(image, str | Path | Image):
            raise UserError(f"Photo {number} is a {type(image).__name__}: give a file or a PIL image.")
    return found


def name_of(image: Any, number: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"photo {number}"


def pooled(
    inputs: MatcherInputs,
    pairs: Iterator[tuple[Image | None, str]],
    num: int,
    poolings: Mapping[str, Callable],
    *,
    batch_size: int | None,
    show: bool,
) -> Tensor:
    """(num, D) float32 features on the CPU of photos (None: none) and prompts, pooled as `poolings` say, joined."""
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1, or None.")
    rows, done = [], 0
    with progress.bar("encoding", "photos", show=show) as advance:
        advance(0, num)
        for images, prompts in _batches(inputs, pairs, batch_size):
            vectors = inputs.backbone.pooled(images, prompts, poolings)
            rows.append(joined([vectors[name] for name in poolings]).cpu())
            done += len(prompts)
            advance(done, num)
    return torch.cat(rows) if rows else torch.empty(0, inputs.dim)


def _batches(
    inputs: MatcherInputs, pairs: Iterator[tuple[Image | None, str]], batch_size: int | None
) -> Iterator[tuple[list[Image | None], list[str]]]:
    """In the order given; with `batch_size` None as many as the padded tokens of a batch may be."""
    images: list[Any] = []
    prompts: list[str] = []
    longest = 0
    for image, prompt in pairs:
        width, height = image.size if image is not None else (0, 0)
        tokens = inputs.backbone.num_tokens(prompt, width, height)
        padded = max(longest, tokens) * (len(prompts) + 1)
        is_full = padded > inputs.cfg.backbone.token_budget if batch_size is None else len(prompts) == batch_size
        if prompts and is_full:
            yield images, prompts
            images, prompts, longest = [], [], 0
        images.append(image)
        prompts.append(prompt)
        longest = max(longest, tokens)
    if prompts:
        yield images, prompts


class StyleMatcher:
    """A trained matcher, loaded by `from_pretrained`. Nothing is computed on import, the backbone is loaded when used.

    Attributes:
        folder: the matcher folder: sides, task, provenance.
        checkpoint: the backbone's files.
    """

    def __init__(self, folder: MatcherFolder, checkpoint: Checkpoint, *, device: str):
        pass

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
        from style_match.data.fingerprints import Fingerprints
        from style_match.serving.matcher_folder import find_backbone
        from style_match.utils.files import cache_root

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

        from style_match.models.embed import embed

        pass
        pass

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
        from style_match.serving.text import encode_text

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
        pass

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
        from style_match.serving.query import Allowed, ask
        from style_match.serving.recommend import best, refuse_too_many

        allowed = Allowed(profiles, where)
        asked = ask(self, query, profiles, side=side, metadata=metadata)
        refuse_too_many(asked, allowed, k, where)
        return best([asked], profiles, allowed, k=k, index=index)[0]

    def inputs(
        self, data: Mapping[str, Any] | None = None, *, features_root: str | None = None, show: bool = False
    ) -> MatcherInputs:
        """The inputs of the backbone: `data` are options of `conf/data`, where a dataset folder is read."""
        pass

        return MatcherInputs(self, data or {}, features_root=features_root, show=show)

    @cached_property
    def backbone(self) -> Qwen3VL:
        """The frozen backbone, loaded once, when it is first needed."""
        from style_match.backbone.inputs import load_backbone

        return load_backbone(self.checkpoint, self.inputs().cfg.backbone)
