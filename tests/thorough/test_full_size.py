"""The script that checks the full-size architecture, on a small one."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_full_size_check_runs_and_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "experiments/full_size/check.py", "--scratch", tmp_path, "--scale", "small"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "passed"
    assert "tokens of 3000 x 2000" in done.stdout
    assert list(tmp_path.iterdir()) == []
