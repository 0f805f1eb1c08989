"""What the outside sees of the steps, as plain JSON: by the words of the command line, files and `StyleMatcher` alone.

`renew.py` writes it into `golden/`, and the tests compare it with what is written there.
"""

import csv
import gc
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from safetensors import safe_open

from style_match import StyleMatcher
from tests.commands import QUICK, SMALL_HEAD, Done

HERE = Path(__file__).parent
STEPS = (
    *("label", "prepare", "embed", "train", "evaluate", "report"),
    *("export", "recommend", "search", "app", "forget"),
)
OLD_RUNS, OLD_MATCHER = HERE / "old_run", HERE / "old_matcher"
PHOTOS = ("f0001", "m0002", "f0004")  # of the drawn couples
TEXTS = ("a neat dandy look", "깔끔한 댄디룩 찾아줘")
OPEN = {"git"}  # what is below is that of a checkout, or nothing
CLOSE = 5e-3  # ranks are counted, so that other machines agree; intervals are quantiles of a seeded bootstrap
Run = Callable[..., Done]

SMALL = ("data.num_couples=40", "sampler.batch_size=8", "trainer.max_epochs=2", *QUICK)
STYLES = ("data=demo_styles", "data.num_photos=60", "trainer.max_epochs=2", *QUICK)
# parts that no shared run has; of the second ones the numbers are compared by `make test-all`
OTHER_RUNS = {
    "triplet_pk": (*STYLES, "loss=triplet", "sampler=pk", *SMALL_HEAD),
    "symmetric_mean_eos": (*SMALL, "loss.symmetric=true", "pooling=both", "optimizer.lr=1e-3", *SMALL_HEAD),
    "combined_csls": (*SMALL, "recipe=combined_csls", "head.dim=8"),
}
THOROUGH_RUNS = {
    "plain_batches": (*STYLES, "loss=infonce", "sampler=plain", "sampler.batch_size=16", *SMALL_HEAD),
    "balanced": (*STYLES, "balance.cap=6", "balance.fill=true", "balance.views=2", *SMALL_HEAD),
    "metadata": (*SMALL, "prompt=image_metadata", *SMALL_HEAD),
    "texts": (*SMALL, "loss.text_weight=1", "text.own.hidden_dim=32", *SMALL_HEAD),
    "eos": (*SMALL, "pooling=eos", *SMALL_HEAD),
    "layer": (*SMALL, "backbone.layer=2", *SMALL_HEAD),
    "online": (*SMALL, "encode=online", *SMALL_HEAD),
    "cosine": (*SMALL, "scheduler=cosine", *SMALL_HEAD),
    "fold": (*SMALL, "split.folds=4", "split.fold=1", *SMALL_HEAD),
    "seeds": (*SMALL, "seed=3", "split.seed=5", "data.world_seed=2", *SMALL_HEAD),
    "recipe_pair_lda": (*SMALL, "recipe=pair_lda", "head.dim=8"),
    "recipe_lda_mlp": (*SMALL, "recipe=lda_mlp", "head.hidden_dim=32"),
    "recipe_ridge": (*SMALL, "recipe=ridge"),
    "recipe_cca": (*SMALL, "recipe=cca", "head.dim=8"),
    "recipe_whitened": (*SMALL, "recipe=whitened", "head.dim=16"),  # fewer directions than photos
    "recipe_centred": (*SMALL, "recipe=centred"),
    "recipe_linear": (*SMALL, "recipe=linear"),
    "recipe_two_heads": (*SMALL, "recipe=two_heads"),
    "recipe_ensemble": (*SMALL, "recipe=ensemble", "head.num=2"),
    "recipe_hybrid": (*SMALL, "recipe=hybrid"),
    "recipe_hybrid_score": (*SMALL, "recipe=hybrid_score"),
    "recipe_frozen": (*SMALL, "recipe=frozen"),
}


def golden(name: str) -> Any:
    return json.loads((HERE / "golden" / f"{name}.json").read_text(encoding="utf-8"))


# numbers


def numbers(run: Path) -> dict[str, Any]:
    """Every leaf of metrics.json by its words, such as `trained mrr ci95 0`."""
    found: dict[str, Any] = {}

    def add(below: Any, words: str) -> None:
        if isinstance(below, dict | list):
            for name, each in below.items() if isinstance(below, dict) else enumerate(below):
                add(each, f"{words} {name}".strip())
        else:
            found[words] = round(below, 6) if isinstance(below, float) else below

    add(json.loads((run / "metrics.json").read_text()), "")
    return found


def stored_numbers(name: str, run: Path) -> dict[str, dict[str, Any]]:
    """Model -> words -> number; of the shared runs also intervals and what follows from the data."""
    stored: dict[str, dict[str, Any]] = {}
    for words, value in numbers(run).items():
        model, _, rest = words.partition(" ")
        if name in ("couples", "styles") or rest.endswith(" value"):
            stored.setdefault(model, {})[rest] = value
    return stored


# layout


def paths(tree: Any, before: str = "") -> list[str]:
    """The dotted path of every key."""
    found = []
    for name, below in tree.items() if isinstance(tree, dict) else ():
        found.append(f"{before}{name}")
        if name not in OPEN:
            found += paths(below, f"{before}{name}.")
    return sorted(found)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def columns(table: Path) -> dict[str, str]:
    return {field.name: str(field.type) for field in pq.read_schema(table)}


def tensors(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as stored:
        header = stored.metadata() or {}
        views = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
        shapes = {name: [view.get_dtype(), *view.get_shape()] for name, view in sorted(views.items())}
    lengths = {name: len(json.loads(text)) for name, text in sorted(header.items()) if text.startswith("[")}
    return {"tensors": shapes, "header": sorted(header), "lengths": lengths}


def weights(checkpoint: Path) -> dict[str, list[int]]:
    content = torch.load(checkpoint, weights_only=True)
    assert content["epoch"] >= 0
    return {name: list(value.shape) for name, value in sorted(content["state_dict"].items())}


def header(table: Path) -> list[str]:
    with open(table, newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def run_layout(run: Path) -> dict[str, Any]:
    return {
        "files": files(run),
        "metrics.json": paths(json.loads((run / "metrics.json").read_text())),
        "provenance.json": paths(json.loads((run / "provenance.json").read_text())),
        "ranks.parquet": columns(run / "ranks.parquet"),
        "answers.parquet": columns(run / "answers.parquet"),
        "tsne.parquet": columns(run / "tsne.parquet"),
        "rows": {name: pq.read_metadata(run / f"{name}.parquet").num_rows for name in ("ranks", "answers", "tsne")},
        "embeddings.safetensors": tensors(run / "embeddings.safetensors"),
        "best.ckpt": weights(run / "checkpoints" / "best.ckpt"),
        "rejected.csv": header(run / "rejected.csv"),
        "csv": header(next(run.glob("csv/*/metrics.csv"))),
    }


def matcher_layout(folder: Path) -> dict[str, Any]:
    return {
        "files": files(folder),
        "matcher.json": paths(json.loads((folder / "matcher.json").read_text())),
        "head.safetensors": tensors(folder / "head.safetensors"),
        "text.safetensors": tensors(folder / "text.safetensors"),
    }


# vectors


def photos_of(run: Path) -> dict[str, Path]:
    """Profile id -> photo of the dataset folder of a run."""
    folder = Path(json.loads((run / "provenance.json").read_text())["data"]["folder"])
    with open(folder / "profiles.csv", newline="", encoding="utf-8") as file:
        return {row["profile_id"]: folder / row["image"] for row in csv.DictReader(file)}


def vectors(matcher: StyleMatcher, photos: dict[str, Path]) -> dict[str, list[float]]:
    found = matcher.encode([photos[one] for one in PHOTOS])
    texts = matcher.encode_text(list(TEXTS))
    rows = [*zip(PHOTOS, found, strict=True), *zip(TEXTS, texts, strict=True)]
    return {name: [round(float(each), 6) for each in row] for name, row in rows}


def written(run: Path) -> dict[str, np.ndarray]:
    """Profile id -> embedding that a run left."""
    found = {}
    with safe_open(run / "embeddings.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118
            ids = json.loads(file.metadata()["ids" if name == "embeddings" else f"{name}_ids"])
            found |= dict(zip(ids, file.get_tensor(name), strict=True))
    return found


def answers(matcher: StyleMatcher) -> list[list[Any]]:
    """The three best of the first woman, through the demo's folder that the matcher names."""
    best = matcher.recommend(PHOTOS[0], matcher.embed_folder(), k=3)
    return [[one, round(float(cosine), 4)] for one, cosine in best]


# words of the command line


def groups(run_step: Run, step: str) -> dict[str, list[str]]:
    """Group -> its choices as `--help` lists them, * before those in use."""
    text = run_step(step, "--help").stdout
    part = text.partition("\nGroups")[2].partition("\n\n")[0]
    return {line.split()[0]: line.split()[1:] for line in part.splitlines()[1:]}


def options(run_step: Run, step: str, *words: str) -> dict[str, Any]:
    """Dotted path -> default, as `--cfg job` prints them; not where a part's code lies."""
    tree = yaml.safe_load(run_step(step, *words, "--cfg", "job").stdout)
    found: dict[str, Any] = {}

    def add(below: Any, before: str) -> None:
        if not isinstance(below, dict) or not below:
            found[before] = below
            return
        for name, value in below.items():
            if not name.startswith("_") and not (name == "path" and "_target_" in below):
                add(value, f"{before}.{name}" if before else name)

    tree.pop("table", None)  # what rows of a report are of, no option
    add(tree, "")
    return found


def mistake(run_step: Run, case: dict[str, Any], folder: Path, **places: Path) -> str:
    """The answer to a mistake, with words for the folders of this machine."""
    here = {"FOLDER": folder, **places}
    words = [re.sub("|".join(here), lambda found: str(here[found.group()]), word) for word in case["words"]]
    text = run_step(case["step"], *words, code=case["code"]).stderr
    gc.collect()  # the traceback of a mistake holds the run folder's lock, which a process that ends gives back
    text = re.sub(r"^(features|texts): .*\n", "", text, flags=re.M)  # progress
    for name, place in sorted(here.items(), key=lambda each: -len(str(each[1]))):
        text = text.replace(str(place), name)
    return text
