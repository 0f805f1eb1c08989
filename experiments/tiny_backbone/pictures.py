"""The pictures of the pretraining, drawn once into a scratch folder."""

import io
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from style_match.synthetic.figures import encode_jpeg, render
from style_match.synthetic.world import TASTE_DIM, Domain, Look, WorldParams, draw_look, stream

CHUNK = 500


def pretraining_look(index: int, recipe: dict) -> Look:
    """Look number `index` of the pretraining world; indices from `num_train` on are held out."""
    rng = stream(Domain.PRETRAINING, recipe["seed"], index)
    taste = rng.normal(size=TASTE_DIM)
    quality = str(rng.choice(list(recipe["quality"]), p=list(recipe["quality"].values())))
    return draw_look(taste, "fm"[index % 2], rng, WorldParams(**recipe["world"]), quality=quality)


def draw_pictures(scratch: Path, recipe: dict, num_workers: int) -> np.ndarray:
    """Pictures as uint8 (N, size, size, 3), training ones first; drawn unless `scratch` has them of the same recipe."""
    path, stamp = scratch / "pictures.npy", scratch / "pictures.json"
    if not (stamp.exists() and json.loads(stamp.read_text()) == recipe):
        total = recipe["num_train"] + recipe["num_held_out"]
        chunks = [range(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
        with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
            drawn = list(pool.map(_draw_chunk, chunks, [recipe] * len(chunks)))
        np.save(path, np.concatenate(drawn))
        stamp.write_text(json.dumps(recipe))
    return np.load(path, mmap_mode="r")


def _draw_chunk(indices: range, recipe: dict) -> np.ndarray:
    pictures = []
    for index in indices:
        photo = encode_jpeg(render(pretraining_look(index, recipe), recipe["size_px"]))
        pictures.append(np.asarray(Image.open(io.BytesIO(photo)).convert("RGB")))
    return np.stack(pictures)


def patches(pictures: np.ndarray, vision: dict) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B * patches, 3 * temporal * patch * patch), as the image processor orders them."""
    patch, merge, frames = vision["patch_size"], vision["spatial_merge_size"], vision["temporal_patch_size"]
    num_pictures, height, width, _ = pictures.shape
    rows, columns = height // patch, width // patch
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    x = x[:, None].expand(num_pictures, frames, 3, height, width)
    x = x.reshape(num_pictures, frames, 3, rows // merge, merge, patch, columns // merge, merge, patch)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(num_pictures * rows * columns, -1)
