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
    table3(tmp_path, seeds=(0, 1))
    rows = rows_of(tmp_path)
    assert [(row.name, row.seeds, len(row.runs)) for row in rows] == [
        ("dim256_tau0.1", [0, 1], 2),
        ("dim512_tau0.1", [0, 1], 2),
        ("dim512_tau0.2", [0, 1], 2),
    ]
    assert {run.config.head.dim for run in rows[0].runs.values()} == {256}
    refuse_incomparable("table3", rows)


def test_a_frozen_model_is_one_run_whatever_the_seeds(tmp_path):
    table3(tmp_path, seeds=(0, 1, 2))
    random, frozen, ours = rows_of(tmp_path, "table1")
    assert (random.seeds, frozen.seeds, ours.seeds) == ([None], [None], [0, 1, 2])
    assert len(frozen.runs) == 1 and len(frozen.folders) == 3


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


def test_a_row_does_not_mix_options(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, head__hidden_dim=32, backbone__name="big")
    with pytest.raises(UserError, match=r"would mix runs that differ in backbone\.name, head\.hidden_dim"):
        rows_of(tmp_path)


def test_a_row_does_not_mix_features(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, key="other")
    with pytest.raises(UserError, match=r"would mix runs that differ in features\.key"):
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


def test_seeds_of_one_row_with_other_queries_are_refused(tmp_path):
    """As when the split was drawn by other code: arrays of one length that do not belong together."""
    write_run(tmp_path / "a", **NARROW)
    write_run(tmp_path / "b", **DIMS, seed=1, names=[f"x{i}" for i in range(12)])
    with pytest.raises(UserError, match=r"dim256_tau0\.1 cannot be compared on data dddddddd.*test queries"):
        refuse_incomparable("table3", rows_of(tmp_path))


def test_poolings_are_told_apart_by_their_group(tmp_path):
    identity = {"head___target_": "style_match.models.head.identity.Identity", "models": ("frozen",)}
    write_run(tmp_path / "mean", **identity)
    write_run(
        tmp_path / "eos", **identity, pooling={"name": "eos", "function": {"path": "style_match.backbone.pooling.eos"}}
    )
    rows = rows_of(tmp_path, "table2")
    refuse_incomparable("table2", rows)
    assert [row.name for row in rows] == ["eos", "mean"]


def rows_of_recipes(names, folder):
    rows = {name: {"label": name, "model": "trained", "where": {"choices.recipe": name}} for name in names}
    return match(spec("table3") | {"where": {}, "rows": rows}, read_runs(folder)[0])


def test_recipes_may_differ_in_what_recipes_set(tmp_path):
    write_run(tmp_path / "a", choices={"recipe": "a"})
    write_run(tmp_path / "b", choices={"recipe": "b"}, key="layer 12", optimizer__lr=1.0, head={"dim": 3})
    refuse_incomparable("recipes", rows_of_recipes("ab", tmp_path))
    write_run(tmp_path / "c" / "a", seed=1, choices={"recipe": "a"})
    write_run(tmp_path / "c" / "b", seed=1, choices={"recipe": "b"}, gallery=20)
    with pytest.raises(UserError, match="they differ in gallery"):
        refuse_incomparable("recipes", rows_of_recipes("ab", tmp_path / "c"))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"backbone__name": "qwen"}, "backbone.name"),
        ({"split__fractions": [0.8, 0.1, 0.1]}, "split.fractions"),
        ({"data__label_column": "x"}, "data.label_column"),
        ({"evaluation__confidence": 0.9}, "evaluation.confidence"),
        ({"sampler__batch_size": 8}, "sampler.batch_size"),
    ],
)
def test_recipes_do_not_differ_in_what_no_recipe_sets(tmp_path, other, said):
    write_run(tmp_path / "a", choices={"recipe": "a"}, evaluation__csls_k=10, backbone__layer=2)
    write_run(tmp_path / "b", choices={"recipe": "b"}, key="other", head__dim=3)
    write_run(tmp_path / "c", choices={"recipe": "c"}, **other)
    made = rows_of_recipes("abc", tmp_path)
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
    cells = table3(tmp_path, seeds=(0, 1, 2))
    (cells["dim512_tau0.2", 2] / "metrics.json").unlink()
    with pytest.raises(
        UserError, match=r"dim512_tau0\.2: data dddddddd, split\.seed=0, seed 2\n.*leave_out=\[lacking\]"
    ):
        refuse_incomparable("table3", rows_of(tmp_path))
    rows = rows_of(tmp_path)
    gone = keep_common("table3", rows)
    assert [text.partition(" (")[0] for text in gone] == [
        f"{name}: data dddddddd, split.seed=0, seed 2" for name in ("dim256_tau0.1", "dim512_tau0.1")
    ]
    refuse_incomparable("table3", rows)
    assert [row.seeds for row in rows] == [[0, 1]] * 3


def test_what_is_common_is_a_full_grid_of_test_sets_and_seeds(tmp_path):
    for world, seeds in (("a", (0, 1, 2)), ("b", (1, 2, 3)), ("c", (1, 2))):
        table3(tmp_path / world, seeds=seeds, data=world * 64)
    write_run(tmp_path / "more", data="e" * 64)
    rows = rows_of(tmp_path)
    keep_common("table3", rows)
    refuse_incomparable("table3", rows)
    assert [(row.seeds, [test_set.data[0] for test_set in row.test_sets]) for row in rows] == [
        ([1, 2], list("abc"))
    ] * 3


@pytest.mark.parametrize(("other", "lacks"), [({"data": "e" * 64}, "test set"), ({"seed": 1}, "seed")])
def test_nothing_in_common_is_a_mistake(tmp_path, other, lacks):
    write_run(tmp_path / "narrow", **NARROW)
    write_run(tmp_path / "wide", **other)
    with pytest.raises(UserError, match=f"table3: there is no {lacks} that all rows have"):
        keep_common("table3", rows_of(tmp_path))


def test_a_row_against_one_that_is_not_in_the_table_is_a_mistake(tmp_path):
    write_run(tmp_path / "a")
    table = spec("table3")
    table["rows"]["dim512_tau0.2"]["against"] = "dim1024"
    with pytest.raises(UserError, match="compared with dim1024"):
        match(table, read_runs(tmp_path)[0])


def test_a_row_of_a_model_that_a_run_has_not_is_a_mistake(tmp_path):
    write_run(tmp_path / "a", models=("frozen",))
    with pytest.raises(UserError, match="has no results of a trained model"):
        rows_of(tmp_path)
