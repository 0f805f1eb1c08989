"""The vectors of an exported matcher; `tests/integration/test_export.py` holds all heads against their runs."""

from pathlib import Path

import numpy as np
import pytest

from style_match import StyleMatcher
from tests.contract import observe

pytestmark = pytest.mark.integration
CLOSE = 1e-3  # cosine distance


def test_a_matcher_gives_the_stored_vectors(couples_run: Path, matcher_folder: Path):
    matcher = StyleMatcher.from_pretrained(matcher_folder)
    found = observe.vectors(matcher, observe.photos_of(couples_run))
    stored = observe.golden("vectors")
    assert set(found) == set(stored)
    for name, row in stored.items():
        assert np.linalg.norm(found[name]) == pytest.approx(1, abs=1e-4)
        assert 1 - np.dot(found[name], row) <= CLOSE, name


def test_a_photo_is_encoded_as_in_the_run(couples_run: Path, matcher_folder: Path):
    photos, written = observe.photos_of(couples_run), observe.written(couples_run)
    ids = sorted(written)[:3]
    found = StyleMatcher.from_pretrained(matcher_folder).encode([photos[one] for one in ids])
    assert found.dtype == np.float32
    assert found == pytest.approx(np.stack([written[one] for one in ids]), abs=1e-5)
