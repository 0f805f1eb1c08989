"""Options that go with no data of that kind are answered with a remedy, before torch is imported."""

import importlib

import pytest

from style_match.cli.schema import faults
from tests.commands import HEAVY, unimportable


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["balance.cap=1"], "balance.cap must be an integer >= 2, median or null (got 1)."),
        (["balance.cap=meidan"], "Did you mean balance.cap=median?"),
        (["balance.views=-1"], "balance.views must be an integer >= 0 (got -1)."),
        (["balance.augment=big"], "must be small or all"),
        (["balance.augmentation.crop=1"], "must be a number >= 0 and < 1"),
        (["balance.augmentation.flip=1.5"], "must be a number >= 0 and <= 1"),
        (["balance.fill=2"], "balance.fill must be true or false (got 2)."),
        (["prompt=metadata", "balance.views=2"], "balance.views=2 needs photos, which prompt=metadata drops."),
    ],
)
def test_values(config, words, said):
    (fault,) = faults(config("data=styles", *words), config("data=styles"))
    assert said in fault


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("balance.cap=20", "balance.cap=20 needs classes, but data=couples has couples. Set it to null."),
        ("balance.cap=median", "balance.cap=median needs classes"),
        ("balance.fill=true", "balance.fill=true needs classes, but data=couples has couples. Set it to false."),
        ("balance.views=2", "balance.augment=small needs classes"),
    ],
)
def test_couples(config, word, said):
    (fault,) = faults(config("data=couples", word))
    assert said in fault
    assert faults(config("data=styles", word)) == []
    assert faults(config("data=couples", "balance.views=2", "balance.augment=all")) == []


def test_nothing_heavy_is_imported_for_it():
    with unimportable(*HEAVY):
        importlib.import_module("style_match.cli.schema")
        importlib.import_module("style_match.data.balance")
