"""MatchDataModule refuses arguments of another length, shape or type, and never pairs people in another way."""

import numpy as np
import pytest
import torch

NUM = 60
LEFTS, RIGHTS = range(NUM), range(NUM, 2 * NUM)


@pytest.mark.parametrize(
    ("couples", "given"),
    [
        ((list(LEFTS), list(RIGHTS)), "2 of list"),
        (torch.stack([torch.arange(NUM), torch.arange(NUM, 2 * NUM)]), r"\(2, 60\)"),
        ([0, 60, 1, 61], "4 of int"),
        ([(0, 60), 1], "2 of int, tuple"),
        (["ab", "cd"], "2 of str"),
    ],
)
def test_only_pairs_are_couples(couple_data, couples, given):
    with pytest.raises(ValueError, match=rf"sequence of \(left, right\) tuples .* not {given}; write two sequences"):
        couple_data(couples=couples)


@pytest.mark.parametrize(
    ("couple", "message"),
    [
        ((0, 120), "couples must be positions from 0 to 119, not 120"),
        ((0.0, 60.0), "couples must be integer positions, not torch.float32"),
        (("f0", "m0"), "couples must be integer positions"),
        ((7, 7), r"couples\[0\] is the profile 7 with itself"),
    ],
)
def test_a_couple_is_two_positions(couple_data, couple, message):
    with pytest.raises(ValueError, match=message):
        couple_data(couples=[couple] * NUM)


def test_every_form_of_pairs_is_the_same_couples(couple_data):
    pairs = list(zip(LEFTS, RIGHTS, strict=True))
    for form in (list, torch.tensor, np.array, iter):
        assert couple_data(couples=form(pairs)).couples.tolist() == [list(pair) for pair in pairs]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"people": list(range(119))}, r"people must have one entry per profile \(120\), not 119"),
        ({"photo_profile": [*range(119), 120]}, "photo_profile must be positions from 0 to 119, not 120"),
        ({"photo_profile": [*range(119), 1.5]}, "photo_profile must be integer positions"),
        ({"photo_profile": [*range(119), 0]}, "profile number 119 has no photo"),
        ({"features": torch.zeros(119, 4)}, r"features must be a tensor of shape \(120, D\), not \(119, 4\)"),
        ({"features": np.zeros((120, 4))}, "features must be a tensor .* not ndarray"),
        ({"features": torch.zeros(120, 4, dtype=torch.long)}, "features must be floating-point numbers"),
        ({"features": None, "rows": [None] * 7}, r"rows must have one entry per photo \(120\), not 7"),
        ({"task": "couples"}, "task must be"),
        ({"split": {"train": range(30), "val": range(30, 60)}}, "split must have train, val, test; test is missing"),
        (
            {"split": {"train": range(30), "val": range(30, 61), "test": []}},
            r"split\['val'\] must be positions from 0 to 59, not 60",
        ),
    ],
)
def test_other_arguments_have_their_lengths_and_ranges(couple_data, options, message):
    with pytest.raises(ValueError, match=message):
        couple_data(**options)


def test_labels_are_one_per_profile_and_of_the_classes(style_data):
    with pytest.raises(ValueError, match=r"labels must have one entry per profile \(90\), not 89"):
        style_data(labels=["chic"] * 89)
    with pytest.raises(ValueError, match="labels has 'street', which classes does not have"):
        style_data(classes=["chic", "classy"])
