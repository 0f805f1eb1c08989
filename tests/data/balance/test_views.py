"""Views in training: whose, which ones, computed once, and nowhere else."""

from collections import Counter

import pytest
import torch

from style_match.backbone.extractor import decode_rows
from style_match.training.loop import make_datamodule
from style_match.utils.errors import UserError

CAPPED = (
    "data=styles",
    "balance.cap=6",
    "balance.fill=true",
    "balance.views=2",
    "sampler.num_classes=3",
    "sampler.num_samples=4",
)
ALL = (*CAPPED, "balance.augment=all")


def data_of(made):
    data = make_datamodule(made.cfg, made)
    data.setup()
    return data


def test_photos_of_small_classes_have_views_and_no_others(inputs):
    made = inputs(*CAPPED)
    views = made.balancing.views
    assert {made.folder.photos[photo].profile_id for photo in views.photos} == {f"train_hip{i}" for i in range(4)}
    assert len(made.view_rows) == 2 * 4
    everybody = inputs(*ALL).balancing.views
    owners = [made.folder.photos[photo].profile_id for photo in everybody.photos]
    assert Counter(owner.split("_")[0] for owner in owners) == {"train": 2 * 20 + 6 + 4}


def test_of_couples_every_training_photo_has_views(inputs):
    made = inputs("data=couples", "balance.views=3", "balance.augment=all")
    train = {profile for item in made.split.items("train") for profile in item.split("\t")}
    photos = made.balancing.views.photos
    assert {made.folder.photos[photo].profile_id for photo in photos} == train
    assert len(photos) == len(train) == 28


def test_every_view_has_an_address_of_its_own_and_keeps_it(inputs):
    made = inputs(*ALL)
    addresses = [row.address for row in (*made.rows, *made.view_rows)]
    assert len(set(addresses)) == len(addresses)
    assert [row.address for row in inputs(*ALL).view_rows] == [row.address for row in made.view_rows]
    assert [row.address for row in inputs(*ALL, "seed=7").view_rows] == [row.address for row in made.view_rows]
    assert inputs(*ALL).rows == inputs("data=styles").rows, "photos keep theirs"
    for word in ("balance.view_seed=1", "balance.augmentation.crop=0.2", "balance.augmentation.hue=0"):
        assert not set(addresses) & {row.address for row in inputs(*ALL, word).view_rows}
    more = inputs(*ALL, "balance.views=3")
    assert {row.address for row in made.view_rows} < {row.address for row in more.view_rows}


def test_a_view_is_computed_once_and_only_more_of_them_are_added(inputs):
    made = inputs(*ALL)
    before, views = made.features, made.view_features
    assert len(made.backbone.prompts) == len(made.rows) + len(made.view_rows)
    again = inputs(*ALL, "seed=3")
    assert torch.equal(again.view_features, views) and torch.equal(again.features, before)
    assert again.backbone.prompts == []
    more = inputs(*ALL, "balance.views=3")
    more.view_features  # noqa: B018 - computes them
    assert len(more.backbone.prompts) == len(made.view_rows) // 2


def test_a_stored_feature_is_of_the_view_of_its_photo(inputs):
    made = inputs(*ALL)
    pixels = [image.tobytes() for image in decode_rows(made.view_rows, 10**6)]
    assert len(set(pixels)) > 0.9 * len(pixels)
    assert torch.equal(made.view_features, made.encode_online({"rows": made.view_rows}))


def test_a_photo_changed_since_it_was_checked_gives_no_view(inputs, tmp_path, styles):
    made = inputs(*CAPPED)
    rows = made.view_rows
    content = rows[0].path.read_bytes()
    try:
        rows[0].path.write_bytes(made.rows[0].path.read_bytes())
        with pytest.raises(UserError, match="has changed since it was checked"):
            made.view_features  # noqa: B018 - computes them
    finally:
        rows[0].path.write_bytes(content)


def test_every_epoch_draws_each_profile_by_its_photo_or_one_of_its_views(inputs):
    made = inputs(*CAPPED)
    data = data_of(made)
    assert len(data.features) == len(made.rows) + len(made.view_rows)
    own = {tuple(vector): ("photo", row) for row, vector in enumerate(made.features.tolist())}
    for row, vector in enumerate(made.view_features.tolist()):
        own[tuple(vector)] = (1 + row % 2, made.balancing.views.photos[row // 2])
    loader, drawn = data.train_dataloader(), Counter()
    epochs = []
    for epoch in range(6):
        loader.sampler.set_epoch(epoch)
        seen = [own[tuple(vector)] for batch in loader for vector in batch["features"].tolist()]
        labels = torch.cat([batch["labels"] for batch in loader]).tolist()
        for (_, photo), label in zip(seen, labels, strict=True):
            profile = made.folder.photos[photo].profile_id
            assert profile.startswith(f"train_{data.classes[label]}")
        drawn.update(kind for kind, photo in seen if "hip" in made.folder.photos[photo].profile_id)
        assert all(kind == "photo" for kind, photo in seen if "hip" not in made.folder.photos[photo].profile_id)
        epochs.append(seen)
    assert set(drawn) == {"photo", 1, 2}
    assert len({tuple(epoch) for epoch in epochs}) == 6
    loader.sampler.set_epoch(2)
    assert [own[tuple(vector)] for batch in loader for vector in batch["features"].tolist()] == epochs[2]


def test_profiles_dealt_again_in_an_epoch_show_another_photo_or_view(inputs):
    """12 slots a class: each of 4 `hip` is dealt three times, once as the photo and once as each of two views."""
    data = data_of(inputs(*CAPPED[:1], *CAPPED[2:4], "balance.cap=12", "sampler=plain", "sampler.batch_size=4"))
    loader = data.train_dataloader()
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        seen = [row for batch in loader for row in batch["features"][batch["labels"] == data.classes.index("hip")]]
        assert len(seen) == len({tuple(row.tolist()) for row in seen}) == 12


def test_views_are_in_no_gallery_and_no_closed_form(inputs):
    made, plain = inputs(*ALL), inputs("data=styles", "sampler.num_classes=3", "sampler.num_samples=4")
    data, without = (data_of(each) for each in (made, plain))
    for name in ("train", "val", "test"):
        one, other = (each.gallery_batch(each.gallery(name)) for each in (data, without))
        assert one.keys() == other.keys()
        assert torch.equal(one["features"], other["features"]) and torch.equal(one["items"], other["items"])
    assert torch.equal(data.train_photos()["features"], without.train_photos()["features"])


ONLINE = (*ALL, "encode=online")


def test_computed_in_the_step_views_are_fresh_every_epoch_and_repeat_by_the_seed(inputs):
    made = inputs(*ONLINE)
    loader = data_of(made).train_dataloader()

    def rows(epoch, loader=loader):
        loader.sampler.set_epoch(epoch)
        return [row for batch in loader for row in batch["rows"]]

    views = [{row.view.draw for row in rows(epoch) if row.view is not None} for epoch in range(3)]
    assert all(views) and not views[0] & views[1] and not views[1] & views[2]
    assert rows(1) == rows(1) == rows(1, data_of(inputs(*ONLINE)).train_dataloader())
    other = {row.view.draw for row in rows(0, data_of(inputs(*ONLINE, "seed=1")).train_dataloader()) if row.view}
    assert other and not other & views[0]
    assert any(row.view is None for row in rows(0))


def test_computed_in_the_step_unaugmented_views_are_the_stored_features(inputs):
    off = [f"balance.augmentation.{name}=0" for name in inputs(*ALL).cfg.balance.augmentation]
    stored, online = inputs(*ALL, *off), inputs(*ONLINE, *off)
    cached = data_of(stored).train_dataloader()
    fresh = data_of(online).train_dataloader()
    for one, other in zip(cached, fresh, strict=True):
        assert torch.equal(one["features"], online.encode_online(other))
        assert torch.equal(one["labels"], other["labels"])
    assert any(row.view is not None for batch in fresh for row in batch["rows"])


def test_what_was_balanced_is_said_and_told(inputs):
    made = inputs(*CAPPED)
    assert list(made.balancing.lines())[1] == "balance: 2 views of each of 4 training photos"  # [0]: test_run.py
    summary = made.balancing.summary()
    assert summary["profiles"] == {"basic": 20, "chic": 6, "hip": 4}
    assert summary["profiles_in_an_epoch"] == {"basic": 6, "chic": 6, "hip": 6}
    assert (summary["augmented"], summary["photos_with_views"], summary["cap"]) == (["hip"], 4, 6)
    assert inputs("data=styles").balancing.summary() is None
    assert list(inputs("data=styles").balancing.lines()) == []
    couples = inputs("data=couples", "balance.views=1", "balance.augment=all").balancing
    assert couples.summary()["photos_with_views"] == 28 and couples.summary()["profiles"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["balance.cap=21"], "no class has more than 20 training profiles"),
        (["balance.cap=4", "balance.fill=true"], "none is filled up"),
        (["balance.cap=4", "balance.views=2"], "no photo has views; balance.augment=all is for every training photo"),
    ],
)
def test_what_changes_nothing_is_said(inputs, words, said):
    assert said in "\n".join(inputs("data=styles", *words).balancing.lines())
