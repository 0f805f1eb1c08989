"""The runs below a folder: read, counted, refused by name."""

import json

import pytest

from style_match.reporting.runs import read_runs, refuse_left_out
from style_match.utils.errors import UserError
from tests.reporting.run_folders import write_run


def test_finished_runs_are_read_with_what_they_were_asked(tmp_path):
    write_run(tmp_path / "a", seed=3, split__seed=2, split__folds=5, split__fold=4)
    write_run(tmp_path / "deep" / "b", synthetic=False)
    runs, left_out = read_runs(tmp_path)
    assert left_out == []
    assert [run.folder.name for run in runs] == ["a", "b"]
    test_set = runs[0].test_set
    assert (test_set.data, test_set.split_seed, test_set.fold) == ("d" * 64, 2, 4)
    assert str(test_set) == "data dddddddd, split.seed=2, fold 4"
    assert runs[0].value("head.dim") == 512 and runs[0].value("choices.recipe") is None
    assert runs[0].value("head.no_such") is None
    assert runs[1].value("split.fractions") == [0.7, 0.15, 0.15]


def test_what_a_newer_run_replaced_or_a_run_contains_is_passed_over(tmp_path):
    run, replaced = write_run(tmp_path / "sweep" / "a"), tmp_path / "sweep" / "replaced"
    write_run(replaced / "a-2026-01-01_00-00-00")
    (run / "failed.json").write_text('{"error": "a second job with another lr was refused"}')
    (run / "wandb" / "files").mkdir(parents=True)
    (run / "wandb" / "files" / "config.yaml").write_text("wandb_version: 1")
    for folder in (tmp_path, run):
        runs, left_out = read_runs(folder)
        assert ([one.folder for one in runs], left_out) == ([run], [])
    assert len(read_runs(replaced)[0]) == 1, "asked for by name it is read"


def test_unfinished_and_failed_runs_are_counted_named_and_left_out_on_request(tmp_path):
    write_run(tmp_path / "good")
    (write_run(tmp_path / "begun") / "metrics.json").unlink()
    for name in ("bad", "worse"):
        (tmp_path / name).mkdir()
        failure = {"overrides": ["seed=1"], "mistake": True, "error": "seed 1 is unlucky\nfor a long reason"}
        (tmp_path / name / "failed.json").write_text(json.dumps(failure))
    runs, left_out = read_runs(tmp_path)
    assert [run.folder.name for run in runs] == ["good"]
    assert [(one.kind, one.folder.name, one.why) for one in left_out] == [
        ("failed", "bad", "seed 1 is unlucky"),
        ("unfinished", "begun", "it has no metrics.json"),
        ("failed", "worse", "seed 1 is unlucky"),
    ]
    with pytest.raises(UserError) as refused:
        refuse_left_out(left_out, [])
    said = str(refused.value)
    assert "2 failed and 1 unfinished runs" in said
    assert all(name in said for name in ("bad", "begun", "worse", "report.leave_out=[failed,unfinished]"))
    with pytest.raises(UserError, match=r"1 unfinished run:[^$]*leave_out=\[failed,unfinished\]"):
        refuse_left_out(left_out, ["failed"])
    refuse_left_out(left_out, ["failed", "unfinished"])


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_folder_without_runs_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{name}.*(no such folder|contains no run)"):
        read_runs(tmp_path / name)


def test_what_is_not_whole_is_named(tmp_path):
    write_run(tmp_path / "good")
    run = write_run(tmp_path / "a")
    (run / "provenance.json").write_text("{")
    runs, (left_out,) = read_runs(tmp_path)
    assert [one.folder.name for one in runs] == ["good"]
    assert (left_out.kind, left_out.folder) == ("foreign", run) and "cannot be read" in left_out.why
    (run / "provenance.json").write_text("{}")
    _, (left_out,) = read_runs(tmp_path)
    assert (left_out.kind, left_out.why) == (
        "foreign",
        "it is of an earlier version: its provenance.json has no synthetic",
    )


def test_files_that_lack_or_are_broken_are_named(tmp_path):
    run = write_run(tmp_path / "a")
    (made,), _ = read_runs(tmp_path)
    (run / "ranks.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"ranks\.parquet cannot be read"):
        made.queries("frozen")
    (run / "answers.parquet").unlink()
    with pytest.raises(UserError, match=r"answers\.parquet cannot be read"):
        made.table("answers.parquet")
