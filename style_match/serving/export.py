"""From a finished run to the content of a matcher folder."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match import __version__
from style_match.backbone.checkpoint import HUB_ID, PACKAGE, Checkpoint, resolve_checkpoint, resolve_dtype
from style_match.backbone.inputs import Inputs
from style_match.data.dataset import DatasetFolder
from style_match.data.fingerprints import Fingerprints
from style_match.serving.matcher_folder import FORMAT, HEAD, SEEN, TEXT_FILE, digest, hashes_of
from style_match.synthetic.dataset import draw_demo
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root

WHERE_FROM = ("name", "path", "revision")  # of conf/backbone: not options of the model
DATA_OPTIONS = ("max_source_pixels", "num_workers", "on_bad_image")
PROVENANCE = ("code", "git", "versions", "seeds", "device", "selected")


@dataclass(frozen=True)
class FinishedRun:
    """A run folder that has all its files; `inputs` read the very data that it was trained or scored on."""

    folder: Path
    config: DictConfig
    provenance: dict[str, Any]
    metrics: dict[str, Any]
    inputs: Inputs

    @property
    def dataset(self) -> DatasetFolder:
        return self.inputs.folder

    @property
    def model(self) -> str:
        """trained or frozen: whose metrics and ranks are the matcher's."""
        return "trained" if "trained" in self.metrics else "frozen"

    @property
    def id(self) -> str:
        """What tells this run from others, wherever its folder lies: sha256 (hex) of its config and metrics."""
        both = (self.folder / name for name in ("config.yaml", "metrics.json"))
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in both)).hexdigest()


def finished_run(config: DictConfig) -> FinishedRun:
    """The run that `config.run` names, checked without torch.

    Raises:
        UserError: it is not finished, damaged, of another one's head, or its dataset folder is gone or was changed.
    """
    folder = Path(config.run).expanduser()
    if not (folder / "metrics.json").is_file() or not (folder / "provenance.json").is_file():
        raise UserError(
            f"run={folder} is not finished: it has no metrics.json. Go on with it by "
            f"`python -m style_match.train run={folder} ckpt_path=last`."
        )
    metrics = _read_json(folder / "metrics.json", ("frozen",))
    provenance = _read_json(folder / "provenance.json", ("data", "features", "backbone", "synthetic", "device"))
    if "trained" in metrics and not (folder / "checkpoints" / "best.ckpt").is_file():
        other = provenance.get("run")
        where = f"it scored run={other}: export that one" if other else "checkpoints/best.ckpt is missing"
        raise UserError(f"run={folder} holds no trained head; {where}.")
    return FinishedRun(folder, config, provenance, metrics, _inputs(config, provenance))


def _read_json(file: Path, needed: Iterable[str]) -> dict[str, Any]:
    """A file of a finished run, which has at least the sections `needed`."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}): restore it, or train again.") from error
    lacking = [name for name in needed if name not in found] if isinstance(found, dict) else list(needed)
    if lacking:
        raise UserError(f"{file} is damaged (it has no {', '.join(lacking)}): restore it, or train again.")
    return found


def _inputs(config: DictConfig, provenance: Mapping[str, Any]) -> Inputs:
    """What reads the dataset folder of the run, or `data.root` where it was moved; a synthetic one is drawn again.

    Raises:
        UserError: it is gone, or holds other data than the run was made with.
    """
    data, was = config.data, provenance["data"]
    places = [Path(was["folder"]), *([Path(data.root).expanduser()] if data.root else [])]
    found = [place for place in dict.fromkeys(places) if place.is_dir()]
    if not found and data.get("synthetic"):
        found = [draw_demo(data, show=config.progress)]
    if not found:
        raise UserError(
            f"The dataset folder of run={config.run} is gone: {places[0]}. Sides, classes and groups are read from it: "
            "name its new place by data.root=FOLDER."
        )
    is_drawn = {"synthetic": False} if data.get("synthetic") else {}  # it is read where it lies
    for root in found:
        inputs = Inputs(OmegaConf.merge(config, {"data": {"root": str(root), **is_drawn}}))  # type: ignore[arg-type]
        if inputs.folder.fingerprint(inputs.fingerprints) == was["fingerprint"]:
            return inputs
    remedy = "delete it (it is drawn again)" if is_drawn else "name an unchanged copy by data.root=FOLDER"
    raise UserError(
        f"{' and '.join(map(str, found))} was changed since run={config.run} was made: counts, groups and a text head "
        f"would be of other data than its numbers. Restore it, {remedy}, or train again."
    )


def content(run: FinishedRun) -> tuple[dict[str, Any], dict[str, bytes]]:
    """matcher.json as a dict, with its digest, and the bytes of the files that it names.

    Raises:
        UserError: the checkpoint is damaged, the backbone is gone, or it or the split is no longer what it was.
    """
    from safetensors.torch import save

    from style_match.data.datamodule import MatchDataModule
    from style_match.models.head.identity import Identity
    from style_match.serving.matcher import make_head, tells_sides
    from style_match.serving.text import text_path, why_no_texts
    from style_match.training.checkpoints import load_head
    from style_match.training.trained_photos import is_changed_split

    config, width = run.config, run.provenance["features"]["width"]
    data = MatchDataModule.from_folder(run.inputs.folder, run.inputs.split)
    if is_changed_split(run.folder, run.inputs, data):
        raise UserError(
            f"{run.inputs.split.path} no longer divides {run.dataset.root} as it did when run={run.folder} was "
            "trained, so that a text head would learn from test photos. Restore it, or train again."
        )
    options: Any = OmegaConf.to_container(config.head, resolve=True)
    if run.model == "frozen":
        options = {"_target_": f"{Identity.__module__}.{Identity.__qualname__}", "_partial_": True}
    head = make_head(options, width)
    if run.model == "trained":
        load_head(head, run.folder / "checkpoints" / "best.ckpt")
    head.eval()
    files = {HEAD: save({name: value.contiguous() for name, value in head.state_dict().items()})}
    if (run.folder / SEEN).is_file():
        files[SEEN] = (run.folder / SEEN).read_bytes()
    no_text = why_no_texts(run)
    if no_text:
        progress.say(f"no text search: {no_text}")
    text, text_weights = (None, None) if no_text else text_path(run, head, data)
    if text_weights is not None:
        files[TEXT_FILE] = text_weights
    is_couple = config.data.task == "couple"
    about = {
        "format": FORMAT,
        "style_match": __version__,
        "name": run.folder.resolve().name,
        "task": config.data.task,
        "synthetic": run.provenance["synthetic"],
        "sides": [run.dataset.left_name, run.dataset.right_name] if is_couple else None,
        "label_column": run.dataset.label_column,
        "classes": None if is_couple else list(run.dataset.classes),
        "head": {
            "options": options,
            "in_dim": width,
            "dim": _width(head, width),
            "tells_sides": is_couple and tells_sides(head, width),
        },
        "backbone": _backbone(run),
        "prompt": OmegaConf.to_container(config.prompt, resolve=True),
        "pooling": OmegaConf.to_container(config.pooling, resolve=True),
        "text": text,
        "no_text": no_text,
        "data": {
            "options": {"image_root": None, "label_column": None, **{name: config.data[name] for name in DATA_OPTIONS}},
            "demo": {**OmegaConf.to_container(config.data, resolve=True), "root": None}  # type: ignore[dict-item]
            if config.data.get("synthetic")
            else None,
        },
        "features": {"shard_rows": config.features.shard_rows},
        "run": {
            **{name: run.provenance.get(name) for name in PROVENANCE},
            "id": run.id,
            "model": run.model,
            "data": run.provenance["data"]["fingerprint"],
            "features": run.provenance["features"]["key"],
        },
        "files": {name: hashlib.sha256(each).hexdigest() for name, each in files.items()},
    }
    about = json.loads(json.dumps(about))  # as it is read back
    return {**about, "digest": digest(about)}, files


def _width(head: Any, in_dim: int) -> int:
    """E, of an embedding."""
    import torch

    with torch.no_grad():
        return head(torch.ones(2, in_dim), torch.tensor([0, 1])).shape[1]


def _backbone(run: FinishedRun) -> dict[str, Any]:
    """Where the backbone is, its options, and what tells it from others.

    Raises:
        UserError: it is gone, or its files are not those that the run's features were computed with.
    """
    backbone, was = run.config.backbone, run.provenance["backbone"]
    found = resolve_checkpoint(was["source"], was["revision"], download=True)
    files = hashes_of(found, Fingerprints(cache_root() / "fingerprints.sqlite"))
    _refuse_other_files(run, found, files)
    is_folder = not was["source"].startswith(PACKAGE) and not (was["revision"] and HUB_ID.fullmatch(was["source"]))
    options = {name: value for name, value in backbone.items() if name not in WHERE_FROM}
    options["dtype"] = resolve_dtype(backbone.dtype, run.provenance["device"].partition(":")[0])
    return {
        "name": backbone.name,
        "path": str(found.folder) if is_folder else was["source"],
        "revision": was["revision"],
        "options": options,
        "files": files,
    }


def _refuse_other_files(run: FinishedRun, found: Checkpoint, files: Mapping[str, str]) -> None:
    """Compare with the manifest of the feature store that the run used, where that is still there."""
    root = run.config.features.root
    store = Path(root).expanduser() if root else cache_root() / "features"
    manifest = store / run.provenance["features"]["key"][:16] / "manifest.json"
    if not manifest.is_file():
        return
    was = json.loads(manifest.read_text(encoding="utf-8"))["identity"]["files"]
    if others := sorted(name for name in was.keys() | files.keys() if was.get(name) != files.get(name)):
        raise UserError(
            f"{found.folder} is no longer the backbone that run={run.folder} was trained on: {', '.join(others[:3])} "
            "changed since. Restore it, or train again."
        )
