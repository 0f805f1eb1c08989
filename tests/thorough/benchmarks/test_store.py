"""The benchmark of the feature store runs, and leaves nothing of its store."""

import json
import os
import subprocess
import sys
from pathlib import Path

PART = Path(__file__).parents[3] / "experiments" / "benchmarks" / "store.py"


def test_a_small_run(tmp_path):
    (scratch := tmp_path / "scratch").mkdir()
    environment = os.environ | {"TMPDIR": str(scratch)}
    subprocess.run([sys.executable, PART, "--small", tmp_path / "out"], check=True, env=environment)
    found = json.loads((tmp_path / "out" / "store.json").read_text())
    assert all(check["difference"] == 0 for check in found["checks"]) and len(found["checks"]) == 3 * 5
    assert {len(row["seconds"]["of"]) for row in found["comparisons"]} == {1}
    assert len(found["comparisons"]) == 3 * 5
    assert [row["sizes"] for row in found["growth"]] == [[200, 400, 800]] * 3
    goals = [fact for fact in found["facts"] if fact["goal"]]
    assert [(fact["unit"], fact["size"]) for fact in goals] == [
        ("s", "800 rows of 2 x 16"),
        ("MB", "800 rows of 2 x 16"),
    ]
    assert not list(scratch.iterdir())
