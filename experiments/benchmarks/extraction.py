"""Photos through the frozen backbone: `extract` against its limit, a user's loop and sentence-transformers.

What is timed of ours is from JPEG files to written shards of an empty feature store; loading a model is in no time.
"""

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
from extraction_gauge import padded_share, peak_memory, waiting
from extraction_rivals import Loop, SentenceTransformers
from extraction_world import photo_size, write_checkpoint, write_photos
from measure import ROOT
from omegaconf import OmegaConf

from style_match.backbone import pooling
from style_match.backbone.extractor import Row, batch_slices, decode_rows, extract
from style_match.backbone.feature_store import FeatureStore
from style_match.backbone.qwen3_vl import Qwen3VL

POOLINGS = {name: getattr(pooling, name) for name in ("eos", "mean", "mean_text", "mean_image")}
TITLE = "photos through the frozen backbone, from files to stored features"


class Bench:
    """Our backbone, photos and options; each method is one way to features.

    Args:
        folder: of a checkpoint.
        scratch: for feature stores.
    """

    def __init__(self, folder: Path, scratch: Path, options: dict[str, Any]):
        self.options, self.scratch = options, scratch
        self.cfg = OmegaConf.load(ROOT / "conf" / "backbone" / "qwen3_vl_2b.yaml")
        self.most_pixels = OmegaConf.load(ROOT / "conf" / "data" / "couples.yaml").max_source_pixels
        self.load = lambda **other: Qwen3VL(folder=folder, **self._options(**other))
        self.backbone = self.load()

    def _options(self, **other: Any) -> dict[str, Any]:
        names = ("dtype", "attention", "fused_patch_embedding", "image_backend", "min_pixels", "max_pixels", "layer")
        own = {name: self.cfg[name] for name in names}
        return own | {name: self.options[name] for name in ("device", "max_pixels")} | other

    def extract(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Pooling -> (N, D) as the store gives it back, from files."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            store = FeatureStore(Path(folder), {"of": "benchmark"}, shard_rows=256)
            extract(
                rows,
                store,
                lambda: self.backbone,
                POOLINGS,
                token_budget=self.cfg.token_budget,
                num_workers=self.cfg.num_workers,
                max_source_pixels=self.most_pixels,
                progress=lambda done, total: None,
            )
            return {name: store.load([row.address for row in rows], name) for name in POOLINGS}

    def lengths(self, rows: Sequence[Row]) -> list[int]:
        """Tokens of each row."""
        return [self.backbone.num_tokens(row.prompt, row.width, row.height) for row in rows]

    def ready(self, rows: Sequence[Row]) -> tuple[list[int], list[dict[str, torch.Tensor]]]:
        """The order in which `extract` takes rows, and the inputs of its batches on the device."""
        lengths = self.lengths(rows)
        order = sorted(range(len(rows)), key=lambda i: -lengths[i])
        ordered = [rows[i] for i in order]
        batches = []
        for batch in batch_slices([lengths[i] for i in order], self.cfg.token_budget):
            images = decode_rows(ordered[batch], self.most_pixels)
            inputs = self.backbone.preprocess(images, [row.prompt for row in ordered[batch]])
            batches.append({name: tensor.to(self.backbone.device) for name, tensor in inputs.items()})
        return order, batches

    def bare(self, batches: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Forward and poolings alone: the limit."""
        pooled = [self.backbone.pool(inputs, POOLINGS) for inputs in batches]
        return {name: torch.cat([vectors[name] for vectors in pooled]).cpu() for name in POOLINGS}

    def synced(self, way: Callable[[], object]) -> Callable[[], object]:
        """A way that ends when the device has ended."""

        def run() -> object:
            given = way()
            if self.backbone.device.type == "cuda":
                torch.cuda.synchronize(self.backbone.device)
            return given

        return run


def measured(results: measure.Results, options: dict[str, Any]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="extraction-"))
    try:
        folder = Path(options["checkpoint"]) if options["checkpoint"] else scratch / "checkpoint"
        if not options["checkpoint"]:
            write_checkpoint(folder, options["sizes"], "bfloat16")
        (scratch / "photos").mkdir()
        rows = write_photos(scratch / "photos", max(options["photos"]), options)
        bench = Bench(folder, scratch, options)
        device, dtype = bench.backbone.device, bench.backbone.dtype
        loop = Loop(folder, dtype, device, options["max_pixels"])
        sentences = SentenceTransformers(folder, dtype, device, options["max_pixels"])
        check_equal(results, bench, loop, sentences, rows[: options["photos"][0]])
        compare(results, bench, loop, sentences, rows)
        copies(results, bench, rows[: options["photos"][1]])
        padding(results, bench)
    finally:
        shutil.rmtree(scratch)


def check_equal(
    results: measure.Results, bench: Bench, loop: Loop, sentences: SentenceTransformers, rows: list[Row]
) -> None:
    """The mean over last hidden states is one and the same, whichever way."""
    at_most = bench.options["tolerance"]["bf16" if bench.backbone.dtype is torch.bfloat16 else "fp32"]
    ours = bench.extract(rows)
    order, batches = bench.ready(rows)
    bare = bench.bare(batches)
    for name, vectors in bare.items():
        results.check(f"{name}: extract and bare forward", difference(ours[name][order], vectors), at_most)
    results.check("mean: extract and the loop, pil", difference(ours["mean"], loop.with_backend("pil")(rows)), at_most)
    # the loop's own image processor and sentence-transformers' are torchvision's, whose resizing differs from Pillow's
    other = bench.load(image_backend="torchvision")
    images = decode_rows(rows, bench.most_pixels)
    mean = {"mean": pooling.mean}
    vectors = other.pooled(images, [row.prompt for row in rows], mean)["mean"].cpu()
    results.check("mean: ours and the loop, torchvision", difference(loop(rows), vectors), at_most)
    results.check(
        "mean: ours and the loop without logits, torchvision", difference(loop(rows, logits=False), vectors), at_most
    )
    vectors = other.pooled(images, [row.prompt + sentences.ENDING for row in rows], mean)["mean"].cpu()
    theirs = sentences(rows, len(rows))
    results.check("mean: ours and sentence-transformers, torchvision", difference(theirs, vectors), at_most)


def difference(some: torch.Tensor, others: torch.Tensor) -> float:
    """The greatest length of a row's difference, relative to the row's."""
    return ((some - others).norm(dim=1) / others.norm(dim=1)).max().item()


def compare(
    results: measure.Results, bench: Bench, loop: Loop, sentences: SentenceTransformers, rows: list[Row]
) -> None:
    """Ours against its limit at every number of photos, against the others at the greatest."""
    sizes, medians = bench.options["photos"], []
    for num in sizes:
        some = rows[:num]
        _, batches = bench.ready(some)
        ways: dict[str, Callable[[], object]] = {
            "ours": bench.synced(lambda some=some: bench.extract(some)),
            "bare": bench.synced(lambda batches=batches: bench.bare(batches)),
        }
        if num == sizes[-1]:
            ways["loop"] = bench.synced(lambda: loop(rows))
            ways["loop without logits"] = bench.synced(lambda: loop(rows, logits=False))
            ways["sentence-transformers"] = bench.synced(lambda: sentences(rows, bench.options["rival_batch_size"]))
        seconds = measure.alternate(ways, repetitions=bench.options["repetitions"], what=f"{num} photos")
        size, ours = f"{num} photos", "extract, files to stored features"
        limit = "its forward and poolings alone"
        results.compare(ours, limit, seconds["ours"], seconds["bare"], size=size, goal=bench.options["goal"])
        medians.append(statistics.median(seconds["ours"]))
    for way, told in (
        ("loop", "model card's loop, a photo at a time"),
        ("loop without logits", "the same loop without logits"),
        ("sentence-transformers", "sentence-transformers' encode"),
    ):
        results.compare(ours, told, seconds["ours"], seconds[way], size=size)
    without = "the loop without vocabulary logits and without every layer's states"
    results.compare(without, "the loop", seconds["loop without logits"], seconds["loop"], size=size)
    loops, saved = sum(seconds["loop"]), sum(seconds["loop"]) - sum(seconds["loop without logits"])
    results.fact("time of the loop that ours saves", 100 * (1 - sum(seconds["ours"]) / loops), "%", size=size)
    results.fact("time of the loop that leaving out the logits saves", 100 * saved / loops, "%", size=size)
    results.grow("extract, files to stored features", "photos", sizes, medians)
    facts(results, bench, rows, medians[-1], batches, loop)


def facts(
    results: measure.Results,
    bench: Bench,
    rows: list[Row],
    seconds: float,
    batches: Sequence[dict[str, torch.Tensor]],
    loop: Loop,
) -> None:
    size, lengths = f"{len(rows)} photos", bench.lengths(rows)
    model = bench.backbone.model
    results.fact("parameters", sum(weights.numel() for weights in model.parameters()), "")
    results.fact("extract", sum(lengths) / seconds, "tokens/s", size=size)
    prepared = [cpu_seconds(lambda row=row: bench.ready([row])) for row in rows]
    what = "photo read, decoded, resized and cut into patches, CPU time"
    results.fact(f"{what}, median", 1e3 * statistics.median(prepared), "ms", size=size)
    results.fact(f"{what}, greatest", 1e3 * max(prepared), "ms", size=size)
    patches = [int(grid.prod()) for inputs in batches for grid in inputs["image_grid_thw"].cpu()]
    in_order = sorted(lengths, reverse=True)
    flops = sum(model_flops(model.config, *each) for each in zip(patches, in_order, strict=True))
    results.fact("extract", flops / seconds / 1e9, "GFLOP/s of the model", size=size)
    with waiting() as waited:
        began = time.perf_counter()
        bench.synced(lambda: bench.extract(rows))()
        total = time.perf_counter() - began
    results.fact("extract: time in which the device waited for photos", 100 * sum(waited) / total, "%", size=size)
    ways = {
        "extract": lambda: bench.extract(rows),
        "forward alone": lambda: bench.bare(batches),
        "loop": lambda: loop(rows),
    }
    for name, way in ways.items():
        peak = peak_memory(bench.synced(way), bench.backbone.device)
        results.fact(f"{name}: peak memory above the loaded models", peak / 1e6, "MB", size=size)


def cpu_seconds(way: Callable[[], object]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


def copies(results: measure.Results, bench: Bench, rows: list[Row]) -> None:
    """Every photo there twice: copies are found and not computed."""
    twice = [*rows, *(replace(row, path=copied(row.path)) for row in rows)]
    ways = {"twice": bench.synced(lambda: bench.extract(twice)), "once": bench.synced(lambda: bench.extract(rows))}
    seconds = measure.alternate(ways, repetitions=bench.options["repetitions"], what="copies")
    size = f"{len(rows)} photos"
    results.compare(
        "extract, every photo there twice", "every photo once", seconds["twice"], seconds["once"], size=size
    )


def copied(path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name(f"copy-{path.name}")))


def padding(results: measure.Results, bench: Bench) -> None:
    """Whether packing photos into one sequence would pay: positions lost to padding, counted, not timed."""
    about = bench.options["counted"]
    rng = np.random.default_rng(bench.options["seed"])
    lengths = []
    for _ in range(about["photos"]):
        least, most = about["text_tokens"]
        image = bench.backbone.num_tokens(about["prompt"], *photo_size(rng, bench.options))
        lengths.append(image + int(rng.integers(least, most + 1)))
    size = f"{about['photos']} photos, mixed shapes and texts"
    results.fact("padding in extract's batches", 100 * padded_share(lengths, bench.cfg.token_budget), "%", size=size)
    shuffled = [lengths[i] for i in rng.permutation(len(lengths))]
    num = max(1, bench.cfg.token_budget // max(lengths))
    padded = sum(max(shuffled[i : i + num]) * len(shuffled[i : i + num]) for i in range(0, len(shuffled), num))
    results.fact(f"padding in batches of {num} as they come", 100 * (1 - sum(lengths) / padded), "%", size=size)


if __name__ == "__main__":
    measure.main("extraction", TITLE, measured)
