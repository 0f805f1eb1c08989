"""Makes a mistake of `cases.py` in this process, in a small broken world."""

import fcntl
import re
import resource
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from tests.commands import Done, run_in_process
from tests.integration.mistakes import world
from tests.integration.mistakes.case import Case
from tests.integration.mistakes.cases import CASES, SMALL

NAMED = {case.name: case for case in CASES}
# the mistakes that `make test` makes on the command line, one of each kind
EARLY_COMMANDS = (
    *("share_of_several", "evaluate_no_run", "no_photo", "couple_in_two_splits", "text"),
    *("backbone_cut_short", "two_at_once", "folder_taken", "run_below_file"),
)
LATE_COMMANDS = (
    *("k_above_gallery", "batch_above_split", "resume_nothing", "head_other_width", "no_checkpoint"),
    "store_below_file",
)
IN_MAKE_TEST = {*EARLY_COMMANDS, *LATE_COMMANDS, "full_store", "full_run", "no_network"}
PROGRESS = ("checking photos:", "embedding:", "features:", "training:")  # how lines begin that are no answer
# what Python does not print by itself
QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def make_good(folder: Path) -> None:
    """A good dataset folder and a run that was trained on it: `data` and `run`."""
    world.draw_good(folder / "data")
    done = type_words("train", SMALL.replace("FOLDER/new", "FOLDER/run"), folder)
    assert done.returncode == 0, done.stderr


def build(case: Case, good: Path, folder: Path) -> Path:
    """The broken world of a case, in a new folder."""
    shutil.copytree(good / "data", folder / "data")
    if case.has_run:
        shutil.copytree(good / "run", folder / "run")
        config = folder / "run" / "config.yaml"
        config.write_text(config.read_text().replace(str(good), str(folder)))
    case.breaks(folder)
    return folder


def answer(case: Case, folder: Path, **environment: str) -> Done:
    with ExitStack() as held:
        if case.busy:
            held.enter_context(_at_work(folder / case.busy))
        if case.lacks:
            held.enter_context(mock.patch.dict(sys.modules, {case.lacks: None}))
        return type_words(case.step, case.words, folder, file_kb=case.file_kb, **environment, **case.environment)


def type_words(step: str, words: str, folder: Path, *, file_kb: int | None = None, **environment: str) -> Done:
    """Run a step in this process; what it would warn of is in `stderr`, too."""
    typed = shlex.split(words.replace("FOLDER", str(folder)))
    own = {name: value.replace("FOLDER", str(folder)) for name, value in environment.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for category in QUIET:
            warnings.simplefilter("ignore", category)
        with _no_file_above(file_kb):
            done = run_in_process(step, typed, cwd=folder, environment=own)
    done.stderr += "".join(warnings.formatwarning(w.message, w.category, w.filename, w.lineno) for w in caught)
    return done


@contextmanager
def _no_file_above(file_kb: int | None) -> Iterator[None]:
    """The system refuses to make any file larger, as it does when a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if file_kb is None else 1024 * file_kb, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _at_work(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder, as a process that writes it does."""
    with open(run / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_late(case: Case, good: Path, folder: Path) -> None:
    """Make a mistake that is answered after torch is imported, with an empty cache: work would leave features."""
    build(case, good, folder)
    check_answer(case, answer(case, folder, STYLE_MATCH_CACHE="FOLDER/cache"), folder)
    assert not list((folder / "cache").rglob("*.safetensors")), "the answer came after expensive work"


def shown(text: str, folder: Path) -> str:
    """A text without the path of this machine's folder and without hashes, which differ between machines."""
    return re.sub(r"\b[0-9a-f]{12,}(-[0-9a-f]+)?", "HASH", text.replace(str(folder), "FOLDER")).strip()


def check_answer(case: Case, done: Done, folder: Path) -> None:
    """One message with the right words and exit code."""
    text = shown(done.stderr, folder)
    assert done.returncode == case.code, done.stdout + text
    assert not [part for part in case.says if part not in text], text
    for sign in ("Traceback", "Warning", "Error executing job"):
        assert sign not in text
    began = [line for line in text.splitlines() if line.startswith(PROGRESS[1:])]
    assert not began or case.file_kb, "the answer came after expensive work"
    assert text.count(case.says[0]) == 1
