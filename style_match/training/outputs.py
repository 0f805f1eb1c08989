"""What a run ends with: its files, its pictures, the table and where everything is."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.backbone.inputs import Inputs
from style_match.backbone.qwen3_vl import resolve_device
from style_match.cli.run_config import read_config
from style_match.data.dataset import write_rejected
from style_match.evaluation.outputs import answers_table, metrics_sections, ranks_table, write_table
from style_match.evaluation.tables import print_results, print_text
from style_match.training.loop import Selected
from style_match.training.run_folder import RunFolder
from style_match.training.scoring import Scorer, Scores, write_embeddings
from style_match.utils import progress
from style_match.utils.files import as_csv

# What a run logged epoch by epoch, read back from its metrics.csv.


def logged_rows(folder: Path) -> Iterator[dict[str, str]]:
    """The rows of metrics.csv in a run folder, those of a run that went on after those before.

    An epoch that was logged twice, before a run was killed and after it went on, comes twice: the later one counts.
    """
    for path in sorted(folder.glob("csv/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with open(path, newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


@dataclass(frozen=True)
class Written:
    """What `finish` still has to write and to print.

    Attributes:
        sections: the content of metrics.json.
        gain: `Evaluator.difference(trained, frozen)`; None without a trained head.
        seed: of the training.
        csls_k: evaluation.csls_k.
    """

    sections: dict[str, Any]
    gain: Mapping[str, Any] | None
    seed: int
    synthetic: bool
    csls_k: int | None


def write_outcome(
    cfg: DictConfig,
    folder: RunFolder,
    inputs: Inputs,
    scorer: Scorer,
    scores: Scores,
    *,
    selected: Selected | None,
    text: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Written:
    """Write every file of the run folder but metrics.json, which `finish` writes last: a folder that has it is whole.

    `text` is the section of that name, of a run that was trained on texts; `facts` are more lines of provenance.json.
    """
    folder.file("metrics.json").unlink(missing_ok=True)
    synthetic = inputs.synthetic
    gain = scorer.evaluator.difference(scores.trained, scores.frozen) if scores.trained else None
    seed = read_config(cfg.run).seed if cfg.run else cfg.seed
    sections = metrics_sections(frozen=scores.frozen, trained=scores.trained, val=scores.val)
    sections |= {"text": text} if text else {}
    num_rejected = write_rejected(inputs.folder, folder.file("rejected.csv"), more=inputs.split.excluded)
    if num_rejected:
        progress.say(f"left out: {num_rejected} rows, listed with their reasons in {folder.file('rejected.csv')}")
    write_near_copies(folder, inputs.near_copies)
    for note in inputs.split.notes:
        progress.say(note)
    provenance = {
        **facts,
        "synthetic": synthetic,
        "seeds": {"seed": cfg.seed, "split.seed": cfg.split.seed, "data.world_seed": cfg.data.get("world_seed")},
        "data": {
            "folder": str(inputs.folder.root),
            "fingerprint": inputs.folder.fingerprint(inputs.fingerprints),
            "split": str(inputs.split.path),
            "folds": cfg.split.get("folds"),
            "fold": cfg.split.get("fold"),
            "items": {name: len(inputs.split.items(name)) for name in ("train", "val", "test")},
            "left_out": num_rejected,
            "near_copies_across_splits": len(inputs.near_copies),
        },
        "features": {"key": inputs.store.key, "pooling": cfg.pooling.name, "width": inputs.features.shape[1]},
        "device": str(resolve_device(cfg.backbone.device)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "backbone": {"source": inputs.checkpoint.source, "revision": inputs.checkpoint.revision},
        "selected": selected
        and {"epoch": selected.epoch, "val/mrr": selected.score, "epochs_run": selected.epochs_run},
    }
    places = _draw(cfg, folder.file("tsne.png"), scorer, scores, synthetic=synthetic)
    write_table(folder.file("tsne.parquet"), places)
    folder.write_provenance(**provenance)
    instantiate(cfg.picture.report)(
        folder.file("report.html"),
        name=folder.path.name,
        sections=sections,
        results=scores.results,
        gain=gain,
        seed=seed,
        tsne=folder.file("tsne.png"),
        logged=logged_rows(folder.path),
        provenance=folder.provenance(),
        config=OmegaConf.to_yaml(cfg, resolve=True),
        synthetic=synthetic,
    )
    write_table(folder.file("ranks.parquet"), ranks_table(scores.results))
    write_table(folder.file("answers.parquet"), answers_table(scores.results))
    write_embeddings(folder.file("embeddings.safetensors"), scorer, scores.embedded)
    return Written(sections, gain, seed, synthetic, scorer.evaluator.csls_k)


def write_near_copies(folder: RunFolder, pairs: Sequence[tuple[str, str, str, str]]) -> None:
    """Write near_copies.csv where there are any, and remove an older one where there are none."""
    if not pairs:
        folder.file("near_copies.csv").unlink(missing_ok=True)
        return
    folder.write_text("near_copies.csv", as_csv(["image", "split", "copy", "split_of_copy"], pairs))


def finish(folder: RunFolder, written: Written, *, show: bool) -> None:
    """Write metrics.json and, with `show`, print table and paths."""
    folder.write_json("metrics.json", written.sections)
    if show:
        print_results(
            written.sections,
            gain=written.gain,
            seed=written.seed,
            synthetic=written.synthetic,
            csls_k=written.csls_k,
        )
        if "text" in written.sections:
            print_text(written.sections["text"], synthetic=written.synthetic)
        for name in ("", "tsne.png", "report.html"):
            print(f"{folder.file(name) if name else folder.path}")


def _draw(cfg: DictConfig, path: Path, scorer: Scorer, scores: Scores, *, synthetic: bool) -> Any:
    """Draws tsne.png; returns its points as a pyarrow table: model, profile_id, group (side or class), x, y."""
    import pyarrow as pa

    ids = scores.frozen_embedded.profile_ids
    panels = {"frozen backbone": scores.frozen_embedded.embeddings}
    if scores.trained_embedded:
        panels["trained head"] = scores.trained_embedded.embeddings
    what: dict[str, Any]
    if scorer.folder.task == "couple":
        row = {profile_id: i for i, profile_id in enumerate(ids)}
        couples, sides = scorer.couples("test"), (scorer.folder.left_name, scorer.folder.right_name)
        what = {"couples": [(row[left], row[right]) for left, right in couples], "sides": sides}
        group = {profile_id: side for couple in couples for profile_id, side in zip(couple, sides, strict=True)}
    else:
        what = {"labels": [scorer.folder.labels[profile_id] for profile_id in ids]}
        group = scorer.folder.labels
    drawn, places = instantiate(cfg.picture.tsne)(path, panels, synthetic=synthetic, **what)
    names = [ids[i] for i in drawn]
    tables = [
        pa.table(
            {
                "model": [model.split()[0]] * len(names),
                "profile_id": names,
                "group": [group[name] for name in names],
                "x": xy[:, 0].astype("float64"),
                "y": xy[:, 1].astype("float64"),
            }
        )
        for model, xy in places.items()
    ]
    return pa.concat_tables(tables)
