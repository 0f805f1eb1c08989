"""The step `style_match.export`: from a finished run to a matcher folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save
from torch import nn

from style_match import __version__
from style_match.backbone.checkpoint import HUB_ID, PACKAGE, resolve_checkpoint, resolve_dtype
from style_match.backbone.inputs import TextInputs
from style_match.cli.run_config import SEEN
from style_match.cli.targets import conf_dir
from style_match.data.datamodule import MatchDataModule
from style_match.evaluation.text_search import chosen_path
from style_match.models.head.identity import Identity
from style_match.models.text_term import width
from style_match.serving.finished_run import FinishedRun
from style_match.serving.matcher import make_head, tells_sides
from style_match.serving.matcher_folder import ABOUT, CARD, FORMAT, HEAD, TEXT_FILE, digest, hashes_of, write_matcher
from style_match.serving.model_card import card, figures_by_group
from style_match.training.checkpoints import load_head
from style_match.training.text import TextSpace, fitted, is_on, text_term
from style_match.training.trained_photos import is_changed_split
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root

WHERE_FROM = ("name", "path", "revision")  # of conf/backbone: not options of the model
DATA_OPTIONS = ("max_source_pixels", "num_workers", "on_bad_image")
TEXT_OPTIONS = ("attributes", "system", "template", "pooling")  # of conf/text: they decide a vector
PROVENANCE = ("code", "git", "versions", "seeds", "device", "selected")
BEST = Path("checkpoints") / "best.ckpt"


def export(run: FinishedRun, out: Path, card_options: Mapping[str, Any]) -> None:
    """Write the matcher folder of a run and print its path.

    Args:
        run: The finished run.
        out: The matcher folder.
        card_options: The node `card` of conf/export.yaml.

    Raises:
        UserError: The checkpoint is damaged, the backbone or the split changed, or `card` does not fit the data.
    """
    figures = figures_by_group(run, card_options)  # first: it reports mistakes in card.by and card.bands
    about, files = _content(run)
    files[CARD] = card(run, about, card_options, figures).encode()
    files[ABOUT] = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    write_matcher(out, files)
    print(out)
    print(out / CARD)


@torch.no_grad()
def _content(run: FinishedRun) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return matcher.json as a dict, with its digest, and the contents of the files that it names."""
    config, in_dim = run.config, run.provenance["features"]["width"]
    data = MatchDataModule.from_folder(run.inputs.folder, run.inputs.split)
    if is_changed_split(run.folder, run.inputs, data):
        raise UserError(
            f"{run.inputs.split.path} no longer divides {run.dataset.root} as when run={run.folder} was trained, so a "
            "text head would be fitted to test photos. Restore it, or train again."
        )
    options: Any = OmegaConf.to_container(config.head, resolve=True)
    if run.model == "frozen":
        options = {"_target_": f"{Identity.__module__}.{Identity.__qualname__}", "_partial_": True}
    head = make_head(options, in_dim=in_dim)
    if run.model == "trained":
        load_head(head, run.folder / BEST)
    head.eval()
    files = {HEAD: _weights(head)}
    if (run.folder / SEEN).is_file():
        files[SEEN] = (run.folder / SEEN).read_bytes()
    text, no_text = None, _why_no_texts(run)
    if no_text:
        progress.say(f"no text search: {no_text}")
    else:
        text, text_head = _text_path(run, head, data)
        if text_head is not head:
            files[TEXT_FILE] = _weights(text_head)
    is_couple = config.data.task == "couple"
    demo: Any = OmegaConf.to_container(config.data, resolve=True) if config.data.get("synthetic") else None
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
            "in_dim": in_dim,
            "dim": head(torch.ones(2, in_dim), torch.tensor([0, 1])).shape[1],
            "tells_sides": is_couple and tells_sides(head, in_dim),
        },
        "backbone": _backbone(run),
        "prompt": OmegaConf.to_container(config.prompt, resolve=True),
        "pooling": OmegaConf.to_container(config.pooling, resolve=True),
        "text": text,
        "no_text": no_text,
        "data": {
            "options": {"image_root": None, "label_column": None, **{name: config.data[name] for name in DATA_OPTIONS}},
            "demo": demo and {**demo, "root": None},
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


def _weights(head: nn.Module) -> bytes:
    return save({name: value.contiguous() for name, value in head.state_dict().items()})


# Texts


def _why_no_texts(run: FinishedRun) -> str | None:
    """Return why the matcher of a run cannot have text search, with a remedy; None if it can."""
    if "text" not in run.config:
        return "its run is of an older version, without the options of conf/text. Train again, and export that run."
    try:
        _ = run.inputs.captions
    except UserError as error:
        fault = str(error).partition("\n")[0].rstrip(":")
        return f"{fault}. Label the photos with style_match.label, train again, and export that run."
    return None


def _text_path(run: FinishedRun, head: nn.Module, data: MatchDataModule) -> tuple[dict[str, Any], nn.Module]:
    """Choose how texts are embedded and searched.

    A text head is fitted to the captions of the training photos. A run that was trained on texts also has a text head,
    or shares that of the photos. The head with the higher MRR on the validation split is exported. Search is in photos
    and captions (`both`), unless `image` or `caption` is better there by more than `text.path_margin`.

    Returns:
        The section `text` of matcher.json, and the text head.
    """
    inputs, cfg = run.inputs, run.inputs.cfg
    heads: dict[str, tuple[Any, nn.Module]] = {}  # kind -> its node of the config, the head
    if is_on(cfg) and run.model == "trained":
        if cfg.text.head == "own":
            term = text_term(cfg, inputs, head, None)
            assert term is not None and term.head is not None
            load_head(term.head, run.folder / BEST, "text.head")
            heads["own"] = cfg.text.own, term.head.eval()
        else:
            heads["shared"] = None, head
    space = TextSpace(cfg, inputs, data, head, None)
    heads["fitted"] = cfg.text.fitted, fitted(space)
    mrr: dict[str, dict[str, float]] = {}  # kind -> path -> MRR
    for kind, (_, text_head) in heads.items():
        space.text_head = text_head
        mrr[kind] = space.measured_paths("val")
    margin = OmegaConf.select(cfg, "text.path_margin")
    if margin is None:  # a run of an older version
        margin = OmegaConf.load(conf_dir() / "text" / "default.yaml").path_margin
    paths = {kind: chosen_path(found, margin) for kind, found in mrr.items()}
    kind = max(mrr, key=lambda each: mrr[each][paths[each]])
    options, text_head = heads[kind]
    about = {
        "head": {
            "kind": kind,
            "options": options and OmegaConf.to_container(options, resolve=True),
            "in_dim": TextInputs(inputs, cfg.text).dim,
            "dim": width(head),
        },
        "options": {name: OmegaConf.to_container(cfg.text)[name] for name in TEXT_OPTIONS},  # type: ignore[call-overload, index]
        "path": paths[kind],
        "measured": {"split": "val", "queries": "part", "mrr": mrr, "path_margin": margin},
    }
    return about, text_head


# The backbone


def _backbone(run: FinishedRun) -> dict[str, Any]:
    """The section `backbone` of matcher.json: place, options and hashes of its files.

    Raises:
        UserError: The backbone is missing, or its files changed after the run's features were computed.
    """
    backbone, was = run.config.backbone, run.provenance["backbone"]
    found = resolve_checkpoint(was["source"], was["revision"], download=True)
    files = hashes_of(found)
    root = run.config.features.root
    store = Path(root).expanduser() if root else cache_root() / "features"
    manifest = store / run.provenance["features"]["key"][:16] / "manifest.json"
    if manifest.is_file():  # of the run's feature store
        trained_on = json.loads(manifest.read_text(encoding="utf-8"))["identity"]["files"]
        if others := sorted(
            name for name in trained_on.keys() | files.keys() if trained_on.get(name) != files.get(name)
        ):
            raise UserError(
                f"{found.folder} is no longer the backbone of run={run.folder}: {', '.join(others[:3])} changed. "
                "Restore it, or train again."
            )
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
