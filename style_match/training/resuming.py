"""Whether a run starts, resumes or is finished, and on which photos it was trained and selected."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.backbone.inputs import Inputs
from style_match.cli.run_config import PACE, is_below, leaves, read_config
from style_match.cli.sweep import REPLACED
from style_match.data.datamodule import MatchDataModule
from style_match.data.metadata import metadata_name
from style_match.training.checkpoints import checkpoint_path
from style_match.training.run_folder import RunFolder
from style_match.utils import progress
from style_match.utils.errors import UserError

# A cell of a sweep that is run again: a finished one is not run again, a begun one goes on where it was.


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


def open_run(cfg: DictConfig, folder: RunFolder, inputs: Inputs) -> Earlier:
    """Return what an earlier process left in the run's folder, which is ready to run in.

    Raises:
        UserError: The folder holds another run, or the run cannot be resumed as asked.
    """
    if folder.is_job:
        return settle(cfg, folder, inputs)
    checkpoint = resume_from(cfg, folder.path)
    if cfg.run is not None:
        refuse_other_data(folder, inputs)
    return Earlier(checkpoint=checkpoint)


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


# Whether a run may go on, and from which checkpoint: as it began, or not at all.


DECIDES_TRAINING = (
    "seed",
    "threads",
    "encode",
    "split",
    "data",
    "backbone",
    "prompt",
    "pooling",
    "head",
    "loss",
    "text",
    "sampler",
    "optimizer",
    "balance",
    "scheduler",
    "trainer.devices",
    "trainer.gradient_clip_val",
    "trainer.precision",
    "trainer.early_stopping",
)
ABSENT = object()


def resume_from(cfg: DictConfig, folder: Path) -> Path | None:
    """The checkpoint that a run with `run=` goes on from; None where it starts.

    Raises:
        UserError: there is no checkpoint, training would overwrite one, or the command line changes what was trained.
    """
    if cfg.run is None:
        return None
    was = read_config(cfg.run)
    if "trainer" not in was:
        raise UserError(f"run={cfg.run} is no run of style_match.train: name the folder of one, or leave run out.")
    if "callbacks" not in was:
        raise UserError(
            f"run={cfg.run} was begun by an earlier version of style_match and cannot be resumed. Evaluate or "
            "export it, or start a new run."
        )
    before, now = leaves(was), leaves(cfg)
    for part in DECIDES_TRAINING:
        if OmegaConf.select(was, part, default=ABSENT) is ABSENT:
            continue  # a run of an older version lacks it, and takes it from the configs
        if _options_of(part, before) != _options_of(part, now):
            raise UserError(
                f"run={cfg.run} was begun with another {part}: start a new run for that, or leave {part} out."
            )
    _refuse_other_length(was, cfg)
    has_last = (folder / "checkpoints" / "last.ckpt").is_file()
    if cfg.ckpt_path is None and has_last:
        raise UserError(f"run={cfg.run} would be trained anew: add ckpt_path=last to go on with it, or leave run out.")
    if cfg.ckpt_path is None and (folder / "metrics.json").exists():
        raise UserError(
            f"run={cfg.run} is finished, and has no checkpoint to go on from. Leave run out for a new run; "
            f"`python -m style_match.evaluate run={cfg.run}` scores this one again."
        )
    if cfg.ckpt_path and not has_last:
        raise UserError(
            f"ckpt_path=last: {folder} has no checkpoint yet, for a run writes its first after one epoch. Write "
            f"run={cfg.run} alone."
        )
    return checkpoint_path(cfg.ckpt_path, folder) if cfg.ckpt_path else None


def _refuse_other_length(was: DictConfig, cfg: DictConfig) -> None:
    """A schedule that was made for a number of epochs cannot be gone on with for another."""
    epochs = was.trainer.max_epochs
    if epochs == cfg.trainer.max_epochs:
        return
    options = dict(was.get("scheduler") or {}).items()
    if follows := [name for name, value in options if type(value) is int and value == epochs]:
        raise UserError(
            f"run={cfg.run} was begun with trainer.max_epochs={epochs}, and its learning rate follows it "
            f"(scheduler.{follows[0]}={epochs}): start a new run for trainer.max_epochs={cfg.trainer.max_epochs}, or "
            "leave it out."
        )


def _options_of(part: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those options of a part that decide the result."""
    return {path: value for path, value in options.items() if is_below(path, [part]) and not is_below(path, PACE)}


FILE = "seen.txt"
PIXELS = "pixels "  # begins the line of a photo's pixels; files of older versions have none


def write_seen(folder: RunFolder, inputs: Inputs, data: MatchDataModule) -> None:
    """Write seen.txt: the SHA-256 of each photo of the train and val splits, and that of its decoded pixels.

    Of a photo that was not read (prompt=metadata) it is that of profile id and metadata: ids alone say nothing about
    other data.
    """
    folder.write_text(FILE, _lines(inputs, data))


def refuse_other_split(folder: RunFolder, inputs: Inputs, data: MatchDataModule) -> None:
    """Refuse to resume a run whose train and val splits are no longer what they were.

    Raises:
        UserError: They are others.
    """
    if is_other_split(folder.path, inputs, data):
        raise UserError(
            f"{inputs.split.path} no longer divides the data as it did when the run {folder.path} began: restore it, "
            "or start a new run."
        )


def is_other_split(run: Path, inputs: Inputs, data: MatchDataModule) -> bool:
    """Return whether the train and val splits differ from the run's seen.txt; False where it has none."""
    if not (run / FILE).is_file():
        return False
    was, now = (run / FILE).read_text(encoding="utf-8"), _lines(inputs, data)
    if PIXELS not in was:
        now = "".join(line for line in now.splitlines(keepends=True) if not line.startswith(PIXELS))
    return was != now


def refuse_seen(run: Path, inputs: Inputs, data: MatchDataModule) -> None:
    """Refuse to score a run on a test split that holds what it was trained or selected on.

    Raises:
        UserError: How many photos, of how many.
    """
    if not (run / FILE).is_file():
        progress.say(f"{run / FILE} is missing: whether the run was trained on this test split cannot be told")
        return
    test = _names(inputs, data, "test")
    seen = {*(run / FILE).read_text(encoding="utf-8").split("\n")} - {""}
    if both := [name for name, pixels in test.items() if name in seen or pixels in seen]:
        raise UserError(
            f"run={run} was trained or selected on {len(both)} of the {len(test)} photos of this test split. Score it "
            "on the split it was made with (leave split out), or on other data."
        )


def _lines(inputs: Inputs, data: MatchDataModule) -> str:
    names = _names(inputs, data, "train") | _names(inputs, data, "val")
    return "".join(f"{name}\n" for name in sorted({*names, *filter(None, names.values())}))


def _names(inputs: Inputs, data: MatchDataModule, split: str) -> dict[str, str]:
    """What names each photo of a split -> the line of its pixels, "" where it was not read."""
    folder, found = inputs.folder, {}
    for row in data.gallery(split).photos.tolist():
        photo = folder.photos[row]
        facts = folder.photo_facts.get(photo.image)
        about = folder.metadata.get(photo.image)
        name = folder.photo_sha256.get(photo.image) or metadata_name(photo.profile_id, about)
        found[name] = PIXELS + facts.pixels if facts and facts.pixels else ""
    return found
