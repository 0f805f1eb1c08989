"""A training step under the Trainer of a run against a bare PyTorch loop, head 2048 -> 2048 -> 512, InfoNCE, AdamW."""

import copy
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import measure
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from style_match.data.datamodule import MatchDataModule
from style_match.evaluation.evaluator import Evaluator
from style_match.models.module import MatchModule
from style_match.training.loop import make_trainer
from style_match.utils.threads import pinned

WIDTH = 2048
TRAINER, SAME, USUAL = "training step", "bare PyTorch loop, same optimizer", "bare PyTorch loop, AdamW by default"


class Clock(Callback):
    """Seconds from the start of the first training step to the end of the last one."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds = time.perf_counter() - self.began


def measured(results: measure.Results, options: dict[str, Any]) -> None:
    cfg = measure.train_config("loss=infonce", "head.dim=512")
    medians = []
    for batch_size in options["batch_sizes"]:
        with tempfile.TemporaryDirectory() as folder, pinned(cfg.threads):
            epoch = Epoch(cfg, batch_size, options["steps"], Path(folder))
            ways = {TRAINER: epoch.trained, SAME: partial(epoch.bare, fused=True)}
            ways[USUAL] = partial(epoch.bare, fused=None)
            size = f"batch {batch_size}"
            times = measure.alternate(ways, repetitions=options["repetitions"], what=size)
            for way, goal in ((SAME, 1.1), (USUAL, None)):
                furthest = float((epoch.embedded[TRAINER] - epoch.embedded[way]).abs().max())
                what = f"embeddings after {options['steps']} steps, {size}, {way}, largest difference"
                results.check(what, furthest, 1e-4)
                results.compare(TRAINER, way, times[TRAINER], times[way], size=size, goal=goal)
            medians.append(statistics.median(times[TRAINER]) / options["steps"])
    results.grow(TRAINER, "couples a batch", options["batch_sizes"], medians)


class Epoch:
    """An epoch of the same steps by both ways, from the same weights over the same batches.

    Args:
        cfg: Config of style_match.train.
        batch_size: Couples of a batch.
        steps: Steps of the epoch.
        folder: Folder of the Trainer.
    """

    def __init__(self, cfg: DictConfig, batch_size: int, steps: int, folder: Path):
        num = batch_size * steps
        features = torch.randn(2 * num + 8, WIDTH, generator=torch.Generator().manual_seed(0))
        self.cfg, self.folder = cfg, folder
        self.data = MatchDataModule(
            task="couple",
            profile_ids=[str(i) for i in range(len(features))],
            photo_profile=range(len(features)),
            people=range(len(features)),
            couples=[(i, num + 4 + i) for i in range(num + 4)],
            split={"train": range(num), "val": range(num, num + 2), "test": range(num + 2, num + 4)},
            sampler=instantiate(cfg.sampler, batch_size=batch_size),
            features=features,
        )
        torch.manual_seed(0)
        self.head: nn.Module = instantiate(cfg.head)(in_dim=WIDTH)
        self.embedded: dict[str, Tensor] = {}  # of the same rows, after the last step

    def trained(self) -> float:
        """Return the seconds of the steps under the Trainer of a run."""
        head = copy.deepcopy(self.head)
        loss = OmegaConf.masked_copy(self.cfg.loss, ["_target_", "temperature", "symmetric"])
        module = MatchModule(
            head=head,
            loss=instantiate(loss),
            optimizer=instantiate(self.cfg.optimizer),
            scheduler=instantiate(self.cfg.scheduler),
            evaluator=Evaluator(default_ks=[1], block=self.cfg.evaluation.block),
        )
        clock = Clock()
        trainer = make_trainer(self.cfg, self.folder, max_epochs=1, callbacks=[clock], logger=False)
        trainer.fit(module, datamodule=self.data)
        self.embedded[TRAINER] = self.embed(head)
        return clock.seconds

    def bare(self, *, fused: bool | None) -> float:
        """Return the seconds of the steps in a loop, with the optimizer of a run or (not fused) the usual one."""
        head = copy.deepcopy(self.head).train()
        options = {"lr": self.cfg.optimizer.lr, "weight_decay": self.cfg.optimizer.weight_decay}
        optimizer = torch.optim.AdamW(head.parameters(), **options, fused=fused)
        left, right = self.data.couples.T
        batches = [batch["labels"].chunk(2)[0] for batch in self.data.train_batches()]
        began = time.perf_counter()
        total = 0.0
        for batch in batches:
            rows = F.normalize(head.project(self.data.features[torch.cat([left[batch], right[batch]])]), dim=1)
            f, m = rows.chunk(2)
            loss = F.cross_entropy(f @ m.T / self.cfg.loss.temperature, torch.arange(len(f)))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), self.cfg.trainer.gradient_clip_val)
            optimizer.step()
            total += loss.item()
        seconds = time.perf_counter() - began
        self.embedded[SAME if fused else USUAL] = self.embed(head)
        return seconds

    def embed(self, head: nn.Module) -> Tensor:
        with torch.no_grad():
            return head.eval()(self.data.features[:512])


if __name__ == "__main__":
    measure.main("step", __doc__.splitlines()[0], measured)
