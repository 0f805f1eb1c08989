"""Sweeps: names of the jobs' folders, and a report of the jobs that failed after the last one."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from style_match.cli.run_config import FAILED, FolderInUse
from style_match.utils.files import write_whole
from style_match.utils.secrets import hide

FAILURES = ".failures"  # folder of the failures in a running sweep: a folder per command, a file per job
REPLACED = "replaced"  # folder of runs that were moved away when their job ran again with other code or data
MAX_NAME = 120  # characters of the name of a job's folder; file systems allow 255 bytes


def cell_name(swept: str, number: int) -> str:
    """The folder of a job: the swept overrides, such as "head.dim=256,seed=0", or its number if there are none."""
    name = re.sub(r"[^-\w.,=+@]+", "_", swept)
    if name != swept or len(name) > MAX_NAME or not name.strip("."):
        name = f"{name[:MAX_NAME]}-{hashlib.sha256(swept.encode()).hexdigest()[:8]}"
    return name if swept else str(number)


def record_failure(command: str, folder: Path, overrides: Sequence[str], error: Exception, *, mistake: bool) -> None:
    """Record a failed job (`mistake`: by a mistake of the user) for the end of the sweep.

    Also in the job's own folder, unless that holds a finished run or is in use by another process.

    Args:
        command: id of the process that started the sweep, whichever process or machine runs the job.
    """
    what = hide(str(error) if mistake else f"{type(error).__name__}: {error}")
    fact = json.dumps({"overrides": list(overrides), "mistake": mistake, "error": what}, ensure_ascii=False)
    own = folder.parent / FAILURES / command
    own.mkdir(parents=True, exist_ok=True)
    write_whole(own / f"{folder.name}.json", fact)
    if folder.is_dir() and not isinstance(error, FolderInUse) and not (folder / "metrics.json").exists():
        write_whole(folder / FAILED, fact)


def take_failures(command: str, sweep_dir: Path) -> tuple[str, bool] | None:
    """A report of the failed jobs of a command, and whether all failed by mistakes of the user; None without any.

    The records of `record_failure` are removed, except those in the folders of the jobs.
    """
    own = sweep_dir / FAILURES / command
    facts = [
        json.loads(path.read_text(encoding="utf-8")) | {"folder": sweep_dir / path.stem}
        for path in sorted(own.glob("*.json"))
    ]
    if not facts:
        return None
    shutil.rmtree(own)
    with suppress(OSError):  # another command uses the folder
        own.parent.rmdir()
    lines = [f"  {' '.join(fact['overrides'])}: {fact['error']}  ({fact['folder']})" for fact in facts]
    head = f"{len(facts)} {'job' if len(facts) == 1 else 'jobs'} of the sweep failed:"
    return "\n".join([head, *lines]), all(fact["mistake"] for fact in facts)


def summary(sweep_dir: Path, step: str) -> str:
    """How many runs the sweep folder holds, and how to continue the sweep."""
    if step == "embed":
        return "Sweep: repeat the command to compute only rows that are missing in the feature store."
    finished = {path.parent for path in sweep_dir.glob("*/metrics.json")}
    failed = {path.parent for path in sweep_dir.glob(f"*/{FAILED}")} - finished
    line = f"Sweep: {len(finished)} finished, {len(failed)} failed, in {sweep_dir}."
    if step != "train":
        return line
    return f"{line} To continue, repeat the command with hydra.sweep.dir={sweep_dir}; finished jobs are skipped."
