"""The photos and the checkpoint that extraction is measured with, made on the spot and always the same."""

import hashlib
import runpy
from pathlib import Path
from typing import Any

import numpy as np
from measure import RANDOM_CHECKPOINT, ROOT
from omegaconf import OmegaConf

from style_match.backbone.extractor import Row
from style_match.backbone.feature_key import row_address
from style_match.data.images import DECODE_POLICY
from style_match.data.prompt import render_all
from style_match.synthetic.dataset import style_profiles
from style_match.synthetic.figures import render
from style_match.synthetic.world import WorldParams


def write_checkpoint(folder: Path, sizes: dict[str, Any], dtype: str) -> None:
    """A Qwen3-VL with random weights in the hub's format, from the sizes in options.yaml."""
    import torch

    make = runpy.run_path(str(RANDOM_CHECKPOINT))["make"]
    make(folder, text=sizes["text"], vision=sizes["vision"], std=sizes["std"], dtype=getattr(torch, dtype))


def write_photos(folder: Path, num: int, options: dict[str, Any]) -> list[Row]:
    """JPEGs of drawn people, enlarged to the sides of a camera's or a screen's photos, with noise, and their rows.

    Sizes and aspect ratios are drawn anew for each photo; the first photos are the same however many are asked for.
    """
    from PIL import Image

    world = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "data" / "demo_couples.yaml").world)
    drawn = style_profiles(world_seed=options["seed"], num_photos=num, params=WorldParams(**world))
    prompt = OmegaConf.load(ROOT / "conf" / "prompt" / "image.yaml")
    rows = []
    for number, profile in enumerate(drawn):
        rng = np.random.default_rng((options["seed"], number))
        width, height = photo_size(rng, options)
        small = render(profile.look, options["drawn_px"])
        large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        noise = rng.standard_normal(large.shape, np.float32) * options["noise"]
        path = folder / f"{number:04d}.jpg"
        Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(path, quality=options["jpeg_quality"])
        text = render_all([path.name], {}, prompt=prompt)[0]
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(Row(row_address(sha256, DECODE_POLICY, text), path, text, width, height, owner=sha256))
    return rows


def photo_size(rng: np.random.Generator, options: dict[str, Any]) -> tuple[int, int]:
    """Width and height in pixels: the longer side uniform on a logarithmic scale, and one of the usual shapes."""
    least, most = np.log(options["sides_px"])
    longer = round(float(np.exp(rng.uniform(least, most))))
    shape = options["shapes"][rng.integers(len(options["shapes"]))]
    return (longer, round(longer / shape)) if shape >= 1 else (round(longer * shape), longer)
