"""Folds, repeated splits, worlds and common galleries: each number again by loops."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from style_match.reporting.tables import markdown
from style_match.utils.errors import UserError
from tests.reporting.by_loops import WIDE, gaps, mean, score, sign_flips, table_of
from tests.reporting.run_folders import read_ranks, write_run


def test_folds_are_pooled(tmp_path, options):
    sizes = {0: 5, 1: 3, 2: 4}
    cells = {}
    for fold, size in sizes.items():
        for seed in range(3):
            for name, how in (("a", WIDE), ("b", {})):
                cells[name, fold, seed] = write_run(
                    tmp_path / f"{name}{fold}{seed}",
                    seed=seed,
                    split__folds=3,
                    split__fold=fold,
                    names=[f"{fold}{i}" for i in range(size)],
                    **how,
                )
    table = table_of(tmp_path, options)
    assert table.design == "couples" and table.metrics == ("mrr",)
    assert table.notes[0] == "24 queries in 3 folds, gallery 3 to 5, 3 seeds."
    a, b = ([cells[name, fold, seed] for fold in sizes for seed in range(3)] for name in "ab")
    assert table.rows[0].metrics["mrr"].value == pytest.approx(mean(a, "mrr"))
    by_couple = gaps(b, a, "mrr")
    assert len(by_couple) == 12
    assert table.rows[1].difference.metrics["mrr"].value == pytest.approx(
        np.mean([gap for found in by_couple.values() for gap in found])
    )
    chance = sum(size * sum(1 / rank for rank in range(1, size + 1)) / size for size in sizes.values()) / 12
    assert f"MRR {100 * chance:.1f} %" in table.notes[1], "of each query's own gallery"
    # people of two folds are not one cluster because their numbers are equal
    p = table.rows[1].difference.p
    assert p == pytest.approx(sign_flips([sum(found) for found in by_couple.values()]))


def splits(folder, seeds, *, folds=None, num_couples=12, **options):
    """Two rows over repeated splits; returns {(row, split, fold): folder}."""
    return {
        (name, seed, fold): write_run(
            folder / f"{name}{seed}{fold}",
            split__seed=seed,
            split__folds=folds,
            split__fold=fold,
            names=[f"{seed}-{fold}-{i}" for i in range(num_couples)],
            **how,
            **options,
        )
        for name, how in (("a", WIDE), ("b", {}))
        for seed in seeds
        for fold in (range(folds) if folds else [None])
    }


@pytest.mark.parametrize("folds", [None, 2])
def test_repeated_splits_have_a_corrected_t(tmp_path, options, folds):
    cells = splits(tmp_path, range(3), folds=folds)
    table = table_of(tmp_path, options)
    assert table.design == "splits" and "corrected resampled t" in table.notes[2]
    units = [(seed, fold) for name, seed, fold in cells if name == "a"]
    gap = np.array([mean([cells["b", *unit]], "mrr") - mean([cells["a", *unit]], "mrr") for unit in units])
    count = len(gap)
    error = math.sqrt((1 / count + 12 / 56) * gap.var(ddof=1))
    difference = table.rows[1].difference
    half = stats.t.ppf(0.975, count - 1) * error
    assert difference.metrics["mrr"].value == pytest.approx(gap.mean())
    assert difference.metrics["mrr"].high - gap.mean() == pytest.approx(half)
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(gap.mean()) / error, count - 1))
    assert f"{24 * count} queries in " + ("3 splits," if not folds else "3 splits x 2 folds,") in table.notes[0]


def test_worlds_have_a_paired_t(tmp_path, options):
    cells = {}
    for world in "abc":
        cells |= {(world, *key): path for key, path in splits(tmp_path / world, range(2), data=world * 64).items()}
    table = table_of(tmp_path, options)
    assert table.design == "worlds" and "3 datasets x 2 splits" in table.notes[0]
    gap = np.array(
        [
            np.mean([mean([cells[w, "b", s, None]], "mrr") - mean([cells[w, "a", s, None]], "mrr") for s in range(2)])
            for w in "abc"
        ]
    )
    difference = table.rows[1].difference
    test = stats.ttest_1samp(gap, 0)
    low, high = test.confidence_interval(0.95)
    assert difference.p == pytest.approx(test.pvalue)
    interval = difference.metrics["mrr"]
    assert (interval.low, interval.value, interval.high) == pytest.approx((low, gap.mean(), high))


def test_worlds_that_differ_alike_have_no_verdict(tmp_path, options):
    ranks = {"a": [2, 4] * 12, "b": [1, 3] * 12}
    for world in "abc":
        for name, how in (("a", WIDE), ("b", {})):
            write_run(tmp_path / f"{world}{name}", data=world * 64, ranks={"trained": ranks[name]}, **how)
    table = table_of(tmp_path, options)
    difference = table.rows[1].difference
    assert (difference.p, difference.p_adjusted, difference.verdict) == (None, None, "")
    assert "tau 0.2 minus dim 512: the same MRR difference everywhere, so no interval and no test." in table.notes
    assert not any("Verdicts" in note for note in table.notes)
    row = markdown(table).split("| tau 0.2 | dim 512 |")[1].splitlines()[0]
    assert row.endswith(f"| {100 * (2 / 3 - 3 / 8):+.1f} |  |  |  |"), "no bounds that look exact"


def test_one_dataset_before_and_after_a_change_is_not_two(tmp_path, options):
    for version in "de":
        for name, how in (("a", WIDE), ("b", {})):
            world = {"data": version * 64, "data__world_seed": ord(version)}
            write_run(tmp_path / "changed" / version / name, data=version * 64, root="/couples", **how)
            write_run(tmp_path / "drawn" / version / name, root="/drawn", **world, **how)
    with pytest.raises(UserError, match=r"the dataset /couples changed between the runs .*/d/. \(dddddddd\) and .*/e/"):
        table_of(tmp_path / "changed", options)
    assert table_of(tmp_path / "drawn", options).design == "worlds", "drawn in one folder in turn"


def test_splits_that_are_one_and_the_same_are_no_repetition(tmp_path, options):
    """A split column of the user's holds for every split.seed."""
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", split__seed=seed)
    with pytest.raises(UserError, match=r"split\.seed=0 and data dddddddd, split\.seed=1 have the same queries"):
        table_of(tmp_path, options)


def test_a_common_gallery_is_the_expectation_over_its_subsets(tmp_path, options):
    for seed in range(3):
        write_run(tmp_path / f"{seed}", seed=seed, num_couples=7)
    one = replace(options, gallery=4)
    table = table_of(tmp_path, one, "table1", metrics=["recall@1", "recall@5", "mrr"])
    assert table.metrics == ("recall@1", "mrr"), "recall@5 says nothing among four"

    def cut(rank, metric):
        """Over all choices of 3 of the 6 rivals, of which rank - 1 are ahead."""
        ahead = [sum(rival < rank - 1 for rival in drawn) for drawn in itertools.combinations(range(6), 3)]
        return np.mean([score(1 + before, metric) for before in ahead])

    for row, model in ((table.rows[1], "frozen"), (table.rows[2], "trained")):
        for metric in table.metrics:
            ranks = [rank for seed in range(3) for rank in read_ranks(tmp_path / f"{seed}", model).values()]
            assert row.metrics[metric].value == pytest.approx(np.mean([cut(rank, metric) for rank in ranks]))
    assert table.rows[0].metrics["recall@1"].value == 0.25
    assert table.rows[0].metrics["mrr"].value == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert "gallery 4 (expected over random parts of 7)" in table.notes[0]
    assert "R@1 25.0, MRR 52.1 %" in table.notes[1]
    with pytest.raises(UserError, match=r"report\.gallery=8 exceeds the smallest test gallery of 7"):
        table_of(tmp_path, replace(options, gallery=8))
    write_run(tmp_path / "styles" / "a", data__task="style")
    with pytest.raises(UserError, match=r"report\.gallery=4 is for couples"):
        table_of(tmp_path / "styles", one, "table1", task="style")
