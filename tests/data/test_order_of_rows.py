"""The order of rows in the tables changes neither split nor folds."""

from pathlib import Path

import pytest

from tests.data.memory_folder import folder_of, folds_of, places, singles, split_of


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_of_one_size_are_drawn_alike_whichever_couple_comes_first(tmp_path: Path, seed: int) -> None:
    """Each of 12 women has two couples, which are one group; either of the two may be the first row."""
    pairs = [(f"w{i}", f"v{2 * i + j}") for i in range(12) for j in range(2)] + singles(20)
    one, other = folder_of(pairs), folder_of(pairs[::-1])
    assert split_of(one, tmp_path / "one", seed).name_of == split_of(other, tmp_path / "other", seed).name_of
    assert places(folds_of(one, tmp_path / "one", seed=seed)) == places(folds_of(other, tmp_path / "other", seed=seed))
