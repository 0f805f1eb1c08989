"""Drawings for the pretraining, made once by several processes and kept in a scratch folder."""

import io
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from style_match.synthetic.figures import encode_jpeg, render
from style_match.synthetic.world import TASTE_DIM, Domain, Look, WorldParams, draw_look, stream

CHUNK = 250


@dataclass
class Drawings:
    """Looks and their pictures, uint8 (N, side, side, 3); the last `num_held_out` are not trained on."""

    looks: list[Look]
    pictures: np.ndarray
    num_train: int

    def shifted(self, indices: np.ndarray, max_px: int, rng: np.random.Generator) -> np.ndarray:
        """Return pictures that are randomly mirrored and shifted; edges are repeated."""
        side = self.pictures.shape[1]
        rows = np.arange(side)
        batch = np.array(self.pictures[indices])
        for picture in batch:
            if rng.uniform() < 0.5:
                picture[:] = picture[:, ::-1].copy()
            down, right = (np.clip(rows + shift, 0, side - 1) for shift in rng.integers(-max_px, max_px + 1, 2))
            picture[:] = picture[down][:, right]
        return batch


def pretraining_look(index: int, recipe: dict) -> Look:
    """Return look number `index` of the pretraining world."""
    rng = stream(Domain.PRETRAINING, recipe["seed"], index)
    taste = rng.normal(size=TASTE_DIM)
    quality = str(rng.choice(list(recipe["quality"]), p=list(recipe["quality"].values())))
    return draw_look(taste, "fm"[index % 2], rng, WorldParams(**recipe["world"]), quality=quality)


def load_drawings(scratch: Path, recipe: dict, num_workers: int) -> Drawings:
    """Return the drawings of a recipe; draw those that the scratch folder lacks."""
    stamp, num_train = scratch / "pictures.json", recipe["num_train"]
    total = num_train + recipe["num_held_out"]
    looks = [pretraining_look(index, recipe) for index in range(total)]
    if not (stamp.exists() and json.loads(stamp.read_text()) == recipe):
        side = recipe["input_px"]
        pictures = np.lib.format.open_memmap(scratch / "pictures.npy", "w+", np.uint8, (total, side, side, 3))
        chunks = [looks[start : start + CHUNK] for start in range(0, total, CHUNK)]
        with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
            for number, drawn in enumerate(pool.map(_draw, chunks, [recipe] * len(chunks))):
                pictures[number * CHUNK : number * CHUNK + len(drawn)] = drawn
        pictures.flush()
        stamp.write_text(json.dumps(recipe))
    return Drawings(looks, np.load(scratch / "pictures.npy", mmap_mode="r"), num_train)


def _draw(looks: list[Look], recipe: dict) -> np.ndarray:
    return np.stack([read_as_model(encode_jpeg(render(look, recipe["size_px"])), recipe["input_px"]) for look in looks])


def read_as_model(photo: bytes, input_px: int) -> np.ndarray:
    """Return a photo as uint8 (input_px, input_px, 3), resized as the image processor resizes it."""
    return np.asarray(Image.open(io.BytesIO(photo)).convert("RGB").resize((input_px,) * 2, Image.Resampling.BICUBIC))


def patches(pictures: np.ndarray, vision: dict) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B * patches, 3 * temporal * patch * patch), in the order of the image processor."""
    patch, merge, frames = vision["patch_size"], vision["spatial_merge_size"], vision["temporal_patch_size"]
    num_pictures, height, width, _ = pictures.shape
    rows, columns = height // patch, width // patch
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    x = x[:, None].expand(num_pictures, frames, 3, height, width)
    x = x.reshape(num_pictures, frames, 3, rows // merge, merge, patch, columns // merge, merge, patch)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(num_pictures * rows * columns, -1)


def vision_inputs(pictures: np.ndarray, vision: dict) -> dict[str, torch.Tensor]:
    """Return `pixel_values` and `image_grid_thw` of pictures (B, H, W, 3)."""
    rows, columns = (side // vision["patch_size"] for side in pictures.shape[1:3])
    grid = torch.tensor([[1, rows, columns]] * len(pictures))
    return {"pixel_values": patches(pictures, vision), "image_grid_thw": grid}
