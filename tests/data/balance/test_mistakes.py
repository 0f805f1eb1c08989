"""Options that go with no data of that kind are answered with a remedy, before torch is imported."""

import importlib

import pytest

from style_match.cli.schema import faults
from tests.commands import HEAVY, unimportable


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["balance.cap=1"], "balance.cap=1: Write a whole number of at least 2, median, or null."),
        (["balance.cap=meidan"], "Did you mean balance.cap=median?"),
        (["balance.views=-1"], "balance.views=-1: Write a whole number of at least 0."),
        (["balance.augment=big"], "Write small or all."),
        (["balance.augmentation.crop=1"], "Write a number of at least 0 and below 1."),
        (["balance.augmentation.flip=1.5"], "Write a number of at least 0 and of at most 1."),
        (["balance.fill=2"], "balance.fill=2: Write true or false."),
        (["prompt=metadata", "balance.views=2"], "with prompt=metadata no photo is seen: write prompt=image"),
    ],
)
def test_values(config, words, said):
    (fault,) = faults(config("data=styles", *words), config("data=styles"))
    assert said in fault


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["balance.cap=20"], "balance.cap=20 is for classes, but data=couples holds couples: write balance.cap=null."),
        (["balance.cap=median"], "balance.cap=median is for classes"),
        (
            ["balance.fill=true"],
            "balance.fill=true is for classes, but data=couples holds couples: write balance.fill=false.",
        ),
        (["balance.views=2"], "balance.views=2: couples have no small classes"),
    ],
)
def test_couples(config, words, said):
    (fault,) = faults(config("data=couples", *words))
    assert said in fault
    assert faults(config("data=styles", *words)) == []


def test_views_of_couples_are_for_everybody(config):
    assert faults(config("data=couples", "balance.views=2", "balance.augment=all")) == []


def test_nothing_heavy_is_imported_for_it():
    with unimportable(*HEAVY):
        importlib.import_module("style_match.cli.schema")
        importlib.import_module("style_match.data.balance")
