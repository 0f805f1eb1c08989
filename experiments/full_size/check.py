"""Check the full-size backbone: Qwen3-VL-2B's architecture with random weights, 8 photos, on a CPU.

    python experiments/full_size/check.py --scratch FOLDER

Writes a random checkpoint in bf16 (4.3 GB) into FOLDER, loads it with the code and the options of
`backbone=qwen3_vl_2b`, embeds the photos, prints time and memory, and removes the checkpoint. Parameters, memory, token
counts and time are those of the real weights; random weights say nothing about quality.
"""

import argparse
import multiprocessing
import resource
import runpy
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NUM_PHOTOS = 8
SIZES = [(1024, 768), (300, 200), (640, 640), (448, 448), (3000, 2000), (768, 1024), (720, 1280), (500, 333)]
# The published config of Qwen/Qwen3-VL-2B-Instruct.
FULL_TEXT = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "mrope_section": [24, 20, 20],
}
FULL_VISION = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "deepstack_visual_indexes": [5, 11, 17],
}
FULL_PARAMETERS = 2_127_532_032


def write_checkpoint(folder: Path, scale: str) -> None:
    """Write the random checkpoint; `small` is that of the tests."""
    import torch

    make = runpy.run_path(str(ROOT / "tests" / "backbone" / "random_checkpoint.py"))["make"]
    sizes: dict[str, Any] = {"text": FULL_TEXT, "vision": FULL_VISION, "std": 0.02} if scale == "full" else {}
    make(folder, dtype=torch.bfloat16, **sizes)


def check(folder: Path, scale: str, batch_size: int) -> None:
    """Load the checkpoint, embed the photos and print time and memory."""
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from PIL import Image

    from style_match.backbone import pooling
    from style_match.backbone.qwen3_vl import Qwen3VL
    from style_match.data.prompt import render_all

    poolings = {name: getattr(pooling, name) for name in ("eos", "mean", "mean_image", "mean_text")}
    cfg = OmegaConf.load(ROOT / "conf" / "backbone" / "qwen3_vl_2b.yaml")
    names = ("attention", "fused_patch_embedding", "image_backend", "min_pixels", "max_pixels", "layer")
    began = time.perf_counter()
    backbone = Qwen3VL(folder=folder, dtype="bf16", device="cpu", **{name: cfg[name] for name in names})
    report("loading", f"{time.perf_counter() - began:.1f} s")
    num_parameters = sum(parameter.numel() for parameter in backbone.model.parameters())
    report("parameters", f"{num_parameters:,}")
    report("feature size", backbone.dim)
    report("peak memory after loading", peak_memory())

    drawn = np.random.default_rng(0)
    photos = [Image.fromarray(drawn.integers(0, 256, (height, width, 3), np.uint8)) for width, height in SIZES]
    images = [f"{i}.jpg" for i in range(NUM_PHOTOS)]
    prompt = OmegaConf.load(ROOT / "conf" / "prompt" / "image_metadata.yaml")
    prompts = render_all(images, {image: {"caption": f"synthetic photo {image}"} for image in images}, prompt=prompt)
    for (width, height), text in zip(SIZES, prompts, strict=True):
        report(f"tokens of {width} x {height}", backbone.num_tokens(text, width, height))

    began = time.perf_counter()
    batches = [
        backbone.pooled(photos[i : i + batch_size], prompts[i : i + batch_size], poolings)
        for i in range(0, NUM_PHOTOS, batch_size)
    ]
    seconds = time.perf_counter() - began
    report(f"embedding, batches of {batch_size}", f"{seconds:.1f} s, {seconds / NUM_PHOTOS:.2f} s a photo")
    report("peak memory", peak_memory())

    features = {name: torch.cat([batch[name] for batch in batches]) for name in poolings}
    alone = backbone.pooled(photos[:1], prompts[:1], poolings)
    for name, rows in features.items():
        difference = ((rows[:1] - alone[name]).norm() / alone[name].norm()).item()
        report(f"{name}, batch against single", f"{difference:.1e} (bf16)")
        if rows.shape != (NUM_PHOTOS, backbone.dim) or not rows.isfinite().all() or difference > 0.05:
            raise SystemExit(f"{name}: shape {tuple(rows.shape)}, not finite, or another vector in a batch")
    if scale == "full" and num_parameters != FULL_PARAMETERS:
        raise SystemExit(f"expected {FULL_PARAMETERS:,} parameters")
    print("passed")


def report(what: str, value: object) -> None:
    print(f"{what:<32} {value}", flush=True)


def peak_memory() -> str:
    """Return the largest resident size of this process so far; the kernel counts in kilobytes."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder with 5 GB of free space")
    parser.add_argument("--scale", choices=["full", "small"], default="full", help="small: try this script")
    parser.add_argument("--batch-size", type=int, default=2, help="photos in a forward pass")
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="full_size-", dir=arguments.scratch))
    try:
        began = time.perf_counter()
        # in another process, so that drawing the weights does not count as memory of the backbone
        writer = multiprocessing.get_context("spawn").Process(target=write_checkpoint, args=(folder, arguments.scale))
        writer.start()
        writer.join()
        if writer.exitcode != 0:
            raise SystemExit("the checkpoint could not be written")
        size = sum(path.stat().st_size for path in folder.iterdir())
        report("checkpoint", f"{size / 1e9:.2f} GB, written in {time.perf_counter() - began:.1f} s")
        check(folder, arguments.scale, arguments.batch_size)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
