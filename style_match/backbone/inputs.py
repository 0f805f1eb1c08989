"""From a config to what a head is trained on: dataset folder, split, one feature for each photo or text."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.backbone.checkpoint import Checkpoint, check_checkpoint, is_local, resolve_checkpoint
from style_match.backbone.feature_key import identity, owner_of, row_address, source_of
from style_match.data.balance import Balancing
from style_match.data.captions import captions
from style_match.data.dataset import DatasetFolder, read_folder
from style_match.data.fingerprints import Fingerprints, near_copies_across
from style_match.data.folds import make_fold
from style_match.data.images import DECODE_POLICY
from style_match.data.photos import check_photos
from style_match.data.prompt import refuse_control_tokens, render, render_all
from style_match.data.records import Photo
from style_match.data.splits import Split, make_split
from style_match.synthetic.dataset import draw_demo, is_synthetic
from style_match.utils import progress
from style_match.utils.distributed import Share
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root

if TYPE_CHECKING:
    from torch import Tensor

    from style_match.backbone.extractor import Row
    from style_match.backbone.feature_store import FeatureStore
    from style_match.backbone.qwen3_vl import Qwen3VL

Poolings = dict[str, Callable]

# Options of conf/backbone that `Qwen3VL` takes.
MODEL_OPTIONS = (
    *("dtype", "attention", "fused_patch_embedding", "device", "layer"),
    *("image_backend", "min_pixels", "max_pixels"),
)


class Inputs:
    """Dataset folder, split and features named by `cfg.data`, `cfg.split`, `cfg.backbone`, `cfg.prompt`, `cfg.pooling`.

    Every part is computed when it is first used, and imports what is slow to import itself.

    Raises:
        UserError: Any mistake in the dataset folder, the photos, the checkpoint or the store.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")

    def __reduce__(self) -> tuple[type["Inputs"], tuple[DictConfig]]:
        """Pickle only the config: another process loads its own backbone."""
        return Inputs, (self.cfg,)

    def check(self) -> None:
        """Report mistakes in the data, and in a local checkpoint, before torch is imported."""
        _ = self.prompts
        if "split" in self.cfg:  # not for style_match.embed
            self._warn_of_copies()
        if "balance" in self.cfg:
            _ = self.balancing
        if OmegaConf.select(self.cfg, "loss.text_weight"):
            _ = self.captions
        if is_local(self.cfg.backbone.path):
            check_checkpoint(self.checkpoint.folder)

    # ---------------------------------------------------------------- dataset

    @cached_property
    def folder(self) -> DatasetFolder:
        """The validated dataset folder; a missing synthetic one is drawn first."""
        data = self.cfg.data
        root = draw_demo(data, show=self.cfg.progress) if data.get("synthetic") else Path(data.root)
        folder = read_folder(root, task=data.task, image_root=data.image_root, label_column=data.label_column)
        if self.cfg.prompt.image:
            with progress.bar("checking photos", "photos", show=self.cfg.progress) as advance:
                folder = check_photos(
                    folder,
                    self.fingerprints,
                    max_source_pixels=data.max_source_pixels,
                    on_bad_image=data.on_bad_image,
                    num_workers=data.num_workers,
                    progress=advance,
                )
        for note in folder.notes:
            progress.say(f"note: {note}")
        return folder

    @cached_property
    def synthetic(self) -> bool:
        """Whether the people of the dataset folder are drawn."""
        return is_synthetic(self.folder.root)

    @cached_property
    def split(self) -> Split:
        """The stored split of the dataset folder for `split.seed`, fractions and folds."""
        split = self.cfg.split
        options: dict[str, Any] = dict(
            seed=split.seed,
            fractions=tuple(split.fractions),
            store=Path(split.store) if split.store else None,
        )
        if (folds := split.get("folds")) is None:
            return make_split(self.folder, **options)
        return make_fold(self.folder, folds=folds, fold=split.fold, **options)

    @cached_property
    def near_copies(self) -> list[tuple[str, str, str, str]]:
        """(image, split, copy, split of the copy) of photos that look like copies of photos in another split."""
        folder = self.folder
        split_of: dict[str, str] = {}  # all couples of a profile are in one split
        for item, name in self.split.name_of.items():
            split_of.update(dict.fromkeys(item.split("\t") if folder.task == "couple" else [item], name))
        facts = folder.photo_facts
        photos = [each for each in folder.photos if each.profile_id in split_of and each.image in facts]
        return near_copies_across(
            [photo.image for photo in photos],
            [split_of[photo.profile_id] for photo in photos],
            [(facts[photo.image].phash, facts[photo.image].dhash) for photo in photos],
        )

    def _warn_of_copies(self) -> None:
        if not self.near_copies:
            return
        image, split, copy, other_split = self.near_copies[0]
        progress.say(
            f"{len(self.near_copies)} of {len(self.folder.photos)} photos look like copies of photos in another split, "
            f"such as {image} ({split}) of {copy} ({other_split}), so results are too high. near_copies.csv in the run "
            "folder lists them. To keep copies in one split: python -m style_match.prepare "
            f"source={self.folder.root} out=NEW_FOLDER, then data.root=NEW_FOLDER"
        )

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """The rendered prompt of each photo, in the order of `folder.photos`.

        Raises:
            UserError: The prompt needs metadata, and some photo has none.
        """
        if self.cfg.prompt.metadata and not self.folder.metadata:
            root, schema = self.folder.root, self.folder.task
            raise UserError(
                f"prompt={self.cfg.prompt.name} needs {root / 'metadata.jsonl'}, which is missing or empty. Make it by "
                f"`python -m style_match.label images={root} schema={schema} labeler=openai`, or use prompt=image."
            )
        return render_all(
            [photo.image for photo in self.folder.photos],
            self.folder.metadata,
            prompt=self.cfg.prompt,
            leave_out=(self.folder.label_column,) if self.folder.label_column else (),
            class_names=set(self.folder.labels.values()),
        )

    @cached_property
    def captions(self) -> tuple[tuple[str, ...], ...]:
        """The texts of each photo (`text.attributes`), in the order of `folder.photos`."""
        return captions(
            [photo.image for photo in self.folder.photos],
            self.folder.metadata,
            keys=self.cfg.text.attributes,
            class_names=set(self.folder.labels.values()),
        )

    @cached_property
    def balancing(self) -> Balancing:
        """How often each profile is used in training, and which photos have augmented views."""
        return Balancing(self.cfg.balance, self.folder, self.split, seed=self.cfg.seed)

    # ---------------------------------------------------------------- backbone and poolings

    @cached_property
    def checkpoint(self) -> Checkpoint:
        backbone = self.cfg.backbone
        return resolve_checkpoint(backbone.path, backbone.revision, download=True)

    @cached_property
    def backbone(self) -> "Qwen3VL":
        """The frozen backbone, loaded."""
        return load_backbone(self.checkpoint, self.cfg.backbone)

    @cached_property
    def pooling(self) -> Poolings:
        """The pooling of `cfg.pooling` by its name; the parts of a composed one, which are stored separately."""
        own = own_poolings()
        if parts := self.cfg.pooling.get("parts"):
            return {name: own[name] for name in parts}
        name, function = self.cfg.pooling.name, instantiate(self.cfg.pooling.function)
        if own.get(name, function) is not function:
            raise UserError(
                f"pooling.name={name} is a pooling of this package. Give your function another pooling.name."
            )
        return {name: function}

    @cached_property
    def poolings(self) -> Poolings:
        """Every pooling that is stored for this prompt."""
        return own_poolings(image=self.cfg.prompt.image) | self.pooling

    @cached_property
    def stored(self) -> "StoredFeatures":
        return StoredFeatures(self, self.poolings, self.pooling)

    @cached_property
    def store(self) -> "FeatureStore":
        return self.stored.store

    @cached_property
    def dim(self) -> int:
        """Feature dimension D."""
        return self.stored.dim

    # ---------------------------------------------------------------- features

    @cached_property
    def rows(self) -> "tuple[Row, ...]":
        """The row of each photo in the feature store; photos with equal bytes and prompt share an address."""
        return tuple(self._row(photo, prompt) for photo, prompt in zip(self.folder.photos, self.prompts, strict=True))

    def _row(self, photo: Photo, prompt: str) -> "Row":
        from style_match.backbone.extractor import Row

        if not self.cfg.prompt.image:
            return _text_row(prompt, owner_of(photo.profile_id))
        facts = self.fingerprints.photo(photo.path, max_source_pixels=self.cfg.data.max_source_pixels)
        address = row_address(facts.sha256, facts.decode_policy, prompt)
        return Row(address, photo.path, prompt, facts.width, facts.height, owner=facts.sha256)

    @cached_property
    def view_rows(self) -> "tuple[Row, ...]":
        """Rows of all augmented views, V for each of P photos in the order of `balancing.views`."""
        if (views := self.balancing.views) is None:
            return ()
        stored = [views.stored(number) for number in range(1, views.num + 1)]
        return tuple(self.rows[photo].of_view(view) for photo in views.photos for view in stored)

    @cached_property
    def features(self) -> "Tensor":
        """(P, D) float32 of `folder.photos`, pooled as in `cfg.pooling`."""
        return self.stored.load(self.rows, "features")

    @cached_property
    def view_features(self) -> "Tensor":
        """(P * V, D) float32 of `view_rows`."""
        return self.stored.load(self.view_rows, "features of views")

    def embed(self, rows: "Sequence[Row] | None" = None, what: str = "features") -> None:
        """Compute what the store lacks of these rows, or of all photos, and report how many were computed."""
        self.stored.compute(self.rows if rows is None else rows, what)

    def embed_share(self, share: Share, rows: "Iterable[Row]") -> list[str]:
        """Compute what the store lacks of a share of the rows, and return the addresses of the others."""
        row_of = {row.address: row for row in rows}
        own = [row for address, row in row_of.items() if share.holds(address)]
        place = f" ({share.place})" if share.place else ""
        progress.say(f"share {share}{place}: {len(own)} of {len(row_of)} photos")
        self.embed(own, f"share {share}")
        return [address for address in row_of if not share.holds(address)]

    def encode_online(self, batch: dict[str, Any]) -> "Tensor":
        """Return (B, D) features of a batch's `rows`, computed by the backbone (encode=online).

        Raises:
            UserError: A photo cannot be read or has changed since it was checked.
        """
        import torch

        from style_match.backbone.extractor import batch_slices, decode_rows
        from style_match.backbone.pooling import joined

        rows = batch["rows"]
        tokens = [self.backbone.num_tokens(row.prompt, row.width, row.height) for row in rows]
        order = sorted(range(len(tokens)), key=lambda i: -tokens[i])
        pooled = []
        for part in batch_slices([tokens[i] for i in order], self.cfg.backbone.token_budget):
            some = [rows[i] for i in order[part]]
            images = decode_rows(some, self.cfg.data.max_source_pixels)  # a complete gallery would not fit into memory
            vectors = self.backbone.pooled(images, [row.prompt for row in some], self.pooling)
            pooled.append(joined([vectors[name] for name in self.pooling]))
        features = torch.cat(pooled)
        return torch.empty_like(features).index_copy_(0, torch.tensor(order, device=features.device), features)


class StoredFeatures:
    """Features of one backbone and one set of poolings, from their store or computed if it lacks them.

    Args:
        inputs: Config, checkpoint and backbone.
        poolings: Poolings that are stored, all of one forward pass.
        pooling: Those of them that are joined to one feature.
    """

    def __init__(self, inputs: Inputs, poolings: Poolings, pooling: Poolings):
        self.inputs, self.poolings, self.pooling = inputs, poolings, pooling

    @cached_property
    def store(self) -> "FeatureStore":
        from style_match.backbone.feature_store import FeatureStore
        from style_match.backbone.qwen3_vl import resolve_device

        inputs, cfg = self.inputs, self.inputs.cfg
        root = Path(cfg.features.root).expanduser() if cfg.features.root else cache_root() / "features"
        function = cfg.pooling.get("function") and OmegaConf.to_container(cfg.pooling.function, resolve=True)
        own = own_poolings()
        sources = {name: source_of(each, None if name in own else function) for name, each in self.poolings.items()}
        device = resolve_device(cfg.backbone.device).type
        key = identity(inputs.checkpoint, cfg.backbone, sources, device, inputs.fingerprints)
        return FeatureStore(root, key, shard_rows=cfg.features.shard_rows)

    @cached_property
    def dim(self) -> int:
        """Feature dimension D, from the checkpoint's config."""
        from style_match.backbone.qwen3_vl import feature_dim

        return feature_dim(self.inputs.checkpoint.folder) * len(self.pooling)

    def load(self, rows: "Sequence[Row]", what: str) -> "Tensor":
        """Return (N, D) float32 of rows, after computing those that the store lacks."""
        from style_match.backbone.pooling import joined

        self.compute(rows, what)
        addresses = [row.address for row in rows]
        return joined([self.store.load(addresses, name) for name in self.pooling])

    def compute(self, rows: "Sequence[Row]", what: str) -> None:
        """Compute the rows that the store lacks, and report how many."""
        from style_match.backbone.extractor import extract

        cfg = self.inputs.cfg
        with progress.bar("embedding", "photos", show=cfg.progress) as advance:
            extraction = extract(
                rows,
                self.store,
                lambda: self.inputs.backbone,
                self.poolings,
                token_budget=cfg.backbone.token_budget,
                num_workers=cfg.backbone.num_workers,
                max_source_pixels=cfg.data.max_source_pixels,
                progress=advance,
            )
        total = extraction.from_store + extraction.computed
        computed = f", {extraction.computed} computed in {extraction.seconds:.1f} s" if extraction.computed else ""
        progress.say(f"{what}: {extraction.from_store} of {total} from the store{computed} ({self.store.folder})")


class TextInputs(StoredFeatures):
    """Features of texts, each in its own prompt, by the backbone of a run's or a matcher's inputs.

    Args:
        inputs: Whose backbone and folder of stores are used.
        text: A group of `conf/text`.
        pooling: Names of this package's poolings that are joined; None for `text.pooling`.
    """

    def __init__(self, inputs: Inputs, text: DictConfig, *, pooling: Sequence[str] | None = None):
        own = own_poolings(image=False)
        super().__init__(inputs, own, {name: own[name] for name in pooling or text.pooling})
        self.text = text

    def of(self, texts: Sequence[str], owners: Sequence[str], what: str) -> "Tensor":
        """Return (N, D) float32 features of texts; `owners` (N,) are `owner_of` their profiles."""
        rows = [_text_row(text_prompt(text, self.text), owner) for text, owner in zip(texts, owners, strict=True)]
        return self.load(rows, what)


def _text_row(prompt: str, owner: str) -> "Row":
    from style_match.backbone.extractor import Row

    return Row(row_address(None, DECODE_POLICY, prompt), None, prompt, 0, 0, owner=owner)


def text_prompt(text: str, options: DictConfig) -> str:
    """Return the prompt of `conf/text` with a text; line breaks and runs of spaces become one space.

    Raises:
        UserError: The text contains a control token.
    """
    line = " ".join(text.split())
    refuse_control_tokens(line, f"The text {line!r}")
    return render(
        image=False, metadata=None, system=options.system, instruction=line, template=options.template, leave_out=()
    )


def own_poolings(*, image: bool = True) -> Poolings:
    """Return this package's poolings; without those of the image if the prompt has none."""
    from style_match.backbone import pooling

    names = ("eos", "mean", "mean_text", "mean_image") if image else ("eos", "mean", "mean_text")
    return {name: getattr(pooling, name) for name in names}


def load_backbone(checkpoint: Checkpoint, backbone: DictConfig) -> "Qwen3VL":
    """Load the frozen Qwen3-VL of a checkpoint folder with the options of `conf/backbone`."""
    from style_match.backbone.qwen3_vl import Qwen3VL

    options = {name: backbone[name] for name in MODEL_OPTIONS}
    return Qwen3VL(folder=checkpoint.folder, **options)
