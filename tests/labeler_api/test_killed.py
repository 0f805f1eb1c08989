"""A labeler that is killed with SIGKILL: nothing stored is asked for again, nothing is lost."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_killed_and_started_again(tmp_path):
    command = [sys.executable, "experiments/labeling/kills.py", "--kills", "2", "--photos", "24", "--scratch", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills: stored answers asked again: 0, lost: 0" in done.stdout
    assert "24 answers stored, 24 lines in metadata.jsonl" in done.stdout
