"""The doors: `python -m style_match`, the console script's function, and how soon they answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from style_match import __main__ as door
from style_match import __version__
from tests.commands import HEAVY, unimportable

ROOT = Path(__file__).resolve().parents[2]


def call(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["style-match", *words])
    code = 0
    try:
        door.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_the_steps_are_listed_with_a_line_each(monkeypatch, capsys, words):
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == 0
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith("  ")}
    there = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    assert set(listed) == there
    assert all(len(what) > 10 for what in listed.values())


def test_a_step_that_does_not_exist(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "trian")
    assert code == 2
    assert "Did you mean train?" in err


def test_version(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "--version")[1].strip() == f"style_match {__version__}"


def test_a_step_is_run_by_its_name(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(monkeypatch, capsys, "embed", "head.dim=3")
    assert code == 2
    assert 'unknown option or group "head.dim"' in err


@pytest.mark.parametrize(
    ("words", "line", "answer"),
    [
        (("-sc", "query=bash"), "style-match train loss=", "loss=infonce loss=triplet"),
        (("train", "-sc", "query=bash"), "python -m style_match.train loss=triplet loss.mar", "loss.margin="),
        (("-sc", "install=bash"), "", "-F hydra_bash_completion style-match"),
    ],
)
def test_shell_completion(monkeypatch, capsys, words, line, answer):
    monkeypatch.setenv("COMP_LINE", line)
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 0 and answer in out, err


def test_nothing_heavy_is_imported_before_the_words_are_read():
    code = (
        "import sys, style_match.cli.schema, style_match.train, style_match.embed, style_match.evaluate\n"
        "heavy = {'torch', 'lightning', 'transformers', 'sklearn', 'matplotlib', 'pyarrow', 'wandb', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [(["--help"], 0, "Groups"), (["los=triplet"], 2, "loss=triplet"), (["loss=(("], 2, "special characters twice")],
)
def test_the_step_answers_where_nothing_heavy_can_be_imported(run_step, words, code, text, tmp_path):
    with unimportable(*HEAVY, "sklearn", "matplotlib", "pyarrow", "wandb", "scipy"):
        done = run_step("train", *words, code=code, cwd=tmp_path)
    assert text in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "form"), [(["--head.dim=4"], "head.dim=4"), (["seed=1", "--loss", "triplet"], "loss=VALUE")]
)
def test_an_option_with_dashes_is_answered_with_the_form_that_works(run_step, words, form):
    done = run_step("train", *words, code=2)
    assert f"{words[len(words) // 2]}: unknown flag. Options are set without dashes: {form}. In" in done.stderr
    assert "${args_no_hyphens}" in done.stderr and "usage" not in done.stderr


@pytest.mark.parametrize(("name", "words"), [("train", ("-m", "seed=0,1")), ("evaluate", ())])
def test_steps_that_are_one_process_refuse_several(step, monkeypatch, name, words, tmp_path):
    for variable, value in (("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_LOCALID", "1")):
        monkeypatch.setenv(variable, value)
    assert step(*words, step=name) == 2
    assert step.configs == [] and list(tmp_path.iterdir()) == []
    assert "srun started 2 processes" in step.err
    assert step("--help", step=name) == 0


def test_embed_is_run_by_several_processes(step, monkeypatch):
    for variable, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(variable, value)
    assert step(step="embed") == 0, step.err
    assert len(step.configs) == 1
