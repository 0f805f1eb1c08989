"""Profiles that are dealt several times in an epoch."""

from collections import Counter
from functools import partial

import torch

from style_match.data.balance import Balance
from style_match.data.sampler.plain import PlainSampler


def test_a_profile_dealt_again_shows_its_other_photos_before_one_twice(style_data):
    """15 slots for each of two classes: the 3 profiles of the small one, with 3 photos each, are dealt 5 times."""
    labels = ["chic" if number % 6 == 0 else "street" for number in range(30)]
    data = style_data(
        num=30,
        num_photos=3,
        labels=labels,
        balance=Balance(labels[:18], cap=None, fill=True, seed=0),
        sampler=partial(PlainSampler, batch_size=5),
        features=torch.arange(90.0)[:, None],  # the feature of a photo is its number
    )
    loader = data.train_dataloader()
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)
        photos = Counter(int(row) for batch in loader for row in batch["features"][:, 0])
        for profile in range(18):
            seen = sorted(photos[profile + 30 * photo] for photo in range(3))
            assert seen == ([1, 2, 2] if labels[profile] == "chic" else [0, 0, 1])
