"""Table 3 over several seeds against a script without a framework, start-up and table included.

Head input 2048, from a backbone of random weights: its numbers mean nothing, its time is that of features of
Qwen3-VL-2B.
"""

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import measure
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from world import run, write_wide_checkpoint

from style_match.backbone.inputs import Inputs
from style_match.training.loop import make_datamodule
from style_match.utils import progress
from style_match.utils.threads import pinned

HERE = Path(__file__).parent
TABLE_ROWS = ("dim256_tau0.1", "dim512_tau0.1", "dim512_tau0.2")
TWO_AT_A_TIME = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
LAST = "last"  # folder of what the last turn has left
SERIAL, PARALLEL, PLAIN = "sweep", "sweep, two cells at a time", "plain script"


def measured(results: measure.Results, options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        world = [f"backbone.path={place / 'wide'}", f"data.num_couples={options['couples']}"]
        world += [f"trainer.max_epochs={options['epochs']}"]
        write_wide_checkpoint(place / "wide")
        give(place, world, max(options["seeds"]), options["epochs"])
        for way in (partial(swept, place, world, range(1), *TWO_AT_A_TIME), partial(plain, place, range(1))):
            way()
        set_aside(place)
        for what, (found, at_most) in differences(place / LAST, range(1)).items():
            results.check(f"{what}, of {len(TABLE_ROWS)} cells", found, at_most)
        sizes, seconds = [], []
        for seeds, repetitions in zip(options["seeds"], options["repetitions"], strict=True):
            cells, is_largest = len(TABLE_ROWS) * seeds, seeds == max(options["seeds"])
            ways = {
                PARALLEL: partial(swept, place, world, range(seeds), *TWO_AT_A_TIME),
                PLAIN: partial(plain, place, range(seeds)),
            }
            if seeds == min(options["seeds"]):
                ways[SERIAL] = partial(swept, place, world, range(seeds))
            size = f"{cells} cells"
            times = measure.alternate(
                ways, repetitions=repetitions, what=size, before=partial(set_aside, place), warm_up=False
            )
            set_aside(place)
            for way in ways:
                if way != PLAIN:
                    goal = options["goal"] if is_largest else None
                    results.compare(f"table 3, {way}", PLAIN, times[way], times[PLAIN], size=size, goal=goal)
            if is_largest:
                for what, (found, _) in differences(place / LAST, range(seeds)).items():
                    results.fact(what, found, "", size=size)
            sizes.append(cells)
            seconds.append(statistics.median(times[PARALLEL]))
        results.grow("table 3, two cells at a time", "cells", sizes, seconds)
        backbone_in_every_step(results, place, options)


def backbone_in_every_step(results: measure.Results, place: Path, options: dict[str, Any]) -> None:
    """For information: a training step on stored features against one of open-metric-learning from photos."""
    if importlib.util.find_spec("oml") is None:
        progress.say("  open-metric-learning is not installed, so it is not measured against; `make bench` installs it")
        return
    from step import Pair, train_config
    from sweep_oml import Loop

    cfg, batch, steps = train_config(), options["oml"]["batch_size"], options["oml"]["steps"]
    (photos,) = (place / "demo").glob("*/images")
    couples = [(left, photos / f"m{left.name[1:]}") for left in sorted(photos.glob("f*.jpg"))]
    theirs = Loop(couples, place / "wide", batch_size=batch, max_pixels=options["oml"]["max_pixels"])
    seconds: dict[str, list[float]] = {"stored features": [], "open-metric-learning": []}
    with pinned(cfg.threads):
        ours = Pair(cfg, batch, steps, place / "step")

        def trained() -> None:
            with pinned(cfg.threads):
                seconds["stored features"].append(ours.trained())

    ways = {
        "stored features": trained,
        "open-metric-learning": lambda: seconds["open-metric-learning"].append(theirs.seconds(steps)),
    }
    measure.alternate(ways, repetitions=options["repetitions"][0], what="backbone in every step", warm_up=False)
    against = "open-metric-learning, backbone in every step"
    results.compare("training step on stored features", against, *seconds.values(), size=f"batch {batch}")


def swept(place: Path, world: list[str], seeds: range, *launcher: str) -> None:
    """The two commands of a user: the sweep, then its table."""
    sweep = place / "sweep"
    seed = f"seed={','.join(map(str, seeds))}"
    run("train", "experiment=table3", seed, *world, f"hydra.sweep.dir={sweep}", *launcher, cache=place)
    run("report", "table=table3", f"sweep={sweep}", "report.min_seeds=1", cache=place)


def plain(place: Path, seeds: range) -> None:
    words = [sys.executable, str(HERE / "sweep_plain.py"), str(place / "given"), str(place / "plain"), *map(str, seeds)]
    subprocess.run(words, check=True, capture_output=True)


def set_aside(place: Path) -> None:
    """Make room for the next way, since a sweep goes on with what it finds; of each kind the last is kept."""
    (place / LAST).mkdir(exist_ok=True)
    for name in ("sweep", "plain"):
        if (place / name).exists():
            shutil.rmtree(place / LAST / name, ignore_errors=True)
            (place / name).rename(place / LAST / name)


def give(place: Path, world: list[str], num_seeds: int, num_epochs: int) -> None:
    """Write what the plain script reads: features, couples by split, and the batches that the sampler draws."""
    run("train", *world, f"hydra.run.dir={place / 'one'}", cache=place)
    cfg = OmegaConf.load(place / "one" / "config.yaml")
    assert isinstance(cfg, DictConfig)
    features, couples, batches = inputs_of(cfg, place, num_seeds, num_epochs)
    (place / "given").mkdir()
    save_file({"features": features}, place / "given" / "features.safetensors")
    (place / "given" / "given.json").write_text(json.dumps({"couples": couples, "batches": batches}))


def inputs_of(
    cfg: DictConfig, place: Path, num_seeds: int, num_epochs: int
) -> tuple[torch.Tensor, dict[str, Any], dict[int, Any]]:
    """Features of all profiles, couples (left, right) by split, batches by seed and epoch."""
    os.environ["STYLE_MATCH_CACHE"] = str(place)
    inputs = Inputs(cfg)
    batches: dict[int, Any] = {}
    for seed in range(num_seeds):
        cfg.seed = seed
        data = make_datamodule(cfg, inputs)
        data.setup()
        loader = data.train_dataloader()
        batches[seed] = []
        for epoch in range(num_epochs):
            loader.sampler.set_epoch(epoch)
            drawn = [batch["labels"][: len(batch["labels"]) // 2] for batch in loader]
            position = {item: number for number, item in enumerate(data.split["train"].tolist())}
            batches[seed].append([[position[item] for item in items.tolist()] for items in drawn])
    couples = {name: data.couples[items].tolist() for name, items in data.split.items()}
    return inputs.features, couples, batches


def differences(place: Path, seeds: range) -> dict[str, tuple[float, float]]:
    """What the last sweep and the last script differ in, and the most that it may be where nothing else is wrong.

    Sums round otherwise on two cores, and AdamW makes full steps of small gradients too, so that heads move apart over
    the epochs. A near tie in validation can select another epoch; such a cell is another head, and is counted.
    """
    furthest, ranked, off, other_epochs, num = 0.0, 0, 0, 0, 0
    mrr: dict[str, list[float]] = {"ours": [], "theirs": []}
    for row in TABLE_ROWS:
        for seed in seeds:
            name = f"row={row}" + (f",seed={seed}" if len(seeds) > 1 else "")
            ours, theirs = place / "sweep" / name, place / "plain" / f"{row}-{seed}"
            table = pq.read_table(ours / "ranks.parquet", filters=[("model", "=", "trained")])
            rank = torch.tensor(table["rank"].to_pylist())
            rival = torch.tensor(pq.read_table(theirs / "ranks.parquet")["rank"].to_pylist())
            for way, ranks in (("ours", rank), ("theirs", rival)):
                mrr[way].append(float((1 / ranks.double()).mean()))
            num += 1
            epoch = json.loads((ours / "provenance.json").read_text())["selected"]["epoch"]
            if epoch != torch.load(theirs / "best.pt", weights_only=True)["epoch"]:
                other_epochs += 1
                continue
            found, expected = (load_file(folder / "embeddings.safetensors") for folder in (ours, theirs))
            furthest = max(furthest, *(float((found[s] - expected[s]).abs().max()) for s in ("left", "right")))
            off += int((rank != rival).sum())
            ranked += len(rank)
    return {
        "share of cells in which a near tie selects another epoch": (other_epochs / num, 0.34),
        "test embeddings of the other cells, largest difference": (furthest, 1e-2),
        "share of their test ranks that differ": (off / max(ranked, 1), 0.05),
        "test MRR over all cells, difference of the means": (
            abs(statistics.mean(mrr["ours"]) - statistics.mean(mrr["theirs"])),
            1e-2,
        ),
    }


if __name__ == "__main__":
    measure.main("sweep", __doc__.splitlines()[0], measured)
