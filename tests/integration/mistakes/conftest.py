from pathlib import Path

import pytest

from tests.integration.mistakes import bench


@pytest.fixture(scope="session")
def good(once) -> Path:
    """A good dataset folder and a run trained on it; do not write into them."""
    return once("mistakes", lambda folder: [folder.mkdir(), bench.make_good(folder)])
