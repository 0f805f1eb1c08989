import copy
import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from style_match.backbone.feature_store import FeatureStore

IDENTITY = {
    "weights": {"model.safetensors": "0" * 64},
    "files": {"config.json": "1" * 64, "tokenizer.json": "2" * 64, "chat_template.jinja": "3" * 64},
    "image_processor": {"backend": "Qwen2VLImageProcessorPil", "min_pixels": 1024, "max_pixels": 16384},
    "dtype": "fp32",
    "attention": "sdpa",
    "fused_patch_embedding": True,
    "layer": None,
    "poolings": ["eos", "mean"],
    "device": "cpu",
    "versions": {"torch": "2.13.0", "transformers": "5.23.0", "pillow": "13.0.0"},
}
DIM = 6


def address(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def vectors(number: int, dim: int = DIM) -> dict[str, torch.Tensor]:
    """What a backbone would give for a row: always the same, never that of another row."""
    generator = torch.Generator().manual_seed(number)
    return {name: torch.randn(dim, generator=generator) for name in ("eos", "mean")}


def components(identity, path=()):
    """Paths of all leaves of a nested identity."""
    if isinstance(identity, dict) and identity:
        for name, value in identity.items():
            yield from components(value, (*path, name))
    else:
        yield path


def pytest_generate_tests(metafunc):
    """Tests that take `component` run once for each component of the identity."""
    if "component" in metafunc.fixturenames:
        metafunc.parametrize("component", list(components(IDENTITY)), ids=".".join)


def mutated(component: tuple[str, ...]) -> dict:
    """The identity with one component changed."""
    changed = copy.deepcopy(IDENTITY)
    *way, last = component
    inner: dict = changed
    for name in way:
        inner = inner[name]
    value = inner[last]
    if isinstance(value, bool) or value is None:
        inner[last] = not value
    elif isinstance(value, list):
        inner[last] = [*value, "mean_image"]
    else:
        inner[last] = value + type(value)(1)
    return changed


class Rows:
    """Numbered rows with known vectors, put into stores and looked for there."""

    identity = IDENTITY
    address = staticmethod(address)
    vectors = staticmethod(vectors)
    mutated = staticmethod(mutated)

    def store(self, root: Path, *, shard_rows: int = 4, identity: dict = IDENTITY) -> FeatureStore:
        return FeatureStore(root, identity, shard_rows=shard_rows)

    def write(self, store: FeatureStore, numbers) -> None:
        with store.writer() as writer:
            for number in numbers:
                writer.add(address(number), vectors(number))

    def compute_missing(self, store: FeatureStore, numbers) -> list[int]:
        """Write what is missing of these rows; the numbers that had to be computed."""
        number_of = {address(number): number for number in numbers}
        computed = [number_of[missing] for missing in store.missing(list(number_of))]
        self.write(store, computed)
        return computed

    def check(self, store: FeatureStore, numbers) -> None:
        """Both poolings of these rows come back as they were written."""
        for pooling in ("eos", "mean"):
            loaded = store.load([address(number) for number in numbers], pooling)
            expected = torch.stack([vectors(number)[pooling] for number in numbers]) if len(numbers) else loaded[:0]
            assert torch.equal(loaded, expected)


@pytest.fixture(scope="session")
def rows() -> Rows:
    return Rows()


@pytest.fixture
def open_folder():
    """A folder that any user of the machine may enter (pytest's own are the owner's alone)."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def plain_user():
    """A context in which file permissions hold, also where the tests run as root."""

    @contextmanager
    def drop():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return drop
