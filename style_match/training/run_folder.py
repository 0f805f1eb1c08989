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

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from style_match.cli.run_config import FAILED, FolderInUse
from style_match.utils.errors import UserError
from style_match.utils.files import hold, remove_unfinished, write_whole

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


class RunFolder:
    """The files of one run (layout: README, "What a run leaves behind").

    Raises:
        UserError: the folder holds the results of another run, or another process is writing it.
    """

    def __init__(self, path: Path, *, resume: bool):
        self.path = path
        self.is_job = False  # of a sweep
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

    @classmethod
    def of(cls, cfg: DictConfig) -> "RunFolder":
        """Open the output folder of a `train` command: a new one, that of `run=`, or of one job of a sweep."""
        folder = cls(
            Path(HydraConfig.get().runtime.output_dir), resume=cfg.run is not None or sweep_group() is not None
        )
        folder.is_job = cfg.run is None and sweep_group() is not None
        if cfg.run is not None:
            folder.take_choices(Path(cfg.run).expanduser())
        return folder

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
        """Check that the folder is still there when what is inside ends, in whatever way.

        A logger may have made it again, without what was in it.

        Raises:
            UserError: The folder was removed or moved away; ends with the remedy.
        """
        removed = f"The run folder {self.path} was removed while the run was at work. {remedy}"
        try:
            yield
        except Exception as error:
            if self._is_there():
                raise
            raise UserError(removed) from error
        if not self._is_there():
            raise UserError(removed)

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


def sweep_group() -> str | None:
    """Return the name of the sweep's folder, which its runs share; None outside a sweep."""
    config = HydraConfig.get()
    return Path(config.sweep.dir).name if config.mode == RunMode.MULTIRUN else None


def environment() -> dict[str, Any]:
    """Command, choices of its groups, git commit and dirty flag, hash of the code, versions, machine."""
    return {
        "command": shlex.join(["python", "-m", f"style_match.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "choices": dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {},
        "git": _git(Path(__file__).resolve().parents[1]),
        "code": code_hash(),
        "versions": versions(("style_match", *CORE_PACKAGES)),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
    }


def code_hash() -> str:
    """SHA-256 over the modules and templates of this package, as they lie on the disk."""
    root = Path(__file__).resolve().parents[1]
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
