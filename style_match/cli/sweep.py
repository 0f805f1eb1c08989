"""Sweeps: their cells before the first one runs, and those that failed after the last one."""

import hashlib
import itertools
import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from style_match.cli.run_config import FAILED, FolderInUse
from style_match.cli.words import has_place
from style_match.utils.files import write_whole
from style_match.utils.secrets import hide

FAILURES = ".failures"  # folder of what failed in a sweep that is running: a folder a command, a file a cell
REPLACED = "replaced"  # folder of what was moved away when a cell ran anew with other code or data
MAX_NAME = 120  # characters of a cell's folder; file systems allow 255 bytes


def cell_name(swept: str, number: int) -> str:
    """The folder of a cell: what is swept, such as "head.dim=256,seed=0"; the number where nothing is."""
    name = re.sub(r"[^-\w.,=+@]+", "_", swept)
    if name != swept or len(name) > MAX_NAME or not name.strip("."):
        name = f"{name[:MAX_NAME]}-{hashlib.sha256(swept.encode()).hexdigest()[:8]}"
    return name if swept else str(number)


def cells(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of every cell, in the order in which Hydra's own sweeper numbers them.

    An interval, which only an optimising sweeper can draw from, stands with its lower end.
    """
    rows: dict[str, list[str]] = {}
    for override in overrides:
        key, value = override.get_key_element(), override.value()
        if override.is_discrete_sweep():
            rows[key] = [f"{key}={word}" for word in override.sweep_string_iterator()]
        elif override.is_interval_sweep():
            rows[key] = [f"{key}={getattr(value, 'start', None)}"]
        else:
            rows[key] = [str(override.input_line)]
    return [list(cell) for cell in itertools.product(*rows.values())]


def as_commands(command: str, overrides: Sequence[Override], tree_of: Callable[[str], Any]) -> list[str]:
    """How to write a sweep over choices that do not share the options given: one command for each kind of choice.

    Args:
        command: such as `python -m style_match.train`.
        overrides: as typed, after those that an experiment adds.
        tree_of: the config (nested dicts) that one more override, such as `loss=triplet`, makes.
    Returns:
        a line that says so and the commands, a line each; empty where no sweep over choices is the reason.
    """
    for swept in overrides:
        group = swept.key_or_group
        own = [o for o in overrides if o.key_or_group.startswith(f"{group}.")]
        if not own or not swept.is_choice_sweep():
            continue
        kinds: dict[str, list[str]] = {}
        for choice in swept.sweep_string_iterator():
            kept = shlex.join(_lines(o for o in own if has_place(tree_of(f"{group}={choice}"), o)))
            kinds.setdefault(kept, []).append(choice)
        if len(kinds) > 1:
            rest = shlex.join(_lines(o for o in overrides if o not in own and o is not swept))
            parts = [(command, "-m", f"{group}={','.join(some)}", rest, kept) for kept, some in kinds.items()]
            return ["Write one command for each:", *("  " + " ".join(filter(None, part)) for part in parts)]
    return []


def record_failure(command: str, folder: Path, overrides: Sequence[str], error: Exception, *, mistake: bool) -> None:
    """Leave word of a failed cell (`mistake`: the user's to mend) for the end of the sweep.

    In the cell's own folder too, unless that holds a finished run or another process is at work there.

    Args:
        command: the name of the sweep's own process, whichever process or machine runs the cell.
    """
    what = hide(str(error) if mistake else f"{type(error).__name__}: {error}")
    fact = json.dumps({"overrides": list(overrides), "mistake": mistake, "error": what}, ensure_ascii=False)
    own = folder.parent / FAILURES / command
    own.mkdir(parents=True, exist_ok=True)
    write_whole(own / f"{folder.name}.json", fact)
    if folder.is_dir() and not isinstance(error, FolderInUse) and not (folder / "metrics.json").exists():
        write_whole(folder / FAILED, fact)


def take_failures(command: str, sweep_dir: Path) -> tuple[str, bool] | None:
    """What to print at the end of a sweep, and whether all its failures are the user's mistakes; None without any.

    What `record_failure` left for it is removed; the word in the cells' folders stays.
    """
    own = sweep_dir / FAILURES / command
    facts = [
        json.loads(path.read_text(encoding="utf-8")) | {"folder": sweep_dir / path.stem}
        for path in sorted(own.glob("*.json"))
    ]
    if not facts:
        return None
    shutil.rmtree(own)
    with suppress(OSError):  # another command's are still there
        own.parent.rmdir()
    head = "1 cell of the sweep failed:" if len(facts) == 1 else f"{len(facts)} cells of the sweep failed:"
    lines = [f"  {' '.join(fact['overrides'])}: {fact['error']}  ({fact['folder']})" for fact in facts]
    return "\n".join([head, *lines]), all(fact["mistake"] for fact in facts)


def summary(sweep_dir: Path, step: str) -> str:
    """How many cells the folder holds, and what to do with them; cells of `embed` leave nothing there."""
    if step == "embed":
        return "Sweep: the same command again computes only what the feature store lacks."
    finished = {path.parent for path in sweep_dir.glob("*/metrics.json")}
    failed = {path.parent for path in sweep_dir.glob(f"*/{FAILED}")} - finished
    what = "cell" if len(finished) == 1 else "cells"
    told = f"Sweep: {len(finished)} {what} finished, {len(failed)} failed, in {sweep_dir}."
    if step != "train":
        return told
    return f"{told} The same command with hydra.sweep.dir={sweep_dir} goes on and does not repeat what is finished."


def _lines(overrides: Any) -> list[str]:
    return [str(override.input_line) for override in overrides]
