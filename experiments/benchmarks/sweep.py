"""Table 3 over several seeds against a script without a framework, start-up and table included.

The head's input is 2048 wide, from a backbone of random weights: its numbers mean nothing, and the time is that of
features of Qwen3-VL-2B.
"""

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import pandas as pd
import torch
from measure import HERE
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from style_match.backbone.inputs import Inputs
from style_match.training.loop import make_datamodule
from style_match.utils import progress
from style_match.utils.threads import pinned

TABLE_ROWS = ("dim256_tau0.1", "dim512_tau0.1", "dim512_tau0.2")
TWO_AT_A_TIME = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SERIAL, PARALLEL, PLAIN = "table 3, sweep", "table 3, sweep, two cells at a time", "plain script"
# as wide as Qwen3-VL-2B's features, otherwise as small as the architecture allows
WIDE = {
    "vocab_size": 512,
    "hidden_size": 2048,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "mrope_section": [4, 2, 2],
}


def measured(results: measure.Results, options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options)
        bench.prepare()
        bench.sweep(1, *TWO_AT_A_TIME)()
        bench.plain(1)()
        bench.set_aside()
        for what, (found, at_most) in bench.differences(1).items():
            results.check(f"{what}, of {len(TABLE_ROWS)} cells", found, at_most)
        sizes, medians = [], []
        for seeds, repetitions in zip(options["seeds"], options["repetitions"], strict=True):
            size, is_largest = f"{len(TABLE_ROWS) * seeds} cells", seeds == max(options["seeds"])
            ways: dict[str, Callable[[], object]] = {PLAIN: bench.plain(seeds)}
            ways[PARALLEL] = bench.sweep(seeds, *TWO_AT_A_TIME)
            if seeds == min(options["seeds"]):
                ways[SERIAL] = bench.sweep(seeds)
            times = measure.alternate(ways, repetitions=repetitions, what=size, before=bench.set_aside, warm_up=False)
            bench.set_aside()
            goal = options["goal"] if is_largest else None
            for way in (PARALLEL, SERIAL):
                if way in ways:
                    results.compare(way, PLAIN, times[way], times[PLAIN], size=size, goal=goal)
            if is_largest:
                for what, (found, _) in bench.differences(seeds).items():
                    results.fact(what, found, "", size=size)
            sizes.append(len(TABLE_ROWS) * seeds)
            medians.append(statistics.median(times[PARALLEL]))
        results.grow("table 3, two cells at a time", "cells", sizes, medians)
        backbone_in_every_step(results, bench, options)


class Bench:
    """Both ways to table 3 in a folder, which is the cache of the runs, too."""

    def __init__(self, place: Path, options: dict[str, Any]):
        self.place, self.options = place, options
        self.world = [f"backbone.path={place / 'wide'}", f"data.num_couples={options['couples']}"]
        self.world += [f"trainer.max_epochs={options['epochs']}"]

    def run(self, step: str, *words: str) -> None:
        environment = {**os.environ, "STYLE_MATCH_CACHE": str(self.place)}
        command = [sys.executable, "-m", f"style_match.{step}", *words, "progress=false"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.place)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

    def sweep(self, seeds: int, *launcher: str) -> Callable[[], None]:
        """Return a function that runs the two commands of a user: the sweep, then its table."""
        folder = self.place / "sweep"

        def run() -> None:
            words = ["experiment=table3", f"seed={','.join(map(str, range(seeds)))}", f"hydra.sweep.dir={folder}"]
            self.run("train", *words, *self.world, *launcher)
            self.run("report", "table=table3", f"sweep={folder}", "report.min_seeds=1")

        return run

    def plain(self, seeds: int) -> Callable[[], object]:
        words = [sys.executable, HERE / "sweep_plain.py", self.place / "given", self.place / "plain"]
        words += map(str, range(seeds))
        return lambda: subprocess.run(words, check=True, capture_output=True)

    def set_aside(self) -> None:
        """Move results away, because a sweep skips finished cells; the last ones of each way are kept."""
        (self.place / "last").mkdir(exist_ok=True)
        for name in ("sweep", "plain"):
            if (self.place / name).exists():
                shutil.rmtree(self.place / "last" / name, ignore_errors=True)
                (self.place / name).rename(self.place / "last" / name)

    def prepare(self) -> None:
        """Write the input of the plain script: features, couples by split, and batches by seed and epoch."""
        measure.write_checkpoint(self.place / "wide", text=WIDE)
        self.run("train", *self.world, f"hydra.run.dir={self.place / 'one'}")
        cfg = OmegaConf.load(self.place / "one" / "config.yaml")
        os.environ["STYLE_MATCH_CACHE"] = str(self.place)
        inputs = Inputs(cfg)
        batches: dict[int, list[list[list[int]]]] = {}
        for seed in range(max(self.options["seeds"])):
            cfg.seed = seed
            data = make_datamodule(cfg, inputs)
            data.setup()
            position = {item: number for number, item in enumerate(data.split["train"].tolist())}
            loader = data.train_dataloader()
            batches[seed] = []
            for epoch in range(self.options["epochs"]):
                loader.sampler.set_epoch(epoch)
                drawn = [batch["labels"].chunk(2)[0].tolist() for batch in loader]
                batches[seed].append([[position[item] for item in items] for items in drawn])
        couples = {name: data.couples[items].tolist() for name, items in data.split.items()}
        given = self.place / "given"
        given.mkdir()
        save_file({"features": inputs.features}, given / "features.safetensors")
        (given / "given.json").write_text(json.dumps({"couples": couples, "batches": batches}))

    def differences(self, seeds: int) -> dict[str, tuple[float, float]]:
        """Return the differences between the last results of both ways, and the largest that are accepted.

        Sums round differently on two cores, and AdamW makes full steps of small gradients too, so heads move apart over
        the epochs. A near tie in validation can select another epoch; such a cell has another head, and is counted.
        """
        furthest, other_epochs, ranks = 0.0, 0, []
        for row in TABLE_ROWS:
            for seed in range(seeds):
                name = f"row={row}" + (f",seed={seed}" if seeds > 1 else "")
                ours, theirs = self.place / "last" / "sweep" / name, self.place / "last" / "plain" / f"{row}-{seed}"
                own = pd.read_parquet(ours / "ranks.parquet", filters=[("model", "=", "trained")])["rank"].to_numpy()
                both = pd.DataFrame({"ours": own, "theirs": pd.read_parquet(theirs / "ranks.parquet")["rank"]})
                epoch = json.loads((ours / "provenance.json").read_text())["selected"]["epoch"]
                is_same = epoch == torch.load(theirs / "best.pt", weights_only=True)["epoch"]
                ranks.append(both.assign(same=is_same))
                other_epochs += not is_same
                if is_same:
                    found, expected = (load_file(folder / "embeddings.safetensors") for folder in (ours, theirs))
                    furthest = max(furthest, *(float((found[s] - expected[s]).abs().max()) for s in ("left", "right")))
        every = pd.concat(ranks)
        same, mrr = every[every.same], (1 / every[["ours", "theirs"]]).mean()
        return {
            "share of cells in which a near tie selects another epoch": (other_epochs / len(ranks), 0.34),
            "test embeddings of the other cells, largest difference": (furthest, 1e-2),
            "share of their test ranks that differ": (float((same.ours != same.theirs).mean()), 0.05),
            "test MRR over all cells, difference of the means": (abs(mrr.ours - mrr.theirs), 1e-2),
        }


def backbone_in_every_step(results: measure.Results, bench: Bench, options: dict[str, Any]) -> None:
    """For information: a training step on stored features against one of open-metric-learning from photos."""
    if importlib.util.find_spec("oml") is None:
        progress.say("  open-metric-learning is not installed and not measured; `make bench` installs it")
        return
    from step import Epoch
    from sweep_oml import Loop

    cfg = measure.train_config("loss=infonce", "head.dim=512")
    batch, steps = options["oml"]["batch_size"], options["oml"]["steps"]
    (photos,) = (bench.place / "demo").glob("*/images")
    couples = [(left, photos / f"m{left.name[1:]}") for left in sorted(photos.glob("f*.jpg"))]
    theirs = Loop(couples, bench.place / "wide", batch_size=batch, max_pixels=options["oml"]["max_pixels"])
    with pinned(cfg.threads):
        ours = Epoch(cfg, batch, steps, bench.place / "step")

    def trained() -> float:
        with pinned(cfg.threads):
            return ours.trained()

    ways = {"ours": trained, "theirs": lambda: theirs.seconds(steps)}
    times = measure.alternate(ways, repetitions=options["repetitions"][0], what="backbone in every step", warm_up=False)
    what, against = "training step on stored features", "open-metric-learning, backbone in every step"
    results.compare(what, against, times["ours"], times["theirs"], size=f"batch {batch}")


if __name__ == "__main__":
    measure.main("sweep", __doc__.splitlines()[0], measured)
