"""Groups, hubs and listed queries of the page, each counted again."""

import pyarrow.parquet as pq
import pytest

from style_match.reporting.pages import groups, hubs, page, queries
from style_match.reporting.runs import Options, read_runs
from style_match.reporting.statistics import blocks_of
from style_match.reporting.tables import make_table
from style_match.utils.errors import UserError
from tests.reporting.pages import Tags, figure, report_options, rows_and_report, shown
from tests.reporting.run_folders import read_ranks, spec, write_run, write_style_run


def found_groups(folder, **options):
    (row, *_), report = rows_and_report(folder, min_group=5, **options)
    return groups(row, blocks_of(row)[0], ["recall@5", "mrr"], report)


def test_groups_are_those_of_the_asking_profile(dataset):
    found = found_groups(dataset, by="region")
    assert [(one.group, one.queries, one.profiles, one.clusters) for one in found] == [
        ("north", 18, 18, 9),
        ("south", 6, 6, 3),
    ]
    ranks = read_ranks(dataset / "0", "frozen")
    north = [1 / rank for (query, _), rank in ranks.items() if int(query[1:]) < 9]
    assert found[0].intervals["mrr"].value == pytest.approx(sum(north) / 18)
    assert "not shown: fewer than" not in Tags(shown(dataset, by="region", min_group=5)).text


def test_small_groups_are_counted_and_not_shown(dataset):
    text = Tags(shown(dataset, by="age", bands=[25, 32], num_answers=3)).text
    assert "By age of the asking profile" in text and text.count("first 3 answers") == 2
    assert text.count("not shown: fewer than 20 profiles") == 2 * 2, "25-31 and under 25 have 14 and 10; none has 32"


def test_groups_are_over_all_folds(dataset):
    root = dataset.parent / "data"
    for fold in range(2):
        write_run(
            dataset.parent / "folds" / f"{fold}",
            split__folds=2,
            split__fold=fold,
            root=root,
            names=[f"{i:03d}" for i in range(fold * 6, fold * 6 + 6)],
        )
    found = found_groups(dataset.parent / "folds", by="region")
    assert [(one.group, one.profiles) for one in found] == [("north", 18), ("south", 6)]


def test_a_column_that_is_not_there_is_named_with_those_that_are(dataset):
    with pytest.raises(UserError, match=r"report\.by=hair: .*profiles\.csv has no such column; it has age, region"):
        shown(dataset, by="hair")
    with pytest.raises(UserError, match=r"region.*is 'north', not a number"):
        shown(dataset, by="region", bands=[18])


def test_best_and_worst_queries_with_their_answers(tmp_path):
    write_run(tmp_path / "a", num_couples=8)
    (run,), _ = read_runs(tmp_path)
    best, worst = queries(run, "trained", 3, 4)
    ranks = read_ranks(tmp_path / "a", "trained")
    ordered = sorted(ranks.values())
    assert [row["rank"] for row in best] == ordered[:3]
    assert [row["rank"] for row in worst] == ordered[::-1][:3]
    answers = pq.read_table(tmp_path / "a" / "answers.parquet").to_pylist()
    for row in best + worst:
        assert row["rank"] == ranks[row["query"], row["direction"]]
        own = [a for a in answers if (a["model"], a["query"]) == ("trained", row["query"])]
        assert row["answers"] == [a["answer"] for a in sorted(own, key=lambda a: a["place"])][:4]
        assert row["rank"] > 4 or row["answers"][row["rank"] - 1] == row["partner"]


def test_hubs_are_counted_over_the_first_answers(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"{seed}", seed=seed)
    rows, _ = rows_and_report(tmp_path)
    for row in rows:
        found = hubs(row, 4, 5)
        times = dict.fromkeys([side + f"{i:03d}" for side in "fm" for i in range(12)], 0)
        for line in pq.read_table(tmp_path / "0" / "answers.parquet").to_pylist():
            if line["model"] == row.model and line["place"] <= 4:
                times[line["answer"]] += 1
        assert (found.k, found.gallery) == (4, 24)
        assert found.never_count == list(times.values()).count(0)
        assert len(found.top) == 5 and len(hubs(row, 4, 2).top) == 2
        assert found.top[0][1] == max(times.values()) and all(times[name] == count for name, count in found.top)
        mean = sum(times.values()) / 24
        moments = [sum((count - mean) ** power for count in times.values()) / 24 for power in (2, 3)]
        assert found.skewness == pytest.approx(moments[1] / moments[0] ** 1.5)
    assert hubs(rows[0], 99, 5).k == 10, "no more than were kept"


def test_runs_without_answers_have_a_page_that_says_so(tmp_path):
    """As with evaluation.num_answers=0."""
    for seed in range(3):
        path = write_run(tmp_path / f"{seed}", seed=seed) / "answers.parquet"
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    rows, _ = rows_and_report(tmp_path)
    assert hubs(rows[0], 10, 5) is None
    seen = Tags(shown(tmp_path)).text
    assert seen.count("no answers were kept: evaluation.num_answers=0") == 2 and "Best queries" in seen


def test_a_style_page_counts_profiles_that_nobody_asks_for(tmp_path):
    """One alone in its class is no query, and may be an answer."""
    write_style_run(tmp_path / "a")
    report = report_options()
    runs, _ = read_runs(tmp_path)
    table = make_table("style", spec("style") | {"metrics": ["precision@5", "mrr"]}, runs, Options.from_config(report))
    frozen = table.rows[0].row
    found = hubs(frozen, 3, 5)
    assert found.gallery == 9
    text = page([table], tmp_path, report, left_out=[])
    assert [trace["name"] for trace in figure(text, "recall-style")] == [row.row.label for row in table.rows]
    assert "alone" in Tags(text).text
