"""Photos through the frozen backbone: `extract` against its forward pass, a user's loop and sentence-transformers.

The time of ours is from JPEG files to the written shards of an empty feature store; loading a model is never counted.
"""

import hashlib
import importlib.util
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from extraction_flops import model_flops
from measure import ROOT
from omegaconf import OmegaConf
from PIL import Image

from style_match.backbone import pooling
from style_match.backbone.extractor import Row, batch_slices, decode_rows, extract
from style_match.backbone.feature_key import row_address
from style_match.backbone.feature_store import FeatureStore
from style_match.backbone.qwen3_vl import Qwen3VL
from style_match.data.images import DECODE_POLICY
from style_match.data.prompt import render_all
from style_match.synthetic.dataset import style_profiles
from style_match.synthetic.figures import render
from style_match.synthetic.world import WorldParams
from style_match.utils import progress

POOLINGS = {name: getattr(pooling, name) for name in ("eos", "mean", "mean_text", "mean_image")}
OURS, LIMIT = "extract, files to stored features", "its forward and poolings alone"
Ways = dict[str, Callable[[], object]]


def write_photos(folder: Path, num: int, options: dict[str, Any]) -> list[Row]:
    """Write JPEGs of drawn people, enlarged to the sizes of photos, with noise; return their rows.

    The first photos are the same for every `num`.
    """
    folder.mkdir()
    world = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "data" / "demo_couples.yaml").world)
    drawn = style_profiles(world_seed=options["seed"], num_photos=num, params=WorldParams(**world))
    prompt = OmegaConf.load(ROOT / "conf" / "prompt" / "image.yaml")
    rows = []
    for number, profile in enumerate(drawn):
        rng = np.random.default_rng((options["seed"], number))
        longer = round(float(np.exp(rng.uniform(*np.log(options["sides_px"])))))
        shape = options["shapes"][rng.integers(len(options["shapes"]))]
        width, height = (longer, round(longer / shape)) if shape >= 1 else (round(longer * shape), longer)
        small = render(profile.look, options["drawn_px"])
        large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        noise = rng.standard_normal(large.shape, np.float32) * options["noise"]
        path = folder / f"{number:04d}.jpg"
        Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(path, quality=options["jpeg_quality"])
        text = render_all([path.name], {}, prompt=prompt)[0]
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(Row(row_address(sha256, DECODE_POLICY, text), path, text, width, height, owner=sha256))
    return rows


class Bench:
    """Our backbone; each method is one way to features.

    Args:
        folder: Folder of a checkpoint.
        scratch: Folder for feature stores.
    """

    def __init__(self, folder: Path, scratch: Path, options: dict[str, Any]):
        self.folder, self.scratch, self.options = folder, scratch, options
        self.cfg = OmegaConf.load(ROOT / "conf" / "backbone" / "qwen3_vl_2b.yaml")
        self.max_source_pixels = OmegaConf.load(ROOT / "conf" / "data" / "couples.yaml").max_source_pixels
        self.backbone = self.load()

    def load(self, **other: Any) -> Qwen3VL:
        names = ("dtype", "attention", "fused_patch_embedding", "image_backend", "min_pixels", "max_pixels", "layer")
        options = {name: self.cfg[name] for name in names}
        options |= {name: self.options[name] for name in ("device", "max_pixels")} | other
        return Qwen3VL(folder=self.folder, **options)

    def extract(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Pooling -> (N, D) as the store returns it, from files."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            store = FeatureStore(Path(folder), {"of": "benchmark"}, shard_rows=256)
            extract(
                rows,
                store,
                lambda: self.backbone,
                POOLINGS,
                token_budget=self.cfg.token_budget,
                num_workers=self.cfg.num_workers,
                max_source_pixels=self.max_source_pixels,
                progress=lambda done, total: None,
            )
            return {name: store.load([row.address for row in rows], name) for name in POOLINGS}

    def lengths(self, rows: Sequence[Row]) -> list[int]:
        """Return the tokens of each row."""
        return [self.backbone.num_tokens(row.prompt, row.width, row.height) for row in rows]

    def ready(self, rows: Sequence[Row]) -> tuple[list[int], list[dict[str, torch.Tensor]]]:
        """Return the order in which `extract` takes rows, and the inputs of its batches on the device."""
        lengths = self.lengths(rows)
        order = sorted(range(len(rows)), key=lambda i: -lengths[i])
        ordered = [rows[i] for i in order]
        batches = []
        for batch in batch_slices([lengths[i] for i in order], self.cfg.token_budget):
            images = decode_rows(ordered[batch], self.max_source_pixels)
            inputs = self.backbone.preprocess(images, [row.prompt for row in ordered[batch]])
            batches.append({name: tensor.to(self.backbone.device) for name, tensor in inputs.items()})
        return order, batches

    def bare(self, batches: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Forward pass and poolings only."""
        pooled = [self.backbone.pool(inputs, POOLINGS) for inputs in batches]
        return {name: torch.cat([vectors[name] for vectors in pooled]).cpu() for name in POOLINGS}

    def alternate(self, ways: Ways, what: str) -> dict[str, list[float]]:
        """Return the seconds of each way, the work of the device included."""

        def synced(way: Callable[[], object]) -> None:
            way()
            if self.backbone.device.type == "cuda":
                torch.cuda.synchronize(self.backbone.device)

        timed = {name: lambda way=way: synced(way) for name, way in ways.items()}
        return measure.alternate(timed, repetitions=self.options["repetitions"], what=what)


class Rivals:
    """The ways of others, if they are installed."""

    def __init__(self, bench: Bench):
        from extraction_rivals import NEWLINE, Loop, SentenceTransformers

        given = (bench.folder, bench.backbone.dtype, bench.backbone.device, bench.options["max_pixels"])
        self.bench, self.loop, self.sentences = bench, Loop(*given), SentenceTransformers(*given)
        self.newline = NEWLINE

    def check(self, results: measure.Results, rows: list[Row], ours: torch.Tensor, at_most: float) -> None:
        """Check that every way gives the same mean over last hidden states."""
        images = decode_rows(rows, self.bench.max_source_pixels)
        # the resizing of torchvision, which the others use, differs from that of Pillow
        other = self.bench.load(image_backend="torchvision")

        def mean(ending: str) -> torch.Tensor:
            return other.pooled(images, [row.prompt + ending for row in rows], {"mean": pooling.mean})["mean"].cpu()

        for what, theirs, own in (
            ("mean: extract and the loop, pil", self.loop(rows, backend="pil"), ours),
            ("mean: ours and the loop, torchvision", self.loop(rows), mean("")),
            ("mean: ours and the loop without logits, torchvision", self.loop(rows, logits=False), mean("")),
            ("mean: ours and sentence-transformers, torchvision", self.sentences(rows, len(rows)), mean(self.newline)),
        ):
            results.check(what, difference(theirs, own), at_most)

    def ways(self, rows: list[Row]) -> Ways:
        return {
            "model card's loop, a photo at a time": lambda: self.loop(rows),
            "the same loop without logits": lambda: self.loop(rows, logits=False),
            "sentence-transformers' encode": lambda: self.sentences(rows, self.bench.options["rival_batch_size"]),
        }


def measured(results: measure.Results, options: dict[str, Any]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="extraction-"))
    try:
        folder = Path(options["checkpoint"]) if options["checkpoint"] else scratch / "checkpoint"
        if not options["checkpoint"]:
            measure.write_checkpoint(folder, dtype=torch.bfloat16, **options["sizes"])
        rows = write_photos(scratch / "photos", max(options["photos"]), options)
        bench, rivals = Bench(folder, scratch, options), None
        if all(importlib.util.find_spec(name) for name in ("sentence_transformers", "torchvision")):
            rivals = Rivals(bench)
        else:
            progress.say("  sentence-transformers or torchvision is not installed; `make bench` installs them")
        check_equal(results, bench, rivals, rows[: options["photos"][0]])
        compare(results, bench, rivals, rows)
        copies(results, bench, rows[: options["photos"][1]])
    finally:
        shutil.rmtree(scratch)


def check_equal(results: measure.Results, bench: Bench, rivals: Rivals | None, rows: list[Row]) -> None:
    at_most = bench.options["tolerance"]["bf16" if bench.backbone.dtype is torch.bfloat16 else "fp32"]
    ours = bench.extract(rows)
    order, batches = bench.ready(rows)
    for name, vectors in bench.bare(batches).items():
        results.check(f"{name}: extract and bare forward", difference(ours[name][order], vectors), at_most)
    if rivals:
        rivals.check(results, rows, ours["mean"], at_most)


def difference(some: torch.Tensor, others: torch.Tensor) -> float:
    """Return the largest length of a row's difference, relative to the row's length."""
    return ((some - others).norm(dim=1) / others.norm(dim=1)).max().item()


def compare(results: measure.Results, bench: Bench, rivals: Rivals | None, rows: list[Row]) -> None:
    """Compare ours with its forward pass for every number of photos, with the others for the largest."""
    sizes, medians = bench.options["photos"], []
    for num in sizes:
        some, size = rows[:num], f"{num} photos"
        _, batches = bench.ready(some)
        ways: Ways = {OURS: lambda some=some: bench.extract(some), LIMIT: lambda batches=batches: bench.bare(batches)}
        others = rivals.ways(rows) if rivals and num == sizes[-1] else {}
        seconds = bench.alternate(ways | others, size)
        results.compare(OURS, LIMIT, seconds[OURS], seconds[LIMIT], size=size, goal=bench.options["goal"])
        medians.append(statistics.median(seconds[OURS]))
    for way in others:
        results.compare(OURS, way, seconds[OURS], seconds[way], size=size)
    if others:
        loop, without, _ = others
        what = "the loop without vocabulary logits and without every layer's states"
        results.compare(what, "the loop", seconds[without], seconds[loop], size=size)
    results.grow(OURS, "photos", sizes, medians)

    lengths, model = bench.lengths(rows), bench.backbone.model
    results.fact("parameters", sum(weights.numel() for weights in model.parameters()), "")
    results.fact("extract", sum(lengths) / medians[-1], "tokens/s", size=size)
    prepared = [cpu_seconds(lambda row=row: bench.ready([row])) for row in rows]
    what = "photo read, decoded, resized and cut into patches, CPU time"
    results.fact(f"{what}, median", 1e3 * statistics.median(prepared), "ms", size=size)
    results.fact(f"{what}, greatest", 1e3 * max(prepared), "ms", size=size)
    patches = [int(grid.prod()) for inputs in batches for grid in inputs["image_grid_thw"].cpu()]
    flops = sum(model_flops(model.config, *each) for each in zip(patches, sorted(lengths, reverse=True), strict=True))
    results.fact("extract", flops / medians[-1] / 1e9, "GFLOP/s of the model", size=size)
    ways = {"extract": lambda: bench.extract(rows), "forward alone": lambda: bench.bare(batches)}
    for name, way in (ways | ({"loop": lambda: rivals.loop(rows)} if rivals else {})).items():
        peak = measure.peak_memory(way, bench.backbone.device)
        results.fact(f"{name}: peak memory above the loaded models", peak / 1e6, "MB", size=size)


def cpu_seconds(way: Callable[[], object]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


def copies(results: measure.Results, bench: Bench, rows: list[Row]) -> None:
    """Compare every photo twice with every photo once: copies are found and not computed."""
    copied = [shutil.copy(row.path, row.path.with_name(f"copy-{row.path.name}")) for row in rows]
    twice = [*rows, *(replace(row, path=path) for row, path in zip(rows, copied, strict=True))]
    what, against = "extract, every photo there twice", "every photo once"
    seconds = bench.alternate({what: lambda: bench.extract(twice), against: lambda: bench.extract(rows)}, "copies")
    results.compare(what, against, seconds[what], seconds[against], size=f"{len(rows)} photos")


if __name__ == "__main__":
    measure.main("extraction", "photos through the frozen backbone, from files to stored features", measured)
