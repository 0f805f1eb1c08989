"""The table of any sweep: its rows follow from what the runs differ in."""

from pathlib import Path
from typing import Any

import pytest

from style_match.reporting.runs import Options, read_runs
from style_match.reporting.sweeps import print_summary, specs_of, swept_options
from style_match.reporting.tables import make_tables, markdown
from style_match.utils.errors import UserError
from tests.reporting.by_loops import mean
from tests.reporting.run_folders import rewrite_json, write_run


def swept(folder: Path, command: str, *, seeds: tuple[int, ...] = (0, 1, 2), pooled: bool = True) -> None:
    """A sweep over pooling and head.dim as `command` types it; the last dim is the best on validation."""
    for dim in (256, 512):
        for pooling in ("mean", "eos"):
            for seed in seeds:
                options: dict[str, Any] = {"head__dim": dim, "seed": seed}
                if pooled:
                    options["pooling"] = {"name": pooling, "function": {"path": f"style_match.backbone.{pooling}"}}
                name = f"{dim},{pooling},{seed}"
                run = write_run(folder / name, choices={"pooling": pooling, "hydra/launcher": name}, **options)
                rewrite_json(run / "provenance.json", command=f"python -m style_match.train {command}")
                rewrite_json(run / "metrics.json", val={"mrr": {"value": dim / 1000 + (pooling == "eos") / 10}})
            if not pooled:
                break


@pytest.mark.parametrize(
    ("command", "axes"),
    [
        ("-m pooling=mean,eos head.dim=256,512 seed=0,1,2", ["choices.pooling", "head.dim"]),
        ("-m seed=0,1,2 +head.dim=256,512 pooling=mean,eos", ["head.dim", "choices.pooling"]),
        ("-m experiment=own", ["choices.pooling", "head.dim"]),
    ],
)
def test_rows_are_the_options_in_which_runs_differ_in_the_order_typed(tmp_path, command, axes):
    swept(tmp_path, command)
    runs, _ = read_runs(tmp_path)
    assert swept_options(runs) == axes
    (table,) = specs_of(runs).values()
    names = [axis.removeprefix("choices.") for axis in axes]
    best = {"pooling": "eos", "head.dim": 512}
    assert next(iter(table["rows"])) == " ".join(f"{name}={best[name]}" for name in names)
    assert table["title"] == f"Sweep over {', '.join(names)}"


def test_the_table_is_sorted_by_val_mrr_and_compares_with_the_first_row(tmp_path, options: Options):
    swept(tmp_path, "-m head.dim=256,512", pooled=False)
    runs, _ = read_runs(tmp_path)
    (table,) = make_tables(specs_of(runs), runs, options)
    assert [row.row.label for row in table.rows] == ["head.dim=512", "head.dim=256", "frozen backbone"]
    assert [row.val_mrr for row in table.rows] == [pytest.approx(0.512), pytest.approx(0.256), None]
    assert [row.difference and row.difference.against for row in table.rows] == [None, "head.dim=512", "head.dim=512"]
    folders = [tmp_path / f"256,mean,{seed}" for seed in range(3)]
    assert table.rows[1].metrics["mrr"].value == pytest.approx(mean(folders, "mrr"))
    assert "| head.dim=512 | 51.2 |" in markdown(table)


def test_another_row_to_compare_with(tmp_path):
    swept(tmp_path, "-m pooling=mean,eos head.dim=256,512")
    runs, _ = read_runs(tmp_path)
    (table,) = specs_of(runs, "head.dim=256 pooling=mean").values()
    assert {row.get("against") for row in table["rows"].values()} == {None, "pooling=mean head.dim=256"}
    with pytest.raises(UserError, match=r"head\.dim=64\" is no row\. Rows: pooling=eos head\.dim=512, "):
        specs_of(runs, "head.dim=64")


def test_runs_that_differ_in_seeds_alone_are_one_row(tmp_path, options: Options):
    for seed in range(3):
        write_run(tmp_path / str(seed), seed=seed)
    runs, _ = read_runs(tmp_path)
    (table,) = make_tables(specs_of(runs), runs, options)
    assert [row.row.label for row in table.rows] == ["trained head", "frozen backbone"] and table.title == "Sweep"


def test_the_summary_of_an_unfinished_sweep_shows_what_all_rows_have(tmp_path, capsys):
    swept(tmp_path, "-m head.dim=256,512", pooled=False)
    (tmp_path / "512,mean,2" / "metrics.json").unlink()
    print_summary(tmp_path)
    shown = capsys.readouterr()
    assert "head.dim=512" in shown.out and "2 seeds: too few" in shown.out
    assert f"python -m style_match.report sweep={tmp_path}" in shown.err


def test_runs_on_different_data_are_not_in_one_table(tmp_path, capsys):
    for name in ("a", "b"):
        write_run(tmp_path / name, data=name * 64, data__world_seed=0, root=tmp_path / "data", head__dim=ord(name))
    print_summary(tmp_path)
    assert "The runs are not in one table" in capsys.readouterr().err
