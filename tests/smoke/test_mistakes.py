"""Mistakes whose answer depends on the process: what it has imported, and what its environment was at its start."""

import shlex
from pathlib import Path

import pytest

from tests.integration.mistakes import bench, world


@pytest.mark.slow
def test_a_model_that_cannot_be_fetched_is_answered(run_command, tmp_path: Path):
    """The hub's library reads its variables when it is imported."""
    world.draw_good(tmp_path / "data")
    case = bench.NAMED["no_network"]
    words = shlex.split(case.words.replace("FOLDER", str(tmp_path)))
    environment = {name: value.replace("FOLDER", str(tmp_path)) for name, value in case.environment.items()}
    bench.check_answer(case, run_command(case.step, *words, code=2, cwd=tmp_path, **environment), tmp_path)


def test_a_fault_of_the_data_is_answered_where_torch_cannot_be_imported(run_command, tmp_path: Path):
    world.draw_good(tmp_path / "data")
    case = bench.NAMED["no_photo"]
    case.breaks(tmp_path)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text("import sys\n\nsys.modules['torch'] = None\n")
    words = shlex.split(case.words.replace("FOLDER", str(tmp_path)))
    done = run_command(case.step, *words, code=2, cwd=tmp_path, PYTHONPATH=str(tmp_path / "hidden"))
    bench.check_answer(case, done, tmp_path)
