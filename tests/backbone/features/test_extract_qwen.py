"""The same with a real, if random and tiny, Qwen3-VL: what the store gives is what the backbone gives."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image

from style_match.backbone import pooling
from style_match.backbone.extractor import Row, extract
from style_match.backbone.feature_key import identity, resolve_checkpoint, row_address, source_of
from style_match.backbone.feature_store import FeatureStore
from style_match.backbone.qwen3_vl import Qwen3VL
from style_match.data.fingerprints import Fingerprints
from style_match.data.images import DECODE_POLICY, decode
from style_match.data.prompt import render

spec = importlib.util.spec_from_file_location(
    "random_checkpoint", Path(__file__).parents[2] / "backbone" / "random_checkpoint.py"
)
random_checkpoint = importlib.util.module_from_spec(spec)
spec.loader.exec_module(random_checkpoint)

OPTIONS = dict(
    dtype="fp32",
    attention="sdpa",
    fused_patch_embedding=True,
    image_backend="pil",
    min_pixels=4096,
    max_pixels=16384,
    device="cpu",
    layer=None,
)
POOLINGS = {name: getattr(pooling, name) for name in ("eos", "mean", "mean_image", "mean_text")}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("checkpoint") for _ in range(2)]
    for seed, folder in enumerate(folders):
        random_checkpoint.make(folder, seed=seed)
    return [resolve_checkpoint(str(folder), None, download=False) for folder in folders]


@pytest.fixture(scope="module")
def photo_rows(tmp_path_factory):
    """Nine photos of mixed sizes, with and without metadata."""
    folder, made = tmp_path_factory.mktemp("photos"), []
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 64), (128, 96), (96, 128), (300, 80), (64, 64), (512, 512), (200, 120), (128, 96), (65, 67)]
    for number, (width, height) in enumerate(sizes):
        path = folder / f"{number}.png"
        pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
        prompt = render(
            image=True,
            metadata={"style_vibe": "dandy " * number} if number % 2 else None,
            system=None,
            instruction="Describe this person.",
            template="{metadata}\n{instruction}" if number % 2 else "{instruction}",
            leave_out=(),
        )
        address = row_address(hashlib.sha256(path.read_bytes()).hexdigest(), DECODE_POLICY, prompt)
        made.append(Row(address, path, prompt, width, height))
    return made


def open_store(root, checkpoint, fingerprints, **options):
    sources = {name: source_of(function) for name, function in POOLINGS.items()}
    key = identity(checkpoint, {**OPTIONS, **options}, sources, "cpu", fingerprints)
    return FeatureStore(root, key, shard_rows=4)


def embed(rows, store, backbone, token_budget, num_workers=2):
    return extract(
        rows,
        store,
        backbone,
        POOLINGS,
        token_budget=token_budget,
        num_workers=num_workers,
        max_source_pixels=10**7,
        progress=lambda done, total: None,
    )


def test_stored_features_are_the_backbones(tmp_path, checkpoints, photo_rows):
    fingerprints = Fingerprints(tmp_path / "memo.sqlite")
    backbone = Qwen3VL(folder=checkpoints[0].folder, **OPTIONS)
    singles = [
        backbone.pooled([decode(row.path, max_source_pixels=10**7)], [row.prompt], POOLINGS) for row in photo_rows
    ]
    addresses = [row.address for row in photo_rows]
    for number, token_budget in enumerate((1, 120, 10**6)):
        store = open_store(tmp_path / str(number), checkpoints[0], fingerprints)
        assert embed(photo_rows, store, lambda: backbone, token_budget).computed == 9
        for name in POOLINGS:
            expected = torch.cat([single[name] for single in singles])
            # Batched and single differ by rounding only, relative to the size of a feature.
            assert torch.allclose(store.load(addresses, name), expected, rtol=0, atol=1e-5 * expected.abs().max())
        again = embed(photo_rows[::-1], open_store(tmp_path / str(number), checkpoints[0], fingerprints), None, 1)
        assert (again.from_store, again.computed) == (9, 0)


def test_other_weights_or_options_are_other_features(tmp_path, checkpoints, photo_rows):
    fingerprints = Fingerprints(tmp_path / "memo.sqlite")
    found = []
    for checkpoint, options in ((checkpoints[0], {}), (checkpoints[1], {}), (checkpoints[0], {"max_pixels": 8192})):
        store = open_store(tmp_path / "store", checkpoint, fingerprints, **options)
        backbone = Qwen3VL(folder=checkpoint.folder, **{**OPTIONS, **options})
        assert embed(photo_rows, store, lambda backbone=backbone: backbone, 500).computed == 9
        found.append(store.load([row.address for row in photo_rows], "mean"))
    assert not torch.allclose(found[0], found[1], atol=1e-2) and not torch.allclose(found[0], found[2], atol=1e-3)
