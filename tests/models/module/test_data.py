"""MatchDataModule: what stands in training batches and galleries."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from style_match.data.sampler.pair import PairSampler
from style_match.data.sampler.pk import PKSampler
from style_match.data.sampler.plain import PlainSampler
from style_match.utils.errors import UserError


@dataclass(frozen=True)
class Row:
    path: Path | None
    prompt: str


def epoch_of(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def photo_numbers(features):
    """Features that are photo numbers, to be recognised in a batch."""
    return features[:, 0].long().tolist()


def numbered(num):
    return torch.arange(num, dtype=torch.float32)[:, None]


def test_a_batch_of_couples_is_left_rows_then_right_rows(couple_data):
    data = couple_data(num=20, batch_size=4, features=numbered(40))
    batches = epoch_of(data, 0)
    assert len(batches) == len(data.train_dataloader()) == 3
    for batch in batches:
        rows = photo_numbers(batch["features"])
        assert batch["side"].tolist() == [0] * 4 + [1] * 4
        assert (
            rows[:4] == [row - 20 for row in rows[4:]] == batch["labels"][:4].tolist() == batch["labels"][4:].tolist()
        )
        assert set(rows[:4]) <= set(range(12))  # training couples alone


def test_a_batch_of_styles_has_the_classes_of_its_rows(style_data):
    data = style_data(num=30, features=numbered(30))
    for batch in epoch_of(data, 0):
        assert "side" not in batch
        assert [data.classes[label] for label in batch["labels"]] == [
            ["chic", "street", "classy"][row % 3] for row in photo_numbers(batch["features"])
        ]


@pytest.mark.parametrize("task", ["couple", "style"])
def test_one_photo_of_a_profile_is_drawn_anew_every_epoch(couple_data, style_data, task):
    if task == "couple":
        data = couple_data(num=10, num_photos=3, batch_size=3, features=numbered(60))
        profiles, wanted = 20, {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15}
    else:
        data, profiles, wanted = style_data(num=30, num_photos=3, features=numbered(90)), 30, set(range(18))
    seen: dict[int, set[int]] = {}
    for epoch in range(30):
        photos = [photo for batch in epoch_of(data, epoch) for photo in photo_numbers(batch["features"])]
        drawn = {(photo % profiles, photo // profiles) for photo in photos}
        assert len(drawn) == len({profile for profile, _ in drawn})
        for profile, photo in drawn:
            seen.setdefault(profile, set()).add(photo)
    assert set(seen) == wanted
    assert all(photos == {0, 1, 2} for photos in seen.values())


def test_epochs_differ_and_repeat(couple_data):
    data = couple_data(num_photos=2)
    first, again, other = (torch.cat([b["features"] for b in epoch_of(data, epoch)]) for epoch in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    reseeded = torch.cat([b["features"] for b in epoch_of(couple_data(num_photos=2, seed=1), 3)])
    assert not torch.equal(first, reseeded)


def test_the_epoch_is_read_with_the_first_batch(couple_data):
    loader = couple_data().train_dataloader()
    iterator = iter(loader)  # Lightning makes the iterator before it says where a resumed run goes on
    loader.sampler.set_epoch(4)
    assert torch.equal(next(iterator)["labels"], epoch_of(couple_data(), 4)[0]["labels"])


def test_profiles_of_one_person_never_meet_in_a_batch(couple_data):
    people = [0] * 12 + list(range(1, 109))  # twelve couples whose left profiles are one person
    data = couple_data(num=60, batch_size=6, people=people)
    for batch in epoch_of(data, 0):
        assert (batch["labels"][batch["side"] == 0] < 12).sum() <= 1


def test_the_gallery_holds_each_profile_once_with_all_photos(couple_data):
    # profile 12 in three couples of the validation split
    couples = [(i, 20 + i) for i in range(12)] + [(12, 32), (12, 33), (12, 34), (15, 32), (16, 36), (17, 37), (18, 38)]
    data = couple_data(
        num=20,
        num_photos=2,
        couples=couples,
        split={"train": range(12), "val": range(12, 17), "test": [17, 18]},
        features=numbered(80),
    )
    gallery = data.gallery("val")
    assert gallery.left_ids == ("f12", "f15", "f16") and gallery.right_ids == ("m12", "m13", "m14", "m16")
    names = [(gallery.left_ids[left], gallery.right_ids[right]) for left, right in gallery.items.tolist()]
    assert names == [("f12", "m12"), ("f12", "m13"), ("f12", "m14"), ("f15", "m12"), ("f16", "m16")]
    assert sorted(map(tuple, gallery.known.tolist())) == sorted(map(tuple, gallery.items.tolist()))
    batch = data.gallery_batch(gallery)
    photos = dict(enumerate(photo_numbers(batch["features"])))
    of_profile = {p: [photos[i] % 40 for i in photos if batch["photo_profile"][i] == p] for p in range(7)}
    numbers = {f"f{i}": i for i in range(20)} | {f"m{i}": 20 + i for i in range(20)}
    assert of_profile == {p: [numbers[name]] * 2 for p, name in enumerate(gallery.profile_ids)}
    assert len(photos) == len(set(photos.values())) == 14


def test_known_couples_of_other_splits_and_of_a_persons_other_profiles_are_known(couple_data):
    people = list(range(40))
    people[13], people[33] = people[12], people[34]  # f13 is the person of f12, m13 that of m14
    couples = [(i, 20 + i) for i in range(12)] + [(12, 32), (13, 33), (14, 34), (15, 35)]
    data = couple_data(
        num=20, couples=couples, people=people, split={"train": range(12), "val": range(12, 16), "test": []}
    )
    gallery = data.gallery("val")
    known = {(gallery.left_ids[left], gallery.right_ids[right]) for left, right in gallery.known.tolist()}
    assert known == {
        ("f12", "m12"), ("f12", "m13"), ("f12", "m14"), ("f13", "m12"), ("f13", "m13"), ("f13", "m14"),
        ("f14", "m13"), ("f14", "m14"), ("f15", "m15"),
    }  # fmt: skip


def test_a_large_validation_split_is_compared_in_parts(couple_data, style_data):
    parts = couple_data(num=60, max_loss_items=5).gallery("val", with_loss=True).loss_batches
    assert [len(part) for part in parts] == [5, 5, 5] and len(torch.cat(parts).unique()) == 12
    gallery = style_data(num=90, max_loss_items=7).gallery("val", with_loss=True)
    assert [len(part) for part in gallery.loss_batches] == [6, 6, 6]
    assert torch.cat(gallery.loss_batches).sort().values.tolist() == list(range(18))
    assert all(len(gallery.items[part].unique()) == 3 for part in gallery.loss_batches)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"max_loss_items": 3}, r"no class with two profiles.*raise max_loss_items=3"),
        ({"split": {"train": range(50), "val": [50, 51, 52], "test": []}}, "no class with two profiles.*add profiles"),
        ({"split": {"train": range(50), "val": [51, 54, 57], "test": []}}, "profiles of only one class.*add profiles"),
    ],
)
def test_a_validation_split_that_a_loss_cannot_compare_is_an_error(style_data, options, remedy):
    with pytest.raises(UserError, match=remedy):
        style_data(**options).val_dataloader()


def test_online_batches_carry_rows(couple_data, style_data):
    rows = [Row(Path(f"{i}.jpg"), f"prompt {i}") for i in range(40)]
    data = couple_data(num=20, batch_size=4, features=None, rows=rows)
    for batch in epoch_of(data, 0):
        labels = batch["labels"].tolist()
        assert [row.prompt for row in batch["rows"]] == [f"prompt {i + 20 * (n > 3)}" for n, i in enumerate(labels)]
        assert "features" not in batch
    gallery = data.gallery_batch(data.gallery("test"))
    assert [row.path for row in gallery["rows"]] == [Path(f"{i}.jpg") for i in [*range(16, 20), *range(36, 40)]]
    assert len(data.train_photos()["rows"]) == 24


class LoudSampler(PairSampler):
    def __init__(self, **options):
        super().__init__(**options)


class FirstClasses(PlainSampler):
    def __init__(self, **options):
        super().__init__(labels=options["labels"], batch_size=4, seed=options["seed"])


def test_a_sampler_of_the_other_task_is_named(couple_data, style_data):
    for_couples = {"batch_size": 8, "drop_last": True}
    for make, sampler, task, remedy in (
        (couple_data, partial(PKSampler, num_classes=3, num_samples=4, num_batches=None), "couple", "pair for couples"),
        (style_data, partial(PairSampler, **for_couples), "style", "pk for styles"),
        (style_data, partial(LoudSampler, **for_couples), "style", "pk for styles"),
        (couple_data, FirstClasses, "couple", "pair for couples"),
    ):
        message = (
            f"{getattr(sampler, 'func', sampler).__name__} does not accept data with task={task}.*sampler={remedy}"
        )
        with pytest.raises(UserError, match=message):
            make(sampler=sampler).train_dataloader()


def test_features_that_are_not_finite_name_the_profile(couple_data):
    features = numbered(40)
    features[23] = torch.inf
    with pytest.raises(UserError, match=r"1 of 40 photos.*profile m3"):
        couple_data(num=20, features=features)


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_split_of_one_is_an_error(couple_data, name):
    split = {"train": range(10), "val": range(10, 14), "test": range(14, 20), name: [0]}
    with pytest.raises(UserError, match=f"{name} split has 1 couple; at least 2 are required"):
        couple_data(num=20, split=split)


def test_a_validation_split_around_one_person_is_an_error(couple_data):
    couples = [(i, 20 + i) for i in range(12)] + [(12, 32), (12, 33), (12, 34)]
    data = couple_data(num=20, couples=couples, split={"train": range(12), "val": range(12, 15), "test": []})
    with pytest.raises(UserError, match="share people with each other"):
        data.val_dataloader()
