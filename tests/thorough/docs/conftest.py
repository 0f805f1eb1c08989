"""A shell as a reader of the documents has one: this Python, a folder and a cache of its own, no network."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


class Shell:
    """Runs command lines with bash.

    Attributes:
        home: the working folder.
        cache: the cache root.
    """

    def __init__(self, home: Path, cache: Path | None = None):
        self.home, self.cache = home / "work", cache or home / "cache"
        self.begun: list[subprocess.Popen[str]] = []
        self.home.mkdir()
        (self.home / "experiments").symlink_to(ROOT / "experiments")  # documents are read in the checkout
        (home / "bin").mkdir()
        python = home / "bin/python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "STYLE_MATCH_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(home / "no_models"),
        }

    def __call__(self, line: str, *, code: int = 0) -> str:
        """What it printed, both streams."""
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=900
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{line}\nexit code {done.returncode} instead of {code}\n{said[-4000:]}"
        assert "Traceback" not in said, said[-4000:]
        return said

    def begin(self, line: str, *, until: str) -> None:
        """Start a command in the background, as a line that ends with & does, and wait until it says so."""
        words = ["bash", "-c", f"exec {line.removesuffix('&')}"]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        begun = subprocess.Popen(words, cwd=self.home, env=self.environment, **pipe)
        self.begun.append(begun)
        said = ""
        while until not in said:
            line = begun.stdout.readline()
            assert line, said
            said += line

    def close(self) -> None:
        for begun in self.begun:
            begun.kill()
            begun.wait()

    def draw_folder(self, name: str) -> Path:
        """A dataset folder of couples as a user has one: the drawn one's tables and photos, nothing else."""
        folder = self.home / name
        if not folder.exists():
            drawn = self.home / f"drawn_{name}"
            self(f"python -m style_match.embed data=demo_couples data.num_couples=80 data.root={drawn}")
            shutil.copytree(drawn / "images", folder / "images")
            for table in ("profiles.csv", "couples.csv", "metadata.jsonl"):
                shutil.copy(drawn / table, folder)
        return folder


@pytest.fixture
def page_shell(tmp_path: Path, cache: Path) -> Iterator[Shell]:
    """A shell in a new folder; drawn figures and features are shared by all pages."""
    shell = Shell(tmp_path, cache)
    yield shell
    shell.close()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("reader"))
    yield shell
    shell.close()
