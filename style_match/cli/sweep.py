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
REPLACED = "replaced"  # folder of runs that were moved away when their job ran again on other data or features
MAX_NAME = 120  # characters of the name of a job's folder; file systems allow 255 bytes


def job_name(swept: str, number: int) -> str:
    """Return the folder of a job: the swept overrides, such as "head.dim=256,seed=0", or its number without any."""
    name = re.sub(r"[^-\w.,=+@]+", "_", swept)
    if name != swept or len(name) > MAX_NAME or not name.strip("."):
        name = f"{name[:MAX_NAME]}-{hashlib.sha256(swept.encode()).hexdigest()[:8]}"
    return name if swept else str(number)


def record_failure(command: str, folder: Path, overrides: Sequence[str], error: Exception, *, mistake: bool) -> None:
    """Record a failed job for the report at the end of the sweep.

    It is also recorded in the job's folder, unless this has a finished run or is used by another process.

    Args:
        command: Id of the command that started the sweep.
        folder: Folder of the job.
        overrides: Of the job.
        error: The error that ended it.
        mistake: Whether it is a mistake of the user.
    """
    text = hide(str(error) if mistake else f"{type(error).__name__}: {error}")
    record = json.dumps({"overrides": list(overrides), "mistake": mistake, "error": text}, ensure_ascii=False)
    records = folder.parent / FAILURES / command
    records.mkdir(parents=True, exist_ok=True)
    write_whole(records / f"{folder.name}.json", record)
    if folder.is_dir() and not isinstance(error, FolderInUse) and not (folder / "metrics.json").exists():
        write_whole(folder / FAILED, record)


def take_failures(command: str, sweep_dir: Path) -> tuple[str, bool] | None:
    """Return a report of a command's failed jobs, and whether all were mistakes of the user; None without failed jobs.

    The records of `record_failure` are removed, except those in the folders of the jobs.
    """
    records = sweep_dir / FAILURES / command
    failures = [
        json.loads(path.read_text(encoding="utf-8")) | {"folder": sweep_dir / path.stem}
        for path in sorted(records.glob("*.json"))
    ]
    if not failures:
        return None
    shutil.rmtree(records)
    with suppress(OSError):  # another command uses the folder
        records.parent.rmdir()
    lines = [f"  {' '.join(each['overrides'])}: {each['error']}  ({each['folder']})" for each in failures]
    head = f"{len(failures)} {'job' if len(failures) == 1 else 'jobs'} of the sweep failed:"
    return "\n".join([head, *lines]), all(each["mistake"] for each in failures)


def summary(sweep_dir: Path, step: str) -> str:
    """Return how many runs are finished, and how to continue the sweep."""
    if step == "embed":
        return "Sweep: repeat the command to compute only rows that are missing in the feature store."
    finished = {path.parent for path in sweep_dir.glob("*/metrics.json")}
    failed = {path.parent for path in sweep_dir.glob(f"*/{FAILED}")} - finished
    line = f"Sweep: {len(finished)} finished, {len(failed)} failed, in {sweep_dir}."
    if step != "train":
        return line
    return f"{line} To continue, repeat the command with hydra.sweep.dir={sweep_dir}; finished jobs are skipped."
