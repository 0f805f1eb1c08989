"""A run is resumed only with its data and split, and is never tested on photos of its training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from style_match.data.fingerprints import PhotoFacts
from style_match.training.run_folder import RunFolder
from style_match.training.trained_photos import refuse_changed_split, refuse_trained_photos, write_trained_photos
from style_match.utils.errors import UserError


def splits(
    *train: int, test: tuple[int, ...] = (), metadata: dict | None = None, files: dict[int, str] | None = None
) -> Any:
    """Inputs and data module; `files`: the content of each photo that is read, its pixels before its last letter."""
    photos = [SimpleNamespace(profile_id=f"p{i}", image=f"{i}.png") for i in range(5)]
    galleries = {"train": list(train), "val": [4], "test": list(test)}
    folder = SimpleNamespace(
        photos=photos,
        photo_sha256={f"{i}.png": content for i, content in (files or {}).items()},
        photo_facts={f"{i}.png": PhotoFacts(c, 1, 1, True, "", c[:-1]) for i, c in (files or {}).items()},
        metadata=metadata or {},
    )
    split = SimpleNamespace(path=Path("/data/splits/s.csv"))
    data = SimpleNamespace(gallery=lambda name: SimpleNamespace(photos=torch.tensor(galleries[name])))
    return SimpleNamespace(folder=folder, split=split), data


def test_a_changed_split_is_refused(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    refuse_changed_split(folder, *splits(0, 1))
    write_trained_photos(folder, *splits(0, 1))
    refuse_changed_split(folder, *splits(1, 0))
    with pytest.raises(UserError, match=r"/data/splits/s\.csv no longer divides the data"):
        refuse_changed_split(folder, *splits(0, 2))


def test_without_photos_other_data_with_the_same_profile_ids_is_other_data(tmp_path: Path):
    looks = {f"{i}.png": {"style_vibe": f"look {i}", "personality_impression": "calm"} for i in range(5)}
    write_trained_photos(RunFolder(tmp_path, resume=False), *splits(0, 1, metadata=looks))
    others = {image: {"style_vibe": "another look"} for image in looks}
    refuse_trained_photos(tmp_path, *splits(2, 3, test=(0, 1), metadata=others))
    more = looks | {"9.png": {"style_vibe": "one that came later"}}
    with pytest.raises(UserError, match="on 1 of the 2 photos of this test split"):
        refuse_trained_photos(tmp_path, *splits(0, 3, test=(1, 2), metadata=more))


def test_copies_with_other_bytes_are_found(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    write_trained_photos(folder, *splits(0, 1, files={0: "aX", 1: "bX", 4: "eX"}))
    refuse_changed_split(folder, *splits(0, 1, files={0: "aX", 1: "bX", 4: "eX"}))
    refuse_trained_photos(tmp_path, *splits(2, 3, test=(0, 1), files={0: "cY", 1: "dY"}))
    with pytest.raises(UserError, match="on 1 of the 2 photos of this test split"):
        refuse_trained_photos(tmp_path, *splits(2, 3, test=(0, 1), files={0: "bY", 1: "dY"}))


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    folder.write_text("seen.txt", "aX\nbX\neX\n")
    same = {0: "aX", 1: "bX", 4: "eX"}
    refuse_changed_split(folder, *splits(0, 1, files=same))
    with pytest.raises(UserError, match="on 2 of the 2 photos of this test split"):
        refuse_trained_photos(tmp_path, *splits(2, 3, test=(0, 1), files=same))
    with pytest.raises(UserError, match="no longer divides the data"):
        refuse_changed_split(folder, *splits(0, 2, files={**same, 2: "cX"}))
