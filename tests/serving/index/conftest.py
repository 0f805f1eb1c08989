"""Indexes as the command line makes them, and profiles to put into them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.cli import main

KEY = "0123456789abcdef0123456789abcdef"  # identity of a matcher
EVERY = ["exact", "faiss", "faiss kind=hnsw", "qdrant"]
EXACT = ["exact", "faiss", "qdrant"]
STORED = ["faiss kind=hnsw", "qdrant"]


def config_of(words: str, **options) -> DictConfig:
    """`"faiss kind=hnsw"`: the YAML of the first word, with the others and `options` in it."""
    name, *others = words.split()
    config = OmegaConf.load(main.conf_dir() / "index" / f"{name}.yaml")
    return OmegaConf.merge(config, OmegaConf.from_dotlist(others), options)


@pytest.fixture
def make() -> Callable:
    """`make("faiss kind=hnsw", m=8)`: an index, which is closed after the test."""
    made = []

    def one(words: str, **options):
        made.append(instantiate(config_of(words, **options)))
        return made[-1]

    yield one
    for index in made:
        index.close()


@pytest.fixture
def unlisted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test, so that its list of indexes is empty at first."""
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(num: int, dim: int = 8, seed: int = 0) -> tuple[list[str], np.ndarray, list[dict[str, str]]]:
    """Ids, vectors and cells: gender m or f, some ages unknown, a column in another script."""
    drawn = np.random.default_rng(seed)
    vectors = unit(drawn.standard_normal((num, dim)))
    cells = [
        {"gender": "mf"[i % 2], "age": str(18 + i % 30) if i % 5 else "", "스타일 word": ["깔끔한", "dandy", ""][i % 3]}
        for i in range(num)
    ]
    return [f"p{i:03}" for i in range(num)], vectors, cells
