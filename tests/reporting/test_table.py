"""Every number of a table, computed again by loops over the ranks that the runs wrote."""

import math
from dataclasses import replace

import numpy as np
import pytest

from style_match.reporting.runs import read_runs
from style_match.reporting.tables import foreign_runs, make_table, make_tables
from style_match.utils.errors import UserError
from tests.reporting.by_loops import WIDE, gaps, mean, sign_flips, table_of
from tests.reporting.run_folders import chance, spec, table3, write_run

ROWS = ("dim256_tau0.1", "dim512_tau0.1", "dim512_tau0.2")


def test_cells_are_means_over_seeds_and_queries(tmp_path, options):
    cells = table3(tmp_path)
    table = table_of(tmp_path, options)
    assert [row.row.name for row in table.rows] == list(ROWS)
    assert table.metrics == ("recall@5", "recall@10", "mrr")
    for row in table.rows:
        folders = [cells[row.row.name, seed] for seed in (0, 1, 2)]
        for metric, cell in row.metrics.items():
            assert cell.value == pytest.approx(mean(folders, metric))
            assert 0 <= cell.low < cell.value < cell.high <= 1
            seeds = [mean([folder], metric) for folder in folders]
            assert row.seed_sd[metric] == pytest.approx(np.std(seeds, ddof=1))
    assert table.design == "couples" and table.synthetic


def test_differences_are_paired_by_query_and_seed(tmp_path, options):
    cells = table3(tmp_path, num_couples=9)
    table = table_of(tmp_path, options)
    p_values = []
    assert table.rows[0].difference is None
    for row, against in zip(table.rows[1:], ROWS, strict=False):
        one, other = ([cells[name, seed] for seed in (0, 1, 2)] for name in (row.row.name, against))
        assert row.difference.against == against
        for metric, interval in row.difference.metrics.items():
            by_couple = gaps(one, other, metric)
            assert interval.value == pytest.approx(np.mean(list(by_couple.values())))
            assert interval.low < interval.value < interval.high
        sums = [sum(found) for found in gaps(one, other, "mrr").values()]
        assert row.difference.p == pytest.approx(sign_flips(sums)), "2^9 signs are all tried"
        p_values.append(row.difference.p)
    low, high = sorted(p_values)
    holm = {low: min(2 * low, 1), high: max(min(2 * low, 1), high)}
    assert [row.difference.p_adjusted for row in table.rows[1:]] == pytest.approx([holm[p] for p in p_values])


@pytest.mark.parametrize(
    ("skills", "verdict"), [((0.2, 9.0), "better"), ((9.0, 0.2), "worse"), ((1, 1), "not distinguishable")]
)
def test_verdicts(tmp_path, options, skills, verdict):
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", seed=seed, **WIDE, skill=skills[0], num_couples=40)
        write_run(tmp_path / f"b{seed}", seed=seed, skill=skills[1], num_couples=40)
    (_, row) = table_of(tmp_path, options).rows
    assert row.difference.verdict == verdict
    assert (row.difference.p_adjusted <= 0.05) == (verdict != "not distinguishable")


def test_chance_is_exact_and_the_frozen_model_is_counted_once(tmp_path, options):
    cells = table3(tmp_path)
    table = table_of(tmp_path, options, "table1")
    random, frozen, ours = table.rows
    exact = chance(12, 12)
    for metric, cell in random.metrics.items():
        assert cell.low == cell.value == cell.high == pytest.approx(exact[metric]["value"])
    one = cells["dim512_tau0.2", 0]
    assert frozen.metrics["mrr"].value == pytest.approx(mean([one], "mrr", "frozen"))
    assert frozen.difference.metrics["mrr"].value == pytest.approx(mean([one], "mrr", "frozen") - exact["mrr"]["value"])
    assert math.isnan(frozen.seed_sd["mrr"])
    assert (frozen.difference.p, frozen.difference.p_adjusted, frozen.difference.verdict) == (None, None, "")
    own, gap = frozen.metrics["mrr"], frozen.difference.metrics["mrr"]
    assert (gap.low, gap.high) == pytest.approx((own.low - exact["mrr"]["value"], own.high - exact["mrr"]["value"]))
    assert ours.difference.p_adjusted == ours.difference.p, "Holm's correction is over what is tested"
    trained = [cells["dim512_tau0.2", seed] for seed in (0, 1, 2)]
    by_couple = gaps(trained, [one] * 3, "mrr", ("trained", "frozen"))
    assert ours.difference.metrics["mrr"].value == pytest.approx(np.mean(list(by_couple.values())))
    assert table.notes[:2] == (
        "24 queries in one test set, gallery 12, 3 seeds.",
        "Chance, exact: R@5 41.7, R@10 83.3, MRR 25.9 %.",
    )


@pytest.mark.parametrize(("skill", "said"), [(9.0, "leaves"), (1 / 3, "does not leave")])
def test_whether_the_interval_leaves_chance_out_is_said_in_words(tmp_path, options, skill, said):
    write_run(tmp_path / "a", skill=skill, num_couples=40, synthetic=False)
    table = table_of(tmp_path, replace(options, min_seeds=1), "table1")
    gap = table.rows[1].difference.metrics["mrr"]
    assert (said == "leaves") == (gap.low > 0 or gap.high < 0)
    (note,) = [note for note in table.notes if "chance is exact" in note]
    assert note.startswith("Qwen3-VL, frozen minus Random: ") and note.endswith(f"for the MRR it {said} out 0.")
    assert not table.synthetic


@pytest.mark.parametrize(
    ("seeds", "note"),
    [
        ((0,), "One seed: the intervals ignore the variance over seeds and hold for this training alone."),
        ((0, 1), "2 seeds: too few to estimate the variance over seeds. Run at least 3 (seed=0,1,2)."),
        ((0, 1, 2), None),
    ],
)
def test_too_few_seeds_are_said(tmp_path, options, seeds, note):
    table3(tmp_path, seeds=seeds)
    table = table_of(tmp_path, options)
    assert [each for each in table.notes if "the variance over seeds" in each and "bootstrap" not in each] == (
        [note] if note else []
    )
    assert math.isnan(table.rows[0].seed_sd["mrr"]) == (len(seeds) == 1)


def test_frozen_rows_need_no_seeds(tmp_path, options):
    identity = {"head___target_": "style_match.models.head.identity.Identity", "models": ("frozen",)}
    write_run(tmp_path / "mean", **identity)
    write_run(tmp_path / "eos", **identity, pooling={"name": "eos", "function": {"path": "x"}})
    table = table_of(tmp_path, options, "table2")
    assert table.rows[1].difference.metrics["mrr"].value == pytest.approx(
        mean([tmp_path / "mean"], "mrr", "frozen") - mean([tmp_path / "eos"], "mrr", "frozen")
    )


def test_what_a_table_lacks_is_said(tmp_path, options):
    for seed in range(3):
        write_run(tmp_path / f"{seed}", seed=seed, code=f"version {seed}")
    table = make_table(
        "table3", spec("table3") | {"metrics": ["recall@5", "recall@20", "mrr"]}, read_runs(tmp_path)[0], options
    )
    assert "No runs of: dim 256, tau 0.1; dim 512." in table.notes
    assert "Not shown, because above a gallery or not in every run: R@20." in table.notes
    assert "The runs were made by 3 versions of the code." in table.notes
    assert table.rows[0].difference is None and not any("Verdicts" in note for note in table.notes)


def test_lacking_seeds_are_left_out_by_name(tmp_path, options):
    cells = table3(tmp_path, seeds=range(4))
    (cells["dim256_tau0.1", 3] / "metrics.json").unlink()
    table = table_of(tmp_path, replace(options, leave_out=["lacking"]))
    assert [row.row.seeds for row in table.rows] == [[0, 1, 2]] * 3
    assert sum(note.startswith("Left out: ") and "seed 3" in note for note in table.notes) == 2


@pytest.mark.parametrize("metrics", [["recall@5"], ["median_rank", "mrr"]])
def test_metrics_that_are_no_means_or_lack_the_tested_one_are_refused(tmp_path, options, metrics):
    write_run(tmp_path / "a")
    with pytest.raises(UserError, match="must contain mrr, which is tested, and only"):
        table_of(tmp_path, options, metrics=metrics)


def test_all_tables_of_a_folder_and_the_runs_that_fit_none(tmp_path, options):
    table3(tmp_path)
    write_run(tmp_path / "other", head__dim=64)
    specs = {name: spec(name) for name in ("table1", "table2", "table3", "style")}
    runs, _ = read_runs(tmp_path)
    (foreign,) = foreign_runs(specs, runs)
    assert (foreign.folder.name, foreign.kind) == ("other", "foreign")
    assert [table.name for table in make_tables(specs, runs, options)] == ["table1", "table3"]
    with pytest.raises(
        UserError,
        match=r"None of 10 finished runs matches[^$]*table2\.eos: head\._target_=Identity, .*pooling\.name=eos",
    ):
        foreign_runs({"table2": specs["table2"]}, runs)
