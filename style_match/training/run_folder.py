"""The folder of a run: its files, its lock, its provenance, and whether the run is new, resumed or finished.

| command | the folder contains | outcome |
|---|---|---|
| `train` | no `config.yaml` | new |
| `train` | `config.yaml` | refused |
| `train run=R` | no checkpoint and no results | new |
| `train run=R` | a checkpoint, or results | refused |
| `train run=R ckpt_path=last` | `last.ckpt` | resumed; refused if options, data or split differ |
| job of a sweep | no checkpoint and no results | new |
| job of a sweep | `last.ckpt` | resumed; refused if options differ |
| job of a sweep | `metrics.json` | finished; refused if options differ |
| job of a sweep | a run on other data or features | new; the old run is moved to `replaced/` |

Results of a finished run that is resumed, for more epochs, are kept in `R/replaced/`.

A finished job stays finished when the code changes. Provenance records the code of every run, and a report says when
its runs were made by several versions.
"""

import hashlib
import json
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from style_match.backbone.inputs import Inputs
from style_match.cli.run_config import FAILED, NO_EFFECT_ON_RESULTS, FolderInUse, is_below, leaves, read_config
from style_match.cli.sweep import REPLACED
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import hold, remove_unfinished, write_whole
from style_match.utils.secrets import hide

log = logging.getLogger(__name__)

CORE_PACKAGES = (
    "torch",
    "lightning",
    "transformers",
    "hydra-core",
    "omegaconf",
    "pytorch-metric-learning",
    "torchmetrics",
    "numpy",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "pyarrow",
)
# Options that must not change when a run is resumed.
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


class RunFolder:
    """The files of one run, locked until this process ends (layout: README, "What a run leaves behind").

    Args:
        path: The folder; it is created if it does not exist.
        resume: Whether the folder may already contain a run.

    Attributes:
        is_job: Whether the run is a job of a sweep.
        checkpoint: The checkpoint that training resumes from; None for a new run.
        val_mrr: val/mrr of a job that is already finished; None otherwise.

    Raises:
        UserError: The folder contains another run, is used by another process, or cannot be written.
    """

    def __init__(self, path: Path, *, resume: bool):
        self.path = path
        self.is_job = False
        self.checkpoint: Path | None = None
        self.val_mrr: float | None = None
        self.started_at = time.time()
        self.earlier_time_s = 0.0  # wall time of earlier processes of this run
        self.environment = environment()  # read now: the code may be edited while the run is at work
        self._locks: list[IO[str]] = []
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot create the run folder {path}: {error.strerror}. Set another hydra.run.dir."
            ) from error
        self._lock()  # before any other check: nothing else matters while another process uses the folder
        if not resume and (path / "config.yaml").exists():
            last = " ckpt_path=last" if self.last_checkpoint.exists() else ""
            raise UserError(
                f"{path} already contains a run. Resume it with run={path}{last}, or set another hydra.run.dir."
            )
        if resume and self.file("provenance.json").exists():
            self.earlier_time_s = self._time_so_far()
        self.file(FAILED).unlink(missing_ok=True)  # of an earlier process
        for folder in (path, self.checkpoints):
            remove_unfinished(folder)

    # ---------------------------------------------------------------- new, resumed or finished

    @classmethod
    def open(cls, cfg: DictConfig) -> "RunFolder":
        """Open and lock the output folder of `style_match.train`: a new one, that of `run=`, or that of a job."""
        in_sweep = sweep_group() is not None
        folder = cls(Path(HydraConfig.get().runtime.output_dir), resume=cfg.run is not None or in_sweep)
        folder.is_job = cfg.run is None and in_sweep
        if cfg.run is not None:
            folder.inherit_choices(Path(cfg.run).expanduser())
        return folder

    def find_earlier_run(self, cfg: DictConfig, inputs: Inputs) -> None:
        """Set `checkpoint` and `val_mrr` by what an earlier process left in the folder.

        Raises:
            UserError: The folder contains a run that this command cannot continue.
        """
        if self.is_job:
            self._find_earlier_job(cfg, inputs)
        elif cfg.run is not None:
            self.checkpoint = checkpoint_to_resume(cfg, self.path)
            self._refuse_changed_data(inputs)

    def _find_earlier_job(self, cfg: DictConfig, inputs: Inputs) -> None:
        has_results = self.file("metrics.json").exists()
        is_trained = has_results or self.last_checkpoint.exists()
        if not is_trained and not self.file("config.yaml").exists():
            return
        was = self.provenance()
        same_code = not was or was.get("code") == self.environment["code"]
        options = _different_options(read_config(self.path), cfg, all_options=same_code)
        if options and is_trained:
            raise UserError(
                f"{self.path} contains a run with a different {', '.join(options)}. Use a new hydra.sweep.dir or the "
                "original options."
            )
        sources = [
            name
            for name, identity in data_identity(inputs).items()
            if was and any(was.get(name, {}).get(key) != value for key, value in identity.items())
        ]
        if options or sources:
            self._move_away(" and ".join(options or sources))
        elif has_results:
            self.val_mrr = json.loads(self.file("metrics.json").read_text(encoding="utf-8"))["val"]["mrr"]["value"]
            progress.say(f"{self.path.name} is already finished ({self.path})")
        elif self.last_checkpoint.exists():
            self.checkpoint = self.last_checkpoint

    def _move_away(self, difference: str) -> None:
        """Move the contents to `replaced/` in the sweep's folder, in one step, and continue in an empty folder."""
        target = self.path.parent / REPLACED / f"{self.path.name}-{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        target.parent.mkdir(parents=True, exist_ok=True)
        progress.say(f"{self.path.name} was run with different {difference}: it runs again, the old run is in {target}")
        self.path.rename(target)
        self.path.mkdir()
        self._lock()
        self.earlier_time_s = 0.0
        for handler in logging.getLogger("style_match").handlers:
            handler.close()  # the next line opens the log in the new folder

    def _refuse_changed_data(self, inputs: Inputs) -> None:
        was = self.provenance().get("data", {}).get("fingerprint")
        if was is None:
            progress.say(f"{self.path} has no fingerprint of its data, so changes of the data cannot be detected.")
        elif was != data_identity(inputs)["data"]["fingerprint"]:
            raise UserError(
                f"{inputs.folder.root} has changed since the run {self.path} started. Restore it, or start a new run."
            )

    def keep_results(self) -> None:
        """Copy a finished run that is trained further to `replaced/`, where it can be used like any run folder."""
        if not (self.checkpoint and self.file("metrics.json").exists()):
            return
        target = self.file(REPLACED) / time.strftime("%Y-%m-%d_%H-%M-%S")
        target.mkdir(parents=True, exist_ok=True)
        for path in self.path.iterdir():
            if path.is_file() and path.name != ".lock":
                shutil.copy2(path, target)
        shutil.copytree(self.checkpoints, target / self.checkpoints.name, dirs_exist_ok=True)
        progress.say(f"{self.path} is finished: its results will be replaced, and are kept in {target}")

    def begin(self, cfg: DictConfig, inputs: Inputs) -> None:
        """Write the config, and the identity of the data and features."""
        self.keep_results()
        self.write_config(cfg)
        self.write_provenance(**data_identity(inputs))

    # ---------------------------------------------------------------- lock

    def _lock(self) -> None:
        """Lock the folder; the operating system releases the lock when the process ends, also by a kill."""
        try:
            lock = hold(self.path / ".lock")
        except OSError as error:
            raise UserError(
                f"Cannot write the run folder {self.path}: {error.strerror}. Set another hydra.run.dir."
            ) from error
        if lock is None:
            raise FolderInUse(
                f"Another process is writing the run folder {self.path}. Wait for it, or set another hydra.run.dir."
            )
        self._locks.append(lock)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise one clear error if the folder is removed while the block runs, also if a logger creates it again.

        Raises:
            UserError: The folder was removed or moved.
        """
        removed = f"The run folder {self.path} was removed during the run. Run the command again."
        try:
            yield
        except Exception as error:
            if self._is_there():
                log.error("%s", hide(f"{type(error).__name__}: {error}"))
                raise
            raise UserError(removed) from error
        if not self._is_there():
            raise UserError(removed)

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._locks[-1].fileno()), os.stat(self.path / ".lock"))
        except OSError:
            return False

    # ---------------------------------------------------------------- files

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint that a killed run resumes from."""
        return self.checkpoints / "last.ckpt"

    def file(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    def write_text(self, name: str, content: str) -> None:
        """Write a text file atomically."""
        write_whole(self.file(name), content)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file atomically."""
        self.write_text(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def write_config(self, cfg: DictConfig) -> None:
        """Write `config.yaml`, resolved."""
        self.write_text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))

    # ---------------------------------------------------------------- provenance

    def write_provenance(self, **facts: Any) -> None:
        """Write `provenance.json`: `facts`, command, code, versions, machine, and the wall time of all processes."""
        wall_time_s = round(self.earlier_time_s + time.time() - self.started_at, 3)
        self.write_json("provenance.json", {**facts, **self.environment, "wall_time_s": wall_time_s})

    def provenance(self) -> dict[str, Any]:
        """Return what `write_provenance` wrote; empty without the file."""
        path = self.file("provenance.json")
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def inherit_choices(self, run: Path) -> None:
        """Record the config choices of the run that `run=` names, updated by those on this command line."""
        if not (run / "provenance.json").is_file():
            return
        own, was = self.environment["choices"], json.loads((run / "provenance.json").read_text(encoding="utf-8"))
        on_command_line = {line.partition("=")[0] for line in HydraConfig.get().overrides.task}
        self.environment["choices"] = was.get("choices", {}) | {
            group: choice for group, choice in own.items() if group in on_command_line
        }

    def _time_so_far(self) -> float:
        """Return the wall time in seconds in provenance.json, plus the time from then to the last checkpoint."""
        written_at = self.file("provenance.json").stat().st_mtime
        since_s = self.last_checkpoint.stat().st_mtime - written_at if self.last_checkpoint.exists() else 0.0
        return self.provenance().get("wall_time_s", 0.0) + max(since_s, 0.0)


def sweep_group() -> str | None:
    """Return the name of the sweep's folder, which its runs share; None outside a sweep."""
    config = HydraConfig.get()
    return Path(config.sweep.dir).name if config.mode == RunMode.MULTIRUN else None


def data_identity(inputs: Inputs) -> dict[str, dict[str, str]]:
    """Return the fingerprint of the dataset and the key of the features, as provenance.json has them."""
    return {
        "data": {"fingerprint": inputs.folder.fingerprint(inputs.fingerprints)},
        "features": {"key": inputs.store.key},
    }


# Whether a run can be resumed with the options of a command.


def checkpoint_to_resume(cfg: DictConfig, folder: Path) -> Path | None:
    """Return the checkpoint that `run=` resumes from; None if training starts.

    Raises:
        UserError: There is no checkpoint, training would overwrite one, or options that decide the training differ.
    """
    was = read_config(cfg.run)
    if "trainer" not in was:
        raise UserError(f"run={cfg.run} is not a run of style_match.train. Set the folder of one, or drop run=.")
    if "callbacks" not in was:
        raise UserError(
            f"run={cfg.run} was made by an earlier version of style_match and cannot be resumed. Evaluate or export "
            "it, or start a new run."
        )
    recorded = [part for part in DECIDES_TRAINING if OmegaConf.select(was, part, default=...) is not ...]
    changed = set(_different_options(was, cfg, all_options=True)) - {"split.store"}  # the split itself is compared
    for part in recorded:  # a run of an earlier version lacks newer parts
        if any(is_below(path, [part]) for path in changed):
            raise UserError(f"run={cfg.run} was trained with a different {part}. Drop {part}, or start a new run.")
    _refuse_other_schedule(was, cfg)
    last = folder / "checkpoints" / "last.ckpt"
    if cfg.ckpt_path:
        if not last.is_file():
            raise UserError(
                f"ckpt_path=last: {folder} has no checkpoint yet. A run writes its first one after one epoch. "
                f"Set run={cfg.run} without ckpt_path."
            )
        return last
    if last.is_file():
        raise UserError(
            f"run={cfg.run} already has a checkpoint. Add ckpt_path=last to resume it, or drop run= to start a new run."
        )
    if (folder / "metrics.json").exists():
        raise UserError(
            f"run={cfg.run} is finished and has no checkpoint to resume from. Drop run= to start a new run; "
            f"`python -m style_match.evaluate run={cfg.run}` scores this one again."
        )
    return None


def _different_options(was: DictConfig, now: DictConfig, *, all_options: bool) -> list[str]:
    """Return the options that differ and decide results; without `all_options` only those that both configs have."""
    before, after = leaves(was), leaves(now)
    paths = before.keys() | after.keys() if all_options else before.keys() & after.keys()
    return sorted(
        path for path in paths if before.get(path) != after.get(path) and not is_below(path, NO_EFFECT_ON_RESULTS)
    )


def _refuse_other_schedule(was: DictConfig, cfg: DictConfig) -> None:
    """Refuse another number of epochs if the learning rate schedule was made for the original one."""
    epochs = was.trainer.max_epochs
    if epochs == cfg.trainer.max_epochs:
        return
    for name, value in dict(was.get("scheduler") or {}).items():
        if type(value) is int and value == epochs:
            raise UserError(
                f"run={cfg.run} was trained with trainer.max_epochs={epochs}, and its learning rate schedule depends "
                f"on that (scheduler.{name}={epochs}). Drop trainer.max_epochs, or start a new run."
            )


# Where a run comes from.


def environment() -> dict[str, Any]:
    """Return command, config choices, git commit, hash of the code, versions and machine."""
    return {
        "command": shlex.join(["python", "-m", f"style_match.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "choices": dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {},
        "git": _git(Path(__file__).resolve().parents[1]),
        "code": code_hash(),
        "versions": versions(("style_match", *CORE_PACKAGES)),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
    }


def code_hash() -> str:
    """Return the SHA-256 of the modules and templates of this package."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for suffix in ("py", "jinja") for path in root.rglob(f"*.{suffix}")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of Python and of these packages; None for a package that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(package: Path) -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout; None for an installed package."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != package.parent:
            return None  # installed inside another repository
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
