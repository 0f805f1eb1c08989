"""A cell of a sweep that is run again: a finished one is not run again, a begun one goes on where it was."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from style_match import progress
from style_match.errors import UserError
from style_match.inputs import Inputs
from style_match.run import RunFolder
from style_match.run_config import PACE, is_below, leaves, read_config
from style_match.sweep import REPLACED


@dataclass(frozen=True)
class Earlier:
    """What an earlier run left in a cell: its val/mrr where it is finished, else the checkpoint to go on from."""

    val_mrr: float | None = None
    checkpoint: Path | None = None


def settle(cfg: DictConfig, folder: RunFolder, inputs: Inputs) -> Earlier:
    """See what the cell's folder holds, and make it ready to run in.

    A run with the same config that was made with other code, data or features is moved to `replaced` in the sweep's
    folder, and so is one with another config that had not come to its first checkpoint; nothing is deleted.

    Raises:
        UserError: the folder holds a run with another config.
    """
    facts = facts_of(inputs)
    last = folder.checkpoints / "last.ckpt"
    was = folder.provenance() if folder.file("provenance.json").exists() else {}
    changed = [name for name, value in _identity(folder.environment | facts).items() if _identity(was)[name] != value]
    has_begun = last.exists() or folder.file("metrics.json").exists()
    if has_begun or folder.file("config.yaml").exists():
        other = _other_options(cfg, folder.path, same_code=not was or "code" not in changed)
        if other and has_begun:
            raise UserError(
                f"{folder.path} holds a run with another {', '.join(other)}: give another hydra.sweep.dir, or the "
                "options that the sweep was begun with."
            )
        if other or (was and changed):
            place = folder.path.parent / REPLACED / f"{folder.path.name}-{time.strftime('%Y-%m-%d_%H-%M-%S')}"
            folder.move_to(place)
            what = " and ".join(other or changed)
            progress.say(f"{folder.path.name} was run with other {what}: run anew, the old one is in {place}")
        elif folder.file("metrics.json").exists():
            progress.say(f"{folder.path.name} is finished already ({folder.path})")
            return Earlier(val_mrr=json.loads(folder.file("metrics.json").read_text())["val"]["mrr"]["value"])
    folder.write_config(cfg)
    folder.write_provenance(**facts)
    return Earlier(checkpoint=last if last.exists() else None)


def facts_of(inputs: Inputs) -> dict[str, Any]:
    """What a run's provenance.json holds from its beginning: which data and which features."""
    return {
        "data": {"fingerprint": inputs.folder.fingerprint(inputs.fingerprints)},
        "features": {"key": inputs.store.key},
    }


def refuse_other_data(folder: RunFolder, inputs: Inputs) -> None:
    """Refuse to go on with a run whose data was changed since it began.

    Raises:
        UserError: photos, tables or metadata are not what they were.
    """
    was = _identity(folder.provenance() if folder.file("provenance.json").exists() else {})["data"]
    if was is None:
        progress.say(f"{folder.path} does not tell its data's fingerprint: whether the data is the same is not known")
    elif was != facts_of(inputs)["data"]["fingerprint"]:
        raise UserError(
            f"{inputs.folder.root} was changed since the run {folder.path} began: restore it, or start a new run."
        )


def _identity(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "code": provenance.get("code"),
        "data": provenance.get("data", {}).get("fingerprint"),
        "features": provenance.get("features", {}).get("key"),
    }


def _other_options(cfg: DictConfig, folder: Path, *, same_code: bool) -> list[str]:
    """The options that differ from those of the run in `folder`; of other code only those that both versions have."""
    was, now = (leaves(config) for config in (read_config(folder), cfg))
    paths = was.keys() | now.keys() if same_code else was.keys() & now.keys()
    return sorted(path for path in paths if was.get(path) != now.get(path) and not is_below(path, PACE))
