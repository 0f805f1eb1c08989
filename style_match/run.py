"""The run folder: what a run leaves behind, and where it came from."""

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from style_match.bounded import read_yaml
from style_match.errors import UserError
from style_match.files import remove_unfinished, write_whole
from style_match.lock import hold

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
# Options of mere pace and place: they change how fast a run is, or what it shows meanwhile, and not its result.
PACE = (
    "run",
    "ckpt_path",
    "progress",
    "debug",
    "logger",
    "features",
    "data.num_workers",
    "backbone.num_workers",
    "backbone.device",
    "backbone.token_budget",
    "trainer.checkpoint_every_s",
)
# Parts of a run's config that hold options of their own.
NODES = frozenset(
    (
        *("data", "split", "backbone", "prompt", "pooling", "features", "head", "sampler", "balance", "loss", "text"),
        *("optimizer", "scheduler", "trainer", "evaluation", "picture", "logger"),
    )
)
FAILED = "failed.json"  # in the folder of a cell that failed, whichever process or machine ran it


class FolderInUse(UserError):
    """Another process is writing the run folder."""


class RunFolder:
    """The files of one run (layout: README, "What a run leaves behind").

    Raises:
        UserError: the folder holds the results of another run, or another process is writing it.
    """

    def __init__(self, path: Path, *, resume: bool):
        self.path = path
        self.began = time.time()
        self.spent_s = 0.0  # by earlier processes of this run
        self._locks: list[IO[str]] = []
        self.environment = environment()  # at the start: code that is edited meanwhile is not what ran
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot make the run folder {path}: {error.strerror}. Give another hydra.run.dir."
            ) from error
        self._lock()  # first: of a run at work nothing else is to be said
        if not resume and (path / "config.yaml").exists():
            last = " ckpt_path=last" if (self.checkpoints / "last.ckpt").exists() else ""
            raise UserError(
                f"{path} already holds a run (config.yaml is there). Go on with it by run={path}{last}, "
                "or give another hydra.run.dir."
            )
        if resume and self.file("provenance.json").exists():
            self.spent_s = self._spent()
        self.file(FAILED).unlink(missing_ok=True)  # word of an earlier process
        for part in (path, self.checkpoints):
            remove_unfinished(part)

    def _spent(self) -> float:
        """Seconds until provenance.json was written and, after it, until the last checkpoint that a killed run left."""
        last, written = self.checkpoints / "last.ckpt", self.file("provenance.json")
        since = last.stat().st_mtime - written.stat().st_mtime if last.exists() else 0.0
        return self.provenance().get("wall_time_s", 0.0) + max(since, 0.0)

    def take_choices(self, run: Path) -> None:
        """Note the choices of the run that `run=` names, this command line's own over them."""
        if not (run / "provenance.json").is_file():
            return
        own, was = self.environment["choices"], json.loads((run / "provenance.json").read_text(encoding="utf-8"))
        asked = {line.partition("=")[0] for line in HydraConfig.get().overrides.task}
        self.environment["choices"] = was.get("choices", {}) | {group: own[group] for group in own if group in asked}

    def move_to(self, place: Path) -> None:
        """Move what the folder holds to `place`, in one step that a kill cannot halve, and go on in an empty one."""
        place.parent.mkdir(parents=True, exist_ok=True)
        self.path.rename(place)
        self.path.mkdir()
        self._lock()
        self.spent_s = 0.0

    def _lock(self) -> None:
        """Held until the process ends, however it ends; the operating system releases it then."""
        try:
            lock = hold(self.path / ".lock")
        except OSError as error:
            raise UserError(
                f"Cannot write the run folder {self.path}: {error.strerror}. Give another hydra.run.dir."
            ) from error
        if lock is None:
            raise FolderInUse(
                f"Another process is writing the run folder {self.path}: wait for it or give another hydra.run.dir."
            )
        self._locks.append(lock)

    @contextmanager
    def watched(self, remedy: str) -> Iterator[None]:
        """While inside, whatever fails because the folder is no longer there is the user's mistake.

        Raises:
            UserError: the folder was removed or moved away meanwhile; ends with the remedy.
        """
        try:
            yield
        except Exception as error:
            if self._is_there():
                raise
            raise UserError(f"The run folder {self.path} was removed while the run was at work. {remedy}") from error

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._locks[-1].fileno()), os.stat(self.path / ".lock"))
        except OSError:
            return False

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def file(self, name: str) -> Path:
        return self.path / name

    def write_config(self, cfg: DictConfig) -> None:
        self.write_text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))

    def write_text(self, name: str, content: str) -> None:
        write_whole(self.file(name), content)

    def write_json(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def write_provenance(self, **facts: Any) -> None:
        """Write `provenance.json`: `facts`, command, git state, versions, machine, wall time in seconds, of all
        processes that went on with the run together.
        """
        wall_time_s = round(self.spent_s + time.time() - self.began, 3)
        self.write_json("provenance.json", {**facts, **self.environment, "wall_time_s": wall_time_s})

    def provenance(self) -> dict[str, Any]:
        """What `write_provenance` wrote."""
        return json.loads(self.file("provenance.json").read_text(encoding="utf-8"))


def read_config(run: str | Path) -> DictConfig:
    """The resolved config of a run folder.

    Raises:
        UserError: no such folder, or no `config.yaml` in it.
    """
    path = Path(run).expanduser() / "config.yaml"
    if path.parent.is_dir() and not path.exists():
        if runs := sorted(found.parent for found in path.parent.glob("*/config.yaml")):
            raise UserError(
                f"run={run} is no run but the folder of {len(runs)}, such as a sweep: name one of them, such as "
                f"run={runs[0]}."
            )
        raise UserError(
            f"run={run} holds no run: {path} is missing. A run that was killed before it wrote it is begun by its own "
            f"command again, with hydra.run.dir={run}."
        )
    if not path.is_file():
        raise UserError(f"run={run} is not a run folder: {path} is missing. Runs are listed under runs/.")
    try:
        tree = read_yaml(path)
        config = OmegaConf.create(tree if isinstance(tree, dict) else {})
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    if "data" not in config:
        raise UserError(f"{path} is not the config of a run.")
    for name in sorted(NODES):
        if name in tree and not isinstance(tree[name], dict):
            raise UserError(f"{path}: {name} holds no options, so it is not the config of a run. Take the original.")
    return config


def leaves(config: DictConfig) -> dict[str, Any]:
    """The values of a config by their dotted paths, references resolved; lists are values."""

    def below(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from below(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(below(OmegaConf.to_container(config, resolve=True), ""))


def is_below(path: str, parts: Iterable[str]) -> bool:
    """Whether a dotted path is one of `parts` or an option of one."""
    return any(path == part or path.startswith(f"{part}.") for part in parts)


def environment() -> dict[str, Any]:
    """Command, choices of its groups, git commit and dirty flag, hash of the code, versions, machine."""
    return {
        "command": shlex.join(["python", "-m", f"style_match.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "choices": dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {},
        "git": _git(Path(__file__).resolve().parent),
        "code": code_hash(),
        "versions": versions(("style_match", *CORE_PACKAGES)),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
    }


def code_hash() -> str:
    """SHA-256 over the modules and templates of this package, as they lie on the disk."""
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(path for suffix in ("py", "jinja") for path in root.rglob(f"*.{suffix}")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Of Python and these packages; None of one that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """None outside a checkout (an installed wheel)."""

    def git(*words: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return result.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.parent:
            return None  # installed inside somebody else's repository
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
