"""Whom the gallery of the test split masks."""

from pathlib import Path

import torch

from style_match.data.datamodule import MatchDataModule
from style_match.data.splits import Split
from style_match.evaluation.evaluator import Evaluator
from tests.data.memory_folder import folder_of, singles


def masked(*further: tuple[str, str], users: dict[str, str]) -> dict[str, int]:
    """Query -> size of its gallery where that is not 6; ten couples, six in the test split, `further` in no split."""
    folder = folder_of([*singles(10), *further], users=users)
    splits = ["test"] * 6 + ["train"] * 2 + ["val"] * 2
    name_of = {couple.item_id: split for couple, split in zip(folder.couples, splits, strict=False)}
    data = MatchDataModule.from_folder(folder, Split(name_of, (), Path("split.csv")))
    num = len(data.gallery("test").profile_ids)
    rows = torch.nn.functional.normalize(torch.randn(num, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    result = data.evaluate(Evaluator(num_resamples=100), "test", rows)
    return {q: size for q, size in zip(result.query_ids, result.ranks.gallery.tolist(), strict=True) if size != 6}


def test_couples_left_out_of_the_split_are_not_held_against_a_model():
    assert masked(("f0", "m1"), users={}) == {"f0": 5, "m1": 5}


def test_partners_of_a_persons_other_profiles_are_not_held_against_a_model():
    assert masked(users={"f2": "u", "f3": "u"}) == {"f2": 5, "f3": 5, "m2": 5, "m3": 5}
