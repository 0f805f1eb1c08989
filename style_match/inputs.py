"""From a config to what a head is trained on: dataset folder, split, one feature row a photo."""

import hashlib
import json
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from style_match import progress
from style_match.data.fingerprint import Fingerprints
from style_match.data.folder import DatasetFolder, Photo, check_photos, read_folder
from style_match.data.image import DECODE_POLICY, decode
from style_match.data.split import Split, make_split
from style_match.features.batching import batch_slices
from style_match.features.extract import Row, extract
from style_match.features.identity import Checkpoint, identity, resolve_checkpoint, row_address
from style_match.features.store import CorruptRows, FeatureStore
from style_match.prompt import render_all

if TYPE_CHECKING:
    from style_match.backbone.qwen3_vl import Qwen3VL

BACKBONE_OPTIONS = (
    "dtype",
    "attention",
    "fused_patch_embedding",
    "image_backend",
    "min_pixels",
    "max_pixels",
    "device",
    "layer",
)
# Options of demo data that change nothing in the folder that is drawn.
NOT_DRAWN = ("root", "image_root", "num_workers", "on_bad_image", "max_source_pixels")


def cache_root() -> Path:
    """`$STYLE_MATCH_CACHE`, or `~/.cache/style_match`."""
    return Path(os.environ.get("STYLE_MATCH_CACHE") or "~/.cache/style_match").expanduser()


class Inputs:
    """Reads, checks, splits and embeds what `cfg.data`, `cfg.backbone`, `cfg.prompt` and `cfg.pooling` name.

    Mistakes in the data are answered before the backbone is loaded. Each part is made when first asked for.

    Raises:
        UserError: any fault of the dataset folder, the photos, the checkpoint or the store, named with its remedy.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")

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
        return folder

    @cached_property
    def split(self) -> Split:
        """Who is in which split, made once for a dataset folder, `split.seed` and fractions."""
        split = self.cfg.split
        store = Path(split.store) if split.store else None
        return make_split(self.folder, seed=split.seed, fractions=tuple(split.fractions), store=store)

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
    def rows(self) -> tuple[Row, ...]:
        """Each photo's row of the feature store; photos that share bytes and prompt share the address."""
        return tuple(self._row(photo, prompt) for photo, prompt in zip(self.folder.photos, self.prompts, strict=True))

    def _row(self, photo: Photo, prompt: str) -> Row:
        if not self.cfg.prompt.image:
            return Row(row_address(None, DECODE_POLICY, prompt), None, prompt, 0, 0)
        facts = self.fingerprints.photo(photo.path, max_source_pixels=self.cfg.data.max_source_pixels)
        return Row(row_address(facts.sha256, DECODE_POLICY, prompt), photo.path, prompt, facts.width, facts.height)

    @cached_property
    def poolings(self) -> dict[str, Callable]:
        """Every pooling the store keeps for this prompt, and the one asked for."""
        from style_match import pooling

        named = {name: getattr(pooling, name) for name in ("eos", "mean", "mean_text")}
        if self.cfg.prompt.image:
            named["mean_image"] = pooling.mean_image
        return named | self.pooling

    @cached_property
    def pooling(self) -> dict[str, Callable]:
        """The one asked for, by its name."""
        return {self.cfg.pooling.name: instantiate(self.cfg.pooling.function)}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        backbone = self.cfg.backbone
        return resolve_checkpoint(backbone.path, backbone.revision, download=True)

    @cached_property
    def store(self) -> FeatureStore:
        from style_match.backbone.qwen3_vl import resolve_device

        features = self.cfg.features
        root = Path(features.root).expanduser() if features.root else cache_root() / "features"
        device = resolve_device(self.cfg.backbone.device).type
        key = identity(self.checkpoint, self.cfg.backbone, tuple(self.poolings), device, self.fingerprints)
        return FeatureStore(root, key, shard_rows=features.shard_rows)

    @cached_property
    def backbone(self) -> "Qwen3VL":
        """The frozen backbone, loaded."""
        return load_backbone(self.checkpoint, self.cfg.backbone)

    def embed(self) -> None:
        """Compute the rows the store lacks and say where the features came from."""
        with progress.bar("embedding", "photos", show=self.cfg.progress) as advance:
            extraction = extract(
                self.rows,
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
        progress.say(f"features: {extraction.from_store} of {total} from the store{made} ({self.store.folder})")

    @cached_property
    def features(self) -> torch.Tensor:
        """(P, D) float32, row i of `folder.photos[i]`, pooled as `cfg.pooling` says."""
        addresses = [row.address for row in self.rows]
        self.embed()
        try:
            return self.store.load(addresses, self.cfg.pooling.name)
        except CorruptRows as damage:
            progress.say(str(damage))
            self.embed()
            return self.store.load(addresses, self.cfg.pooling.name)

    def encode_online(self, batch: dict[str, Any]) -> torch.Tensor:
        """(B, D) features of a batch with lists `paths` and `prompts`, computed on the spot (encode=online)."""
        images = [
            decode(path, max_source_pixels=self.cfg.data.max_source_pixels) if path else None for path in batch["paths"]
        ]
        sizes = [image.size if image else (0, 0) for image in images]
        tokens = [self.backbone.num_tokens(p, *size) for p, size in zip(batch["prompts"], sizes, strict=True)]
        order = sorted(range(len(tokens)), key=lambda i: -tokens[i])
        pooled = []
        for chosen in batch_slices([tokens[i] for i in order], self.cfg.backbone.token_budget):
            some = order[chosen]
            some_images, some_prompts = [images[i] for i in some], [batch["prompts"][i] for i in some]
            pooled.append(self.backbone.pooled(some_images, some_prompts, self.pooling)[self.cfg.pooling.name])
        features = torch.cat(pooled)
        return torch.empty_like(features).index_copy_(0, torch.tensor(order, device=features.device), features)


def load_backbone(checkpoint: Checkpoint, backbone: DictConfig) -> "Qwen3VL":
    """The frozen Qwen3-VL of a checkpoint folder, with the options of `conf/backbone`."""
    from style_match.backbone.qwen3_vl import Qwen3VL

    options = {name: backbone[name] for name in BACKBONE_OPTIONS}
    return Qwen3VL(folder=checkpoint.folder, **options)


def draw_demo(data: DictConfig, *, show: bool) -> Path:
    """Draw the synthetic dataset folder that `cfg.data` describes, unless it is there already.

    Returns:
        its folder: `data.root`, or one in the cache named after the world seed and all else that is drawn.
    """
    from style_match.demo.dataset import write_couples, write_styles
    from style_match.demo.world import WorldParams

    drawing = {name: value for name, value in data.items() if name not in NOT_DRAWN}
    digest = hashlib.sha256(json.dumps(drawing, sort_keys=True, default=dict).encode()).hexdigest()[:8]
    own = cache_root() / "demo" / f"{data.name}-{data.world_seed}-{digest}"
    root = Path(data.root).expanduser() if data.root else own
    options = dict(
        world_seed=data.world_seed, size_px=data.size_px, params=WorldParams(**data.world), num_workers=data.num_workers
    )
    with progress.bar("drawing synthetic figures", "photos", show=show) as advance:
        if data.task == "couple":
            write_couples(root, num_couples=data.num_couples, progress=advance, **options)
        else:
            write_styles(root, num_photos=data.num_photos, progress=advance, **options)
    return root
