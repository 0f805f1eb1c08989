"""The run folder: what a run leaves behind, and where it came from."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from style_match.errors import UserError
from style_match.files import write_whole

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
        self.began = time.time()
        self.environment = environment()  # at the start: code that is edited meanwhile is not what ran
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot make the run folder {path}: {error.strerror}. Give another hydra.run.dir."
            ) from error
        if not resume and (path / "config.yaml").exists():
            last = " ckpt_path=last" if (self.checkpoints / "last.ckpt").exists() else ""
            raise UserError(
                f"{path} already holds a run (config.yaml is there). Go on with it by run={path}{last}, "
                "or give another hydra.run.dir."
            )
        self._lock()

    def _lock(self) -> None:
        """Held until the process ends, however it ends; the operating system releases it then."""
        import fcntl

        self._lock_file = open(self.path / ".lock", "w")  # noqa: SIM115 - open as long as the process lives
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another process is writing the run folder {self.path}: wait for it or give another hydra.run.dir."
            ) from None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def file(self, name: str) -> Path:
        return self.path / name

    def write_config(self, cfg: DictConfig) -> None:
        write_whole(self.file("config.yaml"), OmegaConf.to_yaml(cfg, resolve=True))

    def write_json(self, name: str, content: Any) -> None:
        write_whole(self.file(name), json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def write_provenance(self, **facts: Any) -> None:
        """Write `provenance.json`: `facts`, command, git state, versions, machine, wall time in seconds."""
        self.write_json(
            "provenance.json", {**facts, **self.environment, "wall_time_s": round(time.time() - self.began, 3)}
        )

    def provenance(self) -> dict[str, Any]:
        """What `write_provenance` wrote."""
        return json.loads(self.file("provenance.json").read_text(encoding="utf-8"))


def read_config(run: str | Path) -> DictConfig:
    """The resolved config of a run folder.

    Raises:
        UserError: no such folder, or no `config.yaml` in it.
    """
    path = Path(run).expanduser() / "config.yaml"
    if not path.is_file():
        raise UserError(f"run={run} is not a run folder: {path} is missing. Runs are listed under runs/.")
    try:
        config = OmegaConf.load(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(config, DictConfig) or "data" not in config:
        raise UserError(f"{path} is not the config of a run.")
    return config


def environment() -> dict[str, Any]:
    """Command, git commit and dirty flag of the code, versions, machine."""
    return {
        "command": shlex.join(["python", "-m", f"style_match.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "git": _git(Path(__file__).resolve().parent),
        "versions": {"python": platform.python_version(), "style_match": _version("style_match")}
        | {name: _version(name) for name in CORE_PACKAGES},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
    }


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
