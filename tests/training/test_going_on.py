"""A run goes on with the data and the split it began with, or not at all."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from style_match.data.fingerprints import PhotoFacts
from style_match.training.resuming import facts_of, refuse_other_data, refuse_other_split, refuse_seen, write_seen
from style_match.training.run_folder import RunFolder
from style_match.utils.errors import UserError


def inputs(data: str) -> Any:
    folder = SimpleNamespace(root=Path("/data"), fingerprint=lambda _: data)
    return SimpleNamespace(folder=folder, fingerprints=None, store=SimpleNamespace(key="k"))


def seen(
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


def test_data_that_was_changed_is_refused(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    folder.write_provenance(**facts_of(inputs("as it was")))
    refuse_other_data(folder, inputs("as it was"))
    with pytest.raises(UserError, match=rf"/data was changed since the run {tmp_path} began"):
        refuse_other_data(folder, inputs("with a row more"))


def test_a_run_that_does_not_tell_its_data_goes_on_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture):
    refuse_other_data(RunFolder(tmp_path, resume=False), inputs("any"))
    assert "is not known" in capsys.readouterr().err


def test_a_split_that_was_drawn_anew_is_refused(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    refuse_other_split(folder, *seen(0, 1))
    write_seen(folder, *seen(0, 1))
    refuse_other_split(folder, *seen(1, 0))
    with pytest.raises(UserError, match=r"/data/splits/s\.csv no longer divides the data"):
        refuse_other_split(folder, *seen(0, 2))


def test_without_photos_other_data_with_the_same_profile_ids_was_not_seen(tmp_path: Path):
    looks = {f"{i}.png": {"style_vibe": f"look {i}", "personality_impression": "calm"} for i in range(5)}
    write_seen(RunFolder(tmp_path, resume=False), *seen(0, 1, metadata=looks))
    others = {image: {"style_vibe": "another look"} for image in looks}
    refuse_seen(tmp_path, *seen(2, 3, test=(0, 1), metadata=others))
    more = looks | {"9.png": {"style_vibe": "one that came later"}}
    with pytest.raises(UserError, match="on 1 of the 2 photos of this test split"):
        refuse_seen(tmp_path, *seen(0, 3, test=(1, 2), metadata=more))


def test_copies_with_other_bytes_were_seen(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    write_seen(folder, *seen(0, 1, files={0: "aX", 1: "bX", 4: "eX"}))
    refuse_other_split(folder, *seen(0, 1, files={0: "aX", 1: "bX", 4: "eX"}))
    refuse_seen(tmp_path, *seen(2, 3, test=(0, 1), files={0: "cY", 1: "dY"}))
    with pytest.raises(UserError, match="on 1 of the 2 photos of this test split"):
        refuse_seen(tmp_path, *seen(2, 3, test=(0, 1), files={0: "bY", 1: "dY"}))


def test_a_file_of_an_older_version_still_tells(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    folder.write_text("seen.txt", "aX\nbX\neX\n")
    same = {0: "aX", 1: "bX", 4: "eX"}
    refuse_other_split(folder, *seen(0, 1, files=same))
    with pytest.raises(UserError, match="on 2 of the 2 photos of this test split"):
        refuse_seen(tmp_path, *seen(2, 3, test=(0, 1), files=same))
    with pytest.raises(UserError, match="no longer divides the data"):
        refuse_other_split(folder, *seen(0, 2, files={**same, 2: "cX"}))
