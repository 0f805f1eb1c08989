"""The finished run that is exported, read and checked without torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.backbone.inputs import Inputs
from style_match.data.dataset import DatasetFolder
from style_match.reporting.runs import Run
from style_match.synthetic.dataset import draw_demo
from style_match.utils.errors import UserError
from style_match.utils.files import read_json


@dataclass(frozen=True, eq=False)
class FinishedRun(Run):
    """A run folder with all its files.

    Attributes:
        inputs: Inputs of the data that it was trained or scored on.
    """

    inputs: Inputs

    @property
    def dataset(self) -> DatasetFolder:
        """The dataset folder."""
        return self.inputs.folder

    @property
    def model(self) -> str:
        """trained or frozen: the model that is exported."""
        return "trained" if "trained" in self.metrics else "frozen"

    @property
    def id(self) -> str:
        """SHA-256 (hex) of config and metrics, which differs between any two runs."""
        both = (self.folder / name for name in ("config.yaml", "metrics.json"))
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in both)).hexdigest()


def finished_run(config: DictConfig) -> FinishedRun:
    """Return the run that `config.run` names, checked without torch.

    Raises:
        UserError: The run is not finished or damaged, has no trained head, or its dataset folder is missing or changed.
    """
    folder = Path(config.run).expanduser()
    if not (folder / "metrics.json").is_file() or not (folder / "provenance.json").is_file():
        raise UserError(
            f"run={folder} is not finished: it has no metrics.json. Resume it with "
            f"`python -m style_match.train run={folder} ckpt_path=last`."
        )
    metrics, provenance = _read_json(folder / "metrics.json"), _read_json(folder / "provenance.json")
    if "trained" in metrics and not (folder / "checkpoints" / "best.ckpt").is_file():
        other = provenance.get("run")
        reason = f"It scored run={other}. Export that run" if other else "checkpoints/best.ckpt is missing"
        raise UserError(f"run={folder} has no trained head. {reason}.")
    return FinishedRun(folder, config, provenance, metrics, _inputs(config, provenance))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}). Restore it, or train again.") from error


def _inputs(config: DictConfig, provenance: Mapping[str, Any]) -> Inputs:
    """The inputs of the run's dataset folder, or of `data.root` if it was moved; a missing synthetic one is drawn."""
    data, was = config.data, provenance["data"]
    places = [Path(was["folder"]), *([Path(data.root).expanduser()] if data.root else [])]
    found = [place for place in dict.fromkeys(places) if place.is_dir()]
    if not found and data.get("synthetic"):
        found = [draw_demo(data, show=config.progress)]
    if not found:
        raise UserError(
            f"The dataset folder of run={config.run} is missing: {places[0]}. Sides, classes and groups are read from "
            "it. Set data.root=FOLDER to its new place."
        )
    is_drawn = {"synthetic": False} if data.get("synthetic") else {}  # the found folder is read
    for root in found:
        inputs = Inputs(OmegaConf.merge(config, {"data": {"root": str(root), **is_drawn}}))  # type: ignore[arg-type]
        if inputs.folder.fingerprint(inputs.fingerprints) == was["fingerprint"]:
            return inputs
    remedy = "delete it (it is drawn again)" if is_drawn else "set data.root=FOLDER to an unchanged copy"
    raise UserError(
        f"{' and '.join(map(str, found))} changed since run={config.run}, so counts, groups and a text head would not "
        f"fit its numbers. Restore it, {remedy}, or train again."
    )
