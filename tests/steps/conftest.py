"""Commands as a user types them, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def step(cache: Path, tmp_path_factory: pytest.TempPathFactory):
    """`step("train", *words)` runs a step in a folder of the tests and returns what the process did.

    `launcher` stands before it: words of Python that start several of it.
    """
    home = tmp_path_factory.mktemp("steps")

    def run(
        name: str, *words: str, code: int = 0, launcher: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *launcher, "-m", f"style_match.{name}", *words],
            cwd=home,
            env={**os.environ, "STYLE_MATCH_CACHE": str(cache), **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run
