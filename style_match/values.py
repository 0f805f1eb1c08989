"""What may be written for each option: rules that need nothing but the value.

An option without a rule here must be of the kind that its YAML gives it (`style_match.check`).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Rule:
    """`wanted` completes "write ..."; `words` are those that may be written, where there are only some."""

    wanted: str
    holds: Callable[[Any], bool]
    words: tuple[str, ...] = ()

    def or_null(self) -> "Rule":
        return Rule(f"{self.wanted}, or null", lambda value: value is None or self.holds(value), self.words)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int | None = None, most: int | None = None) -> Rule:
    bounds = [f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else ""]
    wanted = "a whole number" + (" of " + " and ".join(filter(None, bounds)) if any(bounds) else "")
    return Rule(
        wanted,
        lambda value: (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (least is None or value >= least)
            and (most is None or value <= most)
        ),
    )


def number(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> Rule:
    bounds = ((above, "above"), (least, "of at least"), (below, "below"), (most, "of at most"))
    wanted = " and ".join(f"{word} {bound:g}" for bound, word in bounds if bound is not None)
    return Rule(
        f"a number {wanted}".rstrip(),
        lambda value: (
            is_number(value)
            and (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
        ),
    )


def word(*words: str) -> Rule:
    return Rule(" or ".join(words), lambda value: value in words, words)


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("a text", lambda value: not isinstance(value, list | dict | bool | None))
LIST = Rule("a list, such as [1,5]", lambda value: isinstance(value, list))
ANYTHING = Rule("anything", lambda value: True)
SHARE = number(least=0, most=1)
SEED = whole(0, 2**32 - 1)
KS = Rule(
    "a list of different whole numbers of at least 1, such as [1,5,10]",
    lambda ks: isinstance(ks, list) and bool(ks) and all(whole(1).holds(k) for k in ks) and len(set(ks)) == len(ks),
)
FRACTIONS = Rule(
    "three numbers above 0 (train, val, test) that sum to 1, such as [0.7,0.15,0.15]",
    lambda parts: (
        isinstance(parts, list)
        and len(parts) == 3
        and all(number(above=0).holds(part) for part in parts)
        and math.isclose(sum(parts), 1, abs_tol=1e-6)
    ),
)
DEVICE = Rule(
    "auto, cpu, cuda, cuda:N or mps", lambda value: bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(value)))
)
LEFT_OUT = ("unfinished", "failed", "foreign", "lacking")
POOLINGS = ("mean", "eos", "mean_text", "mean_image")  # those that the feature store always holds
PARTS = Rule(
    f"a list of different ones of {', '.join(POOLINGS)}, such as [mean,eos]",
    lambda parts: isinstance(parts, list) and 0 < len(parts) == len({*parts} & {*POOLINGS}),
)
RULES: dict[str, Rule] = {
    "seed": SEED,
    "split.seed": SEED,
    "split.fractions": FRACTIONS,
    "split.folds": whole(2).or_null(),
    "split.fold": whole(0).or_null(),
    "encode": word("cached", "online"),
    "threads": whole(1).or_null(),
    "progress": FLAG,
    "debug": FLAG,
    "data.on_bad_image": word("error", "exclude"),
    "data.max_source_pixels": whole(1),
    "data.num_workers": whole(0),
    "data.world_seed": SEED,
    "data.num_couples": whole(1),
    "data.num_photos": whole(1),
    "data.size_px": whole(1),
    "data.world.rho": SHARE,
    "data.world.scene_follow": SHARE,
    "data.world.background_follow": SHARE,
    "data.world.temperature": number(above=0),
    "data.world.noise": number(least=0),
    "backbone.path": TEXT,
    "backbone.revision": TEXT.or_null(),
    "backbone.dtype": word("auto", "fp32", "bf16", "fp16"),
    "backbone.attention": word("sdpa", "eager", "flash_attention_2"),
    "backbone.image_backend": word("pil", "torchvision"),
    "backbone.min_pixels": whole(1).or_null(),
    "backbone.max_pixels": whole(1).or_null(),
    "backbone.device": DEVICE,
    "backbone.layer": whole(1).or_null(),
    "backbone.token_budget": whole(1),
    "backbone.num_workers": whole(0),
    "pooling.parts": PARTS,
    "features.root": TEXT.or_null(),
    "features.shard_rows": whole(1),
    "head.dim": whole(1),
    "head.hidden_dim": whole(1),
    "head.shrinkage": number(above=0),
    "head.strength": number(above=0),
    "head.direction": word("both", "left_to_right", "right_to_left"),
    "head.num": whole(1),
    "loss.temperature": number(above=0),
    "loss.margin": number(above=0),
    "loss.reducer": word("avg_non_zero", "mean"),
    "sampler.batch_size": whole(2),
    "sampler.num_classes": whole(2),
    "sampler.num_samples": whole(2),
    "sampler.num_batches": whole(1).or_null(),
    "optimizer.lr": number(above=0),
    "optimizer.weight_decay": number(least=0),
    "scheduler.eta_min": number(least=0),
    "trainer.max_epochs": whole(1),
    "trainer.precision": word("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"),
    "trainer.accelerator": word("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": Rule("1: a run trains in one process", lambda value: value == 1),
    "trainer.gradient_clip_val": number(above=0).or_null(),
    "trainer.log_every_n_steps": whole(1),
    "trainer.max_loss_items": whole(2),
    "trainer.early_stopping.patience": whole(0),
    "trainer.early_stopping.min_delta": number(least=0),
    "evaluation.ks": KS.or_null(),
    "evaluation.default_ks": KS,
    "evaluation.confidence": number(above=0, below=1),
    "evaluation.num_resamples": whole(100),
    "evaluation.seed": SEED,
    "evaluation.block": whole(1),
    "evaluation.csls_k": whole(1).or_null(),
    "picture.tsne.perplexity": number(above=0),
    "picture.tsne.max_points": whole(2),
    "picture.tsne.dpi": whole(1),
    "picture.report.dpi": whole(1),
    "picture.report.num_queries": whole(0),
    "logger.wandb.mode": word("auto", "online", "offline"),
    "logger.wandb.connect_timeout_s": number(above=0),
    "logger.wandb.finish_timeout_s": number(above=0),
    "logger.wandb.max_table_rows": whole(1),
    "logger.images.num_queries": whole(1),
    "logger.images.num_answers": whole(1),
    "logger.images.side_px": whole(16),
    "sweep": TEXT,
    "out": TEXT.or_null(),
    "report.leave_out": Rule(
        f"a list of {', '.join(LEFT_OUT)}, such as [unfinished,failed]",
        lambda words: isinstance(words, list) and all(word in LEFT_OUT for word in words),
        LEFT_OUT,
    ),
    "report.confidence": number(above=0, below=1),
    "report.alpha": number(above=0, below=1),
    "report.min_seeds": whole(1),
    "report.gallery": whole(2).or_null(),
    "report.by": TEXT.or_null(),
    "report.bands": Rule(
        "a list of rising numbers, such as [18,25,35]",
        lambda bands: (
            isinstance(bands, list)
            and bool(bands)
            and all(map(is_number, bands))
            and all(low < high for low, high in pairwise(bands))
        ),
    ).or_null(),
    "report.min_group": whole(1),
    "report.hub_k": whole(1),
    "report.num_hubs": whole(0),
    "report.num_queries": whole(0),
    "report.num_answers": whole(1),
    "report.thumbnail_px": whole(16),
    "report.num_resamples": whole(100),
    "report.num_flips": whole(100),
    "report.seed": SEED,
}
