"""The outputs of a run: files, pictures, and the table that is printed."""

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save

from style_match.backbone.inputs import Inputs
from style_match.backbone.qwen3_vl import resolve_device
from style_match.cli.run_config import read_config
from style_match.data.datamodule import MatchDataModule
from style_match.data.dataset import DatasetFolder, write_rejected
from style_match.data.images import as_uri, thumbnail
from style_match.evaluation.evaluator import Result
from style_match.evaluation.outputs import answers_table, metrics_sections, ranks_table, write_table
from style_match.evaluation.ranks import DIRECTIONS
from style_match.evaluation.tables import interval_of, print_results, print_text
from style_match.models.module import MatchModule, TestResults, test_values
from style_match.training.checkpoints import Selected
from style_match.training.neighbours import Strip, photo_strips
from style_match.training.run_folder import RunFolder
from style_match.utils import progress
from style_match.utils.files import as_csv, write_whole

MODELS = ("chance", "frozen", "trained")
THUMBNAIL_PX = 112  # longest side of a photo in report.html

log = logging.getLogger(__name__)


def logged_rows(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of metrics.csv in a run folder, in the order in which they were logged.

    An epoch that was logged before a kill and again by the resumed run comes twice; the later row counts.
    """
    for path in sorted(folder.glob("csv/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with open(path, newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


@dataclass(frozen=True)
class Outputs:
    """The outputs of a run, for `finish` and for the loggers.

    Attributes:
        sections: Content of metrics.json.
        results: Results of the test split by model ("frozen", "trained").
        values: As logged: test/MODEL/METRIC and selected/val/METRIC.
        gain: `Evaluator.difference(trained, frozen)`; None without a trained head.
        seed: Of the training.
        csls_k: evaluation.csls_k.
        tsne: File of the picture: points without photos.
        neighbours: Photos of some queries with their answers; empty unless logger.log_images=true.
        synthetic: Whether the people are drawn.
    """

    sections: dict[str, Any]
    results: Mapping[str, Result]
    values: Mapping[str, float]
    gain: Mapping[str, Any] | None
    seed: int
    csls_k: int | None
    tsne: Path
    neighbours: Sequence[Strip]
    synthetic: bool

    @property
    def metrics(self) -> list[tuple[str, str, float, float, float]]:
        """Rows (model, metric, value, low, high) of the test split; values are fractions."""
        return [
            (model, name, cell["value"], *interval_of(cell))
            for model in MODELS
            for name, cell in self.sections.get(model, {}).items()
            if isinstance(cell, Mapping)
        ]

    @property
    def ranks(self) -> list[tuple[str, int, str, int, int, float]]:
        """Rows (model, query, direction, rank, gallery, similarity).

        Queries are numbered as in ranks.parquet; profile ids are not sent to loggers.
        """
        rows = []
        for model, result in self.results.items():
            ranks = result.ranks
            columns = (c.tolist() for c in (ranks.direction, ranks.rank, ranks.gallery, ranks.similarity))
            for query, (direction, rank, gallery, similarity) in enumerate(zip(*columns, strict=True)):
                rows.append((model, query, DIRECTIONS[direction], rank, gallery, similarity))
        return rows


def write_outputs(
    cfg: DictConfig,
    folder: RunFolder,
    inputs: Inputs,
    data: MatchDataModule,
    module: MatchModule,
    results: TestResults,
    *,
    selected: Selected | None,
    text: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Outputs:
    """Write every file of the run folder but metrics.json, which `finish` writes last.

    Args:
        cfg: Config of the run.
        folder: Where the files go.
        inputs: Data of the run.
        data: Its splits.
        module: The tested module.
        results: Of its test.
        selected: The selected checkpoint; None without training.
        text: The section `text` of a run that was trained on texts.
        **facts: More entries of provenance.json.
    """
    folder.file("metrics.json").unlink(missing_ok=True)
    synthetic = inputs.synthetic
    gain = module.evaluator.difference(results.trained, results.frozen) if results.trained else None
    seed = read_config(cfg.run).seed if cfg.run else cfg.seed
    sections = metrics_sections(frozen=results.frozen, trained=results.trained, val=results.val)
    sections |= {"trained_minus_frozen": gain} if gain else {}
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
        "selected": None
        if selected is None
        else {
            "epoch": selected.epoch,
            "val/mrr": results.val.metrics["mrr"]["value"],
            "epochs_run": selected.epochs_run,
        },
    }
    points = _draw(cfg, folder.file("tsne.png"), inputs.folder, data, results, synthetic=synthetic)
    write_table(folder.file("tsne.parquet"), points)
    folder.write_provenance(**provenance)
    max_source_pixels = cfg.data.max_source_pixels

    def photo(profile_id: str) -> str:
        path = inputs.folder.photos_of(profile_id)[0].path
        return as_uri(thumbnail(path, THUMBNAIL_PX, max_source_pixels=max_source_pixels))

    instantiate(cfg.picture.report)(
        folder.file("report.html"),
        name=folder.path.name,
        sections=sections,
        results=results.models,
        gain=gain,
        seed=seed,
        tsne=folder.file("tsne.png"),
        logged=logged_rows(folder.path),
        provenance=folder.provenance(),
        config=OmegaConf.to_yaml(cfg, resolve=True),
        synthetic=synthetic,
        photo=photo if cfg.prompt.image else None,
        labels=inputs.folder.labels if data.task == "style" else None,
    )
    write_table(folder.file("ranks.parquet"), ranks_table(results.models))
    write_table(folder.file("answers.parquet"), answers_table(results.models))
    write_embeddings(folder.file("embeddings.safetensors"), inputs.folder, data, results)
    return Outputs(
        sections=sections,
        results=results.models,
        values=test_values(results),
        gain=gain,
        seed=seed,
        csls_k=module.evaluator.csls_k,
        tsne=folder.file("tsne.png"),
        neighbours=photo_strips(cfg, inputs, results) if OmegaConf.select(cfg, "logger.log_images") else (),
        synthetic=synthetic,
    )


def write_near_copies(folder: RunFolder, pairs: Sequence[tuple[str, str, str, str]]) -> None:
    """Write near_copies.csv, or remove the file of an earlier process if there are none."""
    if not pairs:
        folder.file("near_copies.csv").unlink(missing_ok=True)
        return
    folder.write_text("near_copies.csv", as_csv(["image", "split", "copy", "split_of_copy"], pairs))


def finish(folder: RunFolder, outputs: Outputs, *, show: bool) -> None:
    """Write metrics.json, log the results and, with `show`, print table and paths."""
    folder.write_json("metrics.json", outputs.sections)
    for model, section in outputs.sections.items():
        if model in (*MODELS, "val"):
            split = "validation" if model == "val" else f"test, {model}"
            log.info("%s: MRR %.4f", split, section["mrr"]["value"])
    log.info("finished in %.1f s", folder.provenance()["wall_time_s"])
    if show:
        print_results(
            outputs.sections,
            gain=outputs.gain,
            seed=outputs.seed,
            synthetic=outputs.synthetic,
            csls_k=outputs.csls_k,
        )
        if "text" in outputs.sections:
            print_text(outputs.sections["text"], synthetic=outputs.synthetic)
        for name in ("", "tsne.png", "report.html"):
            print(f"{folder.file(name) if name else folder.path}")


def write_embeddings(path: Path, folder: DatasetFolder, data: MatchDataModule, results: TestResults) -> None:
    """Write embeddings.safetensors of the reported model.

    Couples have `left` and `right` (C, E), where row i of both is one couple of the test split, and `left_ids` and
    `right_ids` in the header. Styles have `embeddings` (N, E), and `ids` and `labels` in the header.
    """
    row = {profile_id: number for number, profile_id in enumerate(results.profile_ids)}
    if data.task == "couple":
        left_ids, right_ids = (list(side) for side in zip(*data.ids_of("test"), strict=True))
        tensors = {
            name: results.reported[[row[each] for each in ids]]
            for name, ids in (("left", left_ids), ("right", right_ids))
        }
        header = {"left_ids": left_ids, "right_ids": right_ids}
    else:
        tensors = {"embeddings": results.reported}
        ids = list(results.profile_ids)
        header = {"ids": ids, "labels": [folder.labels[profile_id] for profile_id in ids]}
    texts = {name: json.dumps(ids, ensure_ascii=False) for name, ids in header.items()}
    write_whole(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=texts))


def _draw(
    cfg: DictConfig, path: Path, folder: DatasetFolder, data: MatchDataModule, results: TestResults, *, synthetic: bool
) -> Any:
    """Draw tsne.png, and return its points as a pyarrow table: model, profile_id, group (side or class), x, y."""
    ids = results.profile_ids
    names = {"frozen": "frozen backbone", "trained": "trained head"}
    panels = {names[model]: embeddings for model, embeddings in results.embeddings.items()}
    groups: dict[str, Any]
    if data.task == "couple":
        row = {profile_id: i for i, profile_id in enumerate(ids)}
        couples, sides = data.ids_of("test"), (folder.left_name, folder.right_name)
        groups = {"couples": [(row[left], row[right]) for left, right in couples], "sides": sides}
        group = {profile_id: side for couple in couples for profile_id, side in zip(couple, sides, strict=True)}
    else:
        groups = {"labels": [folder.labels[profile_id] for profile_id in ids]}
        group = folder.labels
    drawn, places = instantiate(cfg.picture.tsne)(path, panels, synthetic=synthetic, **groups)
    shown = [ids[i] for i in drawn]
    tables = [
        pa.table(
            {
                "model": [model.split()[0]] * len(shown),
                "profile_id": shown,
                "group": [group[profile_id] for profile_id in shown],
                "x": xy[:, 0].astype("float64"),
                "y": xy[:, 1].astype("float64"),
            }
        )
        for model, xy in places.items()
    ]
    return pa.concat_tables(tables)
