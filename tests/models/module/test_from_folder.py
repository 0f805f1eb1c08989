"""MatchDataModule from a dataset folder and its split, as the steps build it."""

import hashlib
from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image

from style_match.data.datamodule import MatchDataModule
from style_match.data.dataset import read_folder
from style_match.data.sampler.pair import PairSampler
from style_match.data.splits import make_split

PAIRS = partial(PairSampler, batch_size=2, drop_last=True)


@pytest.fixture
def root(tmp_path):
    """20 couples of profiles with two photos each, rows of photos shuffled, f0 and f1 the same user; four styles."""
    (tmp_path / "images").mkdir()
    rows = []
    for photo in range(2):
        for i in [*range(10, 20), *range(10)]:
            for side in "fm":
                image = f"images/{side}{i}_{photo}.png"
                Image.new("RGB", (4, 4), (i, photo, ord(side))).save(tmp_path / image)
                user = "u" if side == "f" and i < 2 else ""
                rows.append(f"{side}{i},{image},{user},{['chic', 'street', 'basic', 'sporty'][i % 4]}")
    (tmp_path / "profiles.csv").write_text("\n".join(["profile_id,image,user_id,fashion_style", *rows]) + "\n")
    (tmp_path / "couples.csv").write_text("\n".join(["left_id,right_id", *(f"f{i},m{i}" for i in range(20))]) + "\n")
    return tmp_path


@pytest.fixture
def built(root):
    """Maker of (folder, split, MatchDataModule) with the photo's row as its feature."""

    def make(task, sampler):
        folder = read_folder(root, task=task)
        split = make_split(folder, seed=0, fractions=(0.6, 0.2, 0.2), store=None)
        features = torch.arange(len(folder.photos), dtype=torch.float32)[:, None]
        data = MatchDataModule.from_folder(
            folder, split, features=features, rows=(), sampler=sampler, seed=0, max_loss_items=1000
        )
        return folder, split, data

    return make


def test_couples_go_where_the_split_says(built):
    folder, split, data = built("couple", PAIRS)
    for name in ("train", "val", "test"):
        gallery = data.gallery(name)
        couples = {(gallery.left_ids[left], gallery.right_ids[right]) for left, right in gallery.items.tolist()}
        assert couples == {tuple(item.split("\t")) for item, part in split.name_of.items() if part == name}
        for photo, position in zip(gallery.photos.tolist(), gallery.photo_profile.tolist(), strict=True):
            assert folder.photos[photo].profile_id == gallery.profile_ids[position]
        assert len(gallery.photos) == 2 * len(gallery.profile_ids)
    for batch in data.train_dataloader():
        left, right = (
            [folder.photos[int(photo)].profile_id for photo in batch["features"][batch["side"] == side, 0]]
            for side in (0, 1)
        )
        assert all(split.name_of[f"{one}\t{other}"] == "train" for one, other in zip(left, right, strict=True))
        assert not {"f0", "f1"} <= set(left)  # one user


def test_profiles_of_one_user_or_with_one_photo_are_one_person(built, root):
    (root / "images" / "m7_1.png").write_bytes((root / "images" / "m5_0.png").read_bytes())
    folder, split, _ = built("couple", PAIRS)
    hashes = {photo.image: hashlib.sha256(photo.path.read_bytes()).hexdigest() for photo in folder.photos}
    hashed = replace(folder, photo_sha256=hashes)
    data = MatchDataModule.from_folder(hashed, split, features=None, rows=(), sampler=None, seed=0, max_loss_items=None)
    person = dict(zip(data.profile_ids, data.people, strict=True))
    assert person["m5"] == person["m7"] and person["f0"] == person["f1"]
    assert len(set(data.people)) == 38


def test_styles_have_their_classes(built):
    folder, split, data = built("style", None)
    for name in ("train", "val", "test"):
        gallery = data.gallery(name)
        classes = [data.classes[number] for number in gallery.items.tolist()]
        assert classes == [folder.labels[profile_id] for profile_id in gallery.profile_ids]
        assert set(gallery.profile_ids) == {item for item, part in split.name_of.items() if part == name}
