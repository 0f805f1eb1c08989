"""Folds drawn by several processes, and by killed ones."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from style_match.data.folds import make_fold
from style_match.data.splits import Split

from .memory_folder import FRACTIONS, folder_of, folds_of, places, singles


def test_two_that_begin_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have found nothing stored; one of them knows fewer couples, so it would draw otherwise."""
    both, lock = threading.Barrier(2), fcntl.flock

    def wait(file: object, how: int) -> None:
        both.wait(timeout=20)
        lock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", wait)
    made: dict[int, Split] = {}

    def run(number: int) -> None:
        folder = folder_of(singles(number))
        made[number] = make_fold(folder, folds=3, fold=1, seed=0, fractions=FRACTIONS, store=tmp_path)

    threads = [threading.Thread(target=run, args=(number,)) for number in (40, 46)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {item: made[46].name_of[item] for item in made[40].name_of} == made[40].name_of
    monkeypatch.undo()
    lines = made[46].path.read_text().splitlines()
    assert len(lines) == 1 + 46
    assert folds_of(folder_of(singles(46)), tmp_path, 3)[1].name_of == made[46].name_of
    assert made[46].path.read_text().splitlines() == lines


KILLED = """
import os, signal, sys
from pathlib import Path
from style_match.data.folds import make_fold
from tests.data.memory_folder import FRACTIONS, folder_of, singles
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
make_fold(folder_of(singles(26)), folds=3, fold=0, seed=0, fractions=FRACTIONS, store=Path(sys.argv[1]))
"""


@pytest.mark.parametrize("stored", [0, 20])
def test_killed_before_the_file_is_in_its_place(tmp_path: Path, stored: int) -> None:
    before = folds_of(folder_of(singles(stored)), tmp_path, 3)[0].path.read_text() if stored else None
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.read_text() for path in tmp_path.glob("*.csv")] == ([before] if stored else [])
    assert len(list(tmp_path.glob("*.tmp")) + list(tmp_path.glob(".*.tmp"))) > 0
    splits = folds_of(folder_of(singles(26)), tmp_path, 3)
    assert set(os.listdir(tmp_path)) == {splits[0].path.name, ".lock"}, "what the killed process left is removed"
    if not stored:
        assert places(splits) == places(folds_of(folder_of(singles(26)), tmp_path / "fresh", 3))
