import json
import subprocess
import sys
from pathlib import Path

import pytest

PART = Path(__file__).parents[3] / "experiments/benchmarks/evaluation.py"


def test_the_part_runs_and_notes_goal_memory_growth_and_checks(tmp_path):
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    subprocess.run([sys.executable, str(PART), "--small", str(tmp_path)], check=True)
    found = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    bare = [row for row in found["comparisons"] if row["against"].startswith("products alone")]
    assert [row["goal"] for row in bare] == [None, None, None, None, 1.2, 1.2]
    assert all(second > 0 for row in bare for second in row["seconds"]["of"])
    memory = next(fact for fact in found["facts"] if fact["what"].startswith("peak memory"))
    assert memory["met"] and 0 < memory["value"] < 1
    assert len(found["growth"]) == 2 and all(len(row["sizes"]) == 3 for row in found["growth"])
    assert len(found["checks"]) == 9
