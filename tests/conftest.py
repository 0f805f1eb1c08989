"""Every test runs on one thread, offline, with a cache of its own."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ.pop("WANDB_API_KEY", None)

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A cache root of these tests alone (drawn figures, features, remembered hashes)."""
    root = tmp_path_factory.mktemp("cache")
    os.environ["STYLE_MATCH_CACHE"] = str(root)
    yield root
