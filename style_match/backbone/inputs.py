"""Features of texts, through the feature store as those of photos."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.backbone.checkpoint import check_checkpoint
from style_match.backbone.feature_key import (
    Checkpoint,
    identity,
    is_local,
    owner_of,
    resolve_checkpoint,
    row_address,
    source_of,
)
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
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from style_match.backbone.extractor import Row
    from style_match.backbone.feature_store import FeatureStore
    from style_match.backbone.qwen3_vl import Qwen3VL


# From a config to what a head is trained on: dataset folder, split, one feature row a photo.


OF_PIXELS = ("image_backend", "min_pixels", "max_pixels")
BACKBONE_OPTIONS = ("dtype", "attention", "fused_patch_embedding", *OF_PIXELS, "device", "layer")


class Inputs:
    """Reads, checks, splits and embeds what `cfg.data`, `cfg.backbone`, `cfg.prompt` and `cfg.pooling` name.

    Each part is made when first asked for, and imports what is heavy itself.

    Raises:
        UserError: any fault of the dataset folder, the photos, the checkpoint or the store, named with its remedy.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")

    def __reduce__(self) -> tuple[type["Inputs"], tuple[DictConfig]]:
        """Another process makes its own from the config: a backbone is of one process and device."""
        return Inputs, (self.cfg,)

    def check(self) -> None:
        """Answer mistakes in the data, and in a backbone that is a folder, before torch is imported."""
        _ = self.prompts
        if "split" in self.cfg:  # style_match.embed asks for none
            self._warn_of_copies()
        if "balance" in self.cfg:
            _ = self.balancing
        if OmegaConf.select(self.cfg, "loss.text_weight"):
            _ = self.captions
        if is_local(self.cfg.backbone.path):
            check_checkpoint(self.checkpoint.folder)

    @cached_property
    def folder(self) -> DatasetFolder:
        """The validated dataset folder; demo data is drawn first where it lacks."""
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
        """Who is in which split, made once for a dataset folder, `split.seed`, fractions and folds."""
        split = self.cfg.split
        options: dict[str, Any] = dict(
            seed=split.seed,
            fractions=tuple(split.fractions),
            store=Path(split.store) if split.store else None,
        )
        if (folds := split.get("folds")) is None:  # a run of an older version does not have it
            return make_split(self.folder, **options)
        return make_fold(self.folder, folds=folds, fold=split.fold, **options)

    @cached_property
    def near_copies(self) -> list[tuple[str, str, str, str]]:
        """(image, split, copy, split of the copy) of photos that look like copies of photos in another split."""
        folder = self.folder
        split_of: dict[str, str] = {}  # a profile's couples are all in one split
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
        one, its_split, other, other_split = self.near_copies[0]
        progress.say(
            f"{len(self.near_copies)} of {len(self.folder.photos)} photos look like copies of photos in another split, "
            f"such as {one} ({its_split}) of {other} ({other_split}): results are too high. The run folder lists them "
            "in near_copies.csv. To keep copies in one split: python -m style_match.prepare "
            f"source={self.folder.root} out=NEW_FOLDER, then data.root=NEW_FOLDER"
        )

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """The rendered prompt of each photo, in the order of `folder.photos`."""
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
    def rows(self) -> "tuple[Row, ...]":
        """Each photo's row of the feature store; photos that share bytes and prompt share the address."""
        return tuple(self._row(photo, prompt) for photo, prompt in zip(self.folder.photos, self.prompts, strict=True))

    def _row(self, photo: Photo, prompt: str) -> "Row":
        from style_match.backbone.extractor import Row

        if not self.cfg.prompt.image:
            return Row(row_address(None, DECODE_POLICY, prompt), None, prompt, 0, 0, owner=owner_of(photo.profile_id))
        facts = self.fingerprints.photo(photo.path, max_source_pixels=self.cfg.data.max_source_pixels)
        address = row_address(facts.sha256, facts.decode_policy, prompt)
        return Row(address, photo.path, prompt, facts.width, facts.height, owner=facts.sha256)

    @cached_property
    def balancing(self) -> Balancing:
        """Who is in training how often, and whose photos have views."""
        return Balancing(self.cfg.balance, self.folder, self.split, seed=self.cfg.seed)

    @cached_property
    def view_rows(self) -> "tuple[Row, ...]":
        """Rows of the store for all views, photo after photo as `balancing.views` has them."""
        if (views := self.balancing.views) is None:
            return ()
        stored = [views.stored(number) for number in range(1, views.num + 1)]
        return tuple(self.rows[photo].of_view(view) for photo in views.photos for view in stored)

    @cached_property
    def poolings(self) -> dict[str, Callable]:
        """Every pooling the store keeps for this prompt, and the one asked for."""
        named = own_poolings()
        if not self.cfg.prompt.image:
            del named["mean_image"]
        return named | self.pooling

    def _sources(self) -> dict[str, Any]:
        """The poolings as the identity of features knows them."""
        own, options = own_poolings(), self.cfg.pooling.get("function")
        made = None if options is None else OmegaConf.to_container(options, resolve=True)
        return {name: source_of(each, None if name in own else made) for name, each in self.poolings.items()}

    @cached_property
    def pooling(self) -> dict[str, Callable]:
        """The one asked for, by its name; of a composed one its parts, which the store keeps anyway."""
        if parts := self.cfg.pooling.get("parts"):
            return {name: own_poolings()[name] for name in parts}
        name, function = self.cfg.pooling.name, instantiate(self.cfg.pooling.function)
        if own_poolings().get(name, function) is not function:
            raise UserError(
                f"pooling.name={name} is one of this package's: give another pooling.name to the function of one's own."
            )
        return {name: function}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        backbone = self.cfg.backbone
        return resolve_checkpoint(backbone.path, backbone.revision, download=True)

    @cached_property
    def store(self) -> "FeatureStore":
        from style_match.backbone.feature_store import FeatureStore
        from style_match.backbone.qwen3_vl import resolve_device

        features = self.cfg.features
        root = Path(features.root).expanduser() if features.root else cache_root() / "features"
        device = resolve_device(self.cfg.backbone.device).type
        key = identity(self.checkpoint, self.cfg.backbone, self._sources(), device, self.fingerprints)
        return FeatureStore(root, key, shard_rows=features.shard_rows)

    @cached_property
    def dim(self) -> int:
        """Width D of a feature, told from the checkpoint's config."""
        from style_match.backbone.qwen3_vl import feature_dim

        return feature_dim(self.checkpoint.folder) * len(self.pooling)

    @cached_property
    def backbone(self) -> "Qwen3VL":
        """The frozen backbone, loaded."""
        return load_backbone(self.checkpoint, self.cfg.backbone)

    def embed(self, rows: "Sequence[Row] | None" = None, what: str = "features") -> None:
        """Compute what the store lacks of these rows, or of all photos, and say where the features came from."""
        from style_match.backbone.extractor import extract

        with progress.bar("embedding", "photos", show=self.cfg.progress) as advance:
            extraction = extract(
                self.rows if rows is None else rows,
                self.store,
                lambda: self.backbone,
                self.poolings,
                token_budget=self.cfg.backbone.token_budget,
                num_workers=self.cfg.backbone.num_workers,
                max_source_pixels=self.cfg.data.max_source_pixels,
                progress=advance,
            )
        total = extraction.from_store + extraction.computed
        made = f", {extraction.computed} computed in {extraction.seconds:.1f} s" if extraction.computed else ""
        progress.say(f"{what}: {extraction.from_store} of {total} from the store{made} ({self.store.folder})")

    @cached_property
    def features(self) -> "torch.Tensor":
        """(P, D) float32, row i of `folder.photos[i]`, pooled as `cfg.pooling` says."""
        return self._embedded(self.rows, "features")

    @cached_property
    def view_features(self) -> "torch.Tensor":
        """(P * V, D) float32 of `view_rows`, which are P photos with V views each."""
        return self._embedded(self.view_rows, "features of views")

    def _embedded(self, rows: "Sequence[Row]", what: str) -> "torch.Tensor":
        from style_match.backbone.feature_store import CorruptRows

        self.embed(rows, what)
        try:
            return self._stored(rows)
        except CorruptRows as damage:
            progress.say(str(damage))
            self.embed(rows, what)
            return self._stored(rows)

    def _stored(self, rows: "Sequence[Row]") -> "torch.Tensor":
        from style_match.backbone.pooling import joined

        addresses = [row.address for row in rows]
        return joined([self.store.load(addresses, name) for name in self.pooling])

    def encode_online(self, batch: dict[str, Any]) -> "torch.Tensor":
        """(B, D) features of a batch's `rows`, computed on the spot (encode=online).

        Raises:
            UserError: a photo that cannot be read, or was changed since it was checked.
        """
        import torch

        from style_match.backbone.extractor import batch_slices, decode_rows
        from style_match.backbone.pooling import joined

        rows = batch["rows"]
        tokens = [self.backbone.num_tokens(row.prompt, row.width, row.height) for row in rows]
        order = sorted(range(len(tokens)), key=lambda i: -tokens[i])
        pooled = []
        for chosen in batch_slices([tokens[i] for i in order], self.cfg.backbone.token_budget):
            some = [rows[i] for i in order[chosen]]
            # only now: the photos of a whole gallery would not fit into memory
            images = decode_rows(some, self.cfg.data.max_source_pixels)
            vectors = self.backbone.pooled(images, [row.prompt for row in some], self.pooling)
            pooled.append(joined([vectors[name] for name in self.pooling]))
        features = torch.cat(pooled)
        return torch.empty_like(features).index_copy_(0, torch.tensor(order, device=features.device), features)


def own_poolings() -> dict[str, Callable]:
    """This package's poolings."""
    from style_match.backbone import pooling

    return {name: getattr(pooling, name) for name in ("eos", "mean", "mean_text", "mean_image")}


def load_backbone(checkpoint: Checkpoint, backbone: DictConfig) -> "Qwen3VL":
    """The frozen Qwen3-VL of a checkpoint folder, with the options of `conf/backbone`."""
    from style_match.backbone.qwen3_vl import Qwen3VL

    options = {name: backbone[name] for name in BACKBONE_OPTIONS}
    return Qwen3VL(folder=checkpoint.folder, **options)


class TextInputs(Inputs):
    """Texts through the backbone of a run's (or a matcher's) inputs, each alone in a prompt.

    Args:
        inputs: whose backbone and store folder are used.
        text: a group of `conf/text`.
        pooling: names of this package's poolings that are joined; None for `text.pooling`.
    """

    def __init__(self, inputs: Inputs, text: DictConfig, *, pooling: Sequence[str] | None = None):
        super().__init__(inputs.cfg)
        self.base, self.text = inputs, text
        self.cfg = OmegaConf.merge(inputs.cfg, {"prompt": {"image": False, "metadata": False}})  # type: ignore[assignment]
        self.names = tuple(pooling or text.pooling)

    @cached_property
    def poolings(self) -> dict[str, Callable]:
        return {name: each for name, each in own_poolings().items() if name != "mean_image"}

    @cached_property
    def pooling(self) -> dict[str, Callable]:
        return {name: self.poolings[name] for name in self.names}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return self.base.checkpoint

    @cached_property
    def backbone(self) -> "Qwen3VL":
        return self.base.backbone

    def prompt(self, text: str) -> str:
        """The prompt that holds one text; UserError where a control token stands in it."""
        return text_prompt(text, self.text)

    def of(self, texts: Sequence[str], owners: Sequence[str], what: str) -> "Tensor":
        """(N, D) float32 features of texts, from the store; `owners` (N,) are `owner_of` the profile of each."""
        from style_match.backbone.extractor import Row

        prompts = map(self.prompt, texts)
        rows = [
            Row(row_address(None, DECODE_POLICY, prompt), None, prompt, 0, 0, owner=owner)
            for prompt, owner in zip(prompts, owners, strict=True)
        ]
        return self._embedded(rows, what)


def text_prompt(text: str, options: DictConfig) -> str:
    """A text in the prompt of `conf/text`; line ends and runs of spaces become one space.

    Raises:
        UserError: a control token stands in it.
    """
    line = " ".join(text.split())
    refuse_control_tokens(line, f"The text {line!r}")
    return render(
        image=False, metadata=None, system=options.system, instruction=line, template=options.template, leave_out=()
    )
