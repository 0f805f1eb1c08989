"""Which runs stand in which row, and which rows are not compared."""

import pytest
import yaml
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.cli.run_config import leaves
from style_match.reporting.runs import OF_RECIPE, keep_common, match, read_runs, refuse_incomparable
from style_match.utils.errors import UserError
from tests.reporting.run_folders import rewrite_json, spec, table3, write_run


def rows_of(folder, table="table3"):
    return match(spec(table), read_runs(folder)[0])


def test_rows_take_the_runs_that_fit(tmp_path):
    table3(tmp_path)
    rows = rows_of(tmp_path)
    assert [(row.name, row.seeds, len(row.runs)) for row in rows] == [
        (name, [0, 1, 2], 3) for name in ("dim256_tau0.1", "dim512_tau0.1", "dim512_tau0.2")
    ]
    assert {run.config.head.dim for run in rows[0].runs.values()} == {256}
    refuse_incomparable("table3", rows)
    random, frozen, ours = rows_of(tmp_path, "table1")
    assert (random.seeds, frozen.seeds, ours.seeds) == ([None], [None], [0, 1, 2])
    assert len(frozen.runs) == 1 and len(frozen.folders) == 3, "a frozen model is one run whatever the seeds"


def test_a_recipe_is_not_the_papers_row(tmp_path):
    write_run(tmp_path / "a", choices={"recipe": "pair_lda"})
    assert rows_of(tmp_path) == [] and rows_of(tmp_path, "table1") == []


def test_a_run_without_the_groups_of_training_fits_as_well(tmp_path):
    """As `evaluate` leaves it."""
    run = write_run(tmp_path / "a", head___target_="style_match.models.head.identity.Identity", models=("frozen",))
    rewrite_json(run / "provenance.json", choices={"head": "identity"})
    assert [row.name for row in rows_of(tmp_path, "table2")] == ["mean"]


def test_runs_that_say_different_things_are_refused(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    assert len(rows_of(tmp_path)) == 1, "the same twice is once"
    write_run(tmp_path / "c", ranks={"trained": [1] * 24}, optimizer__lr=1.0)
    with pytest.raises(UserError, match=r"different results for the row dim512_tau0\.2 .*seed 0.*in optimizer\.lr"):
        rows_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"head__hidden_dim": 32, "backbone__name": "big"}, r"backbone\.name, head\.hidden_dim"),
        ({"key": "other"}, r"features\.key"),
    ],
)
def test_a_row_does_not_mix_options_or_features(tmp_path, changes, named):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, **changes)
    with pytest.raises(UserError, match=f"would mix runs that differ in {named}"):
        rows_of(tmp_path)


def test_a_row_may_differ_in_what_changes_no_result(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, logger__csv=None, backbone__device="cpu", split__store="/elsewhere")
    assert [row.seeds for row in rows_of(tmp_path)] == [[0, 1]]


DIMS = {"head__dim": 256, "loss__temperature": 0.1}
NARROW = {"seed": 0, **DIMS}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"key": "other"}, "features.key"),
        ({"head__hidden_dim": 32}, "head.hidden_dim"),
        ({"sampler__batch_size": 8, "optimizer__lr": 1.0}, "sampler.batch_size, optimizer.lr"),
        ({"evaluation__confidence": 0.9}, "evaluation.confidence"),
        ({"names": [f"x{i}" for i in range(12)]}, "test queries"),
        ({"gallery": 20}, "gallery"),
    ],
)
def test_rows_that_answer_other_questions_are_refused(tmp_path, other, said):
    write_run(tmp_path / "narrow", **NARROW)
    write_run(tmp_path / "wide", **other)
    rows = rows_of(tmp_path)
    assert [row.name for row in rows] == ["dim256_tau0.1", "dim512_tau0.2"]
    with pytest.raises(UserError) as refused:
        refuse_incomparable("table3", rows)
    assert f"they differ in {said} (" in str(refused.value)
    assert "narrow" in str(refused.value) and "wide" in str(refused.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"backbone__name": "qwen"}, "backbone.name"),
        ({"split__fractions": [0.8, 0.1, 0.1]}, "split.fractions"),
        ({"sampler__batch_size": 8}, "sampler.batch_size"),
        ({"gallery": 20}, "gallery"),
    ],
)
def test_recipes_differ_only_in_what_recipes_set(tmp_path, other, said):
    write_run(tmp_path / "a", choices={"recipe": "a"}, evaluation__csls_k=10, backbone__layer=2)
    write_run(tmp_path / "b", choices={"recipe": "b"}, key="other", optimizer__lr=1.0, head={"dim": 3})
    write_run(tmp_path / "c", choices={"recipe": "c"}, **other)
    rows = {name: {"label": name, "model": "trained", "where": {"choices.recipe": name}} for name in "abc"}
    made = match(spec("table3") | {"where": {}, "rows": rows}, read_runs(tmp_path)[0])
    refuse_incomparable("recipes", made[:2])
    with pytest.raises(UserError, match=f"rows a and c cannot .* they differ in {said} \\("):
        refuse_incomparable("recipes", [made[0], made[2]])


def test_what_recipes_set_is_what_recipe_rows_may_differ_in():
    for path in (main.conf_dir() / "recipe").glob("*.yaml"):
        made = yaml.safe_load(path.read_text(encoding="utf-8"))
        groups = [next(iter(one)).removeprefix("override /") for one in made.pop("defaults") if isinstance(one, dict)]
        for option in [*groups, *leaves(OmegaConf.create(made))]:
            assert any(option == one or option.startswith(f"{one}.") for one in OF_RECIPE), (path.name, option)


def test_what_lacks_is_listed_and_left_out_on_request(tmp_path):
    for world, seeds in (("a", (0, 1, 2)), ("b", (1, 2, 3)), ("c", (1, 2))):
        table3(tmp_path / world, seeds=seeds, data=world * 64)
    rows = rows_of(tmp_path)
    with pytest.raises(
        UserError, match=r"dim512_tau0\.2: data bbbbbbbb, split\.seed=0, seed 0\n[^$]*leave_out=\[lacking\]"
    ):
        refuse_incomparable("table3", rows)
    removed = keep_common("table3", rows)
    refuse_incomparable("table3", rows)
    assert "dim256_tau0.1: data aaaaaaaa, split.seed=0, seed 0" in [text.partition(" (")[0] for text in removed]
    assert [(row.seeds, [test_set.data[0] for test_set in row.test_sets]) for row in rows] == [
        ([1, 2], list("abc"))
    ] * 3


@pytest.mark.parametrize(("other", "lacks"), [({"data": "e" * 64}, "test set"), ({"seed": 1}, "seed")])
def test_nothing_in_common_is_a_mistake(tmp_path, other, lacks):
    write_run(tmp_path / "narrow", **NARROW)
    write_run(tmp_path / "wide", **other)
    with pytest.raises(UserError, match=f"table3: there is no {lacks} that all rows have"):
        keep_common("table3", rows_of(tmp_path))


def test_a_table_that_does_not_fit_its_runs_is_a_mistake(tmp_path):
    write_run(tmp_path / "a", models=("frozen",))
    with pytest.raises(UserError, match="has no results of a trained model"):
        rows_of(tmp_path)
    table = spec("table3")
    table["rows"]["dim512_tau0.2"]["against"] = "dim1024"
    with pytest.raises(UserError, match="compared with dim1024"):
        match(table, read_runs(tmp_path)[0])
