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
NAMES = Rule(
    "a list of different names, such as [Street,Chic]",
    lambda names: isinstance(names, list) and all(map(TEXT.holds, names)) and len(set(map(str, names))) == len(names),
)
LEFT_OUT = ("unfinished", "failed", "foreign", "lacking")
POOLINGS = ("mean", "eos", "mean_text", "mean_image")  # those that the feature store always holds
PARTS = Rule(
    f"a list of different ones of {', '.join(POOLINGS)}, such as [mean,eos]",
    lambda parts: isinstance(parts, list) and 0 < len(parts) == len({*parts} & {*POOLINGS}),
)
BANDS = Rule(
    "a list of rising numbers, such as [18,25,35]",
    lambda bands: (
        isinstance(bands, list)
        and bool(bands)
        and all(map(is_number, bands))
        and all(low < high for low, high in pairwise(bands))
    ),
).or_null()
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
    "backbone.path": TEXT.or_null(),
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
    "index.root": TEXT.or_null(),
    "index.query_block": whole(1),
    "index.row_block": whole(1),
    "index.kind": word("flat", "hnsw"),
    "index.m": whole(2),
    "index.ef_construction": whole(1),
    "index.ef_search": whole(1),
    "index.scan_share": SHARE,
    "index.rebuild_share": number(above=0, most=1),
    "index.recall_k": whole(1),
    "index.recall_queries": whole(1),
    "index.url": TEXT.or_null(),
    "index.collection": TEXT.or_null(),
    "index.batch": whole(1),
    "index.timeout_s": number(above=0),
    "head.dim": whole(1),
    "head.hidden_dim": whole(1),
    "head.shrinkage": number(above=0),
    "head.strength": number(above=0),
    "head.direction": word("both", "left_to_right", "right_to_left"),
    "head.num": whole(1),
    "head.weight": SHARE,
    "loss.temperature": number(above=0),
    "loss.text_weight": number(least=0),
    "loss.text_temperature": number(above=0),
    "loss.margin": number(above=0),
    "text.attributes": Rule(
        "a list of different attributes of metadata.jsonl, such as [caption]",
        lambda keys: NAMES.holds(keys) and bool(keys),
    ),
    "text.parts": whole(0),
    "text.part_share": SHARE,
    "text.system": TEXT.or_null(),
    "text.pooling": Rule(
        f"a list of different ones of {', '.join(POOLINGS[:3])}, such as [mean]",
        lambda parts: isinstance(parts, list) and 0 < len(parts) == len({*parts} & {*POOLINGS[:3]}),
    ),
    "text.ks": KS,
    "text.head": word("own", "shared"),
    "text.own.hidden_dim": whole(1),
    "text.fitted.rank": whole(1),
    "text.fitted.shrinkage": number(above=0),
    "loss.reducer": word("avg_non_zero", "mean"),
    "sampler.batch_size": whole(2),
    "sampler.num_classes": whole(2),
    "sampler.num_samples": whole(2),
    "sampler.num_batches": whole(1).or_null(),
    "balance.cap": Rule(
        "a whole number of at least 2, median, or null",
        lambda cap: cap is None or cap == "median" or whole(2).holds(cap),
        ("median",),
    ),
    "balance.views": whole(0),
    "balance.augment": word("small", "all"),
    "balance.view_seed": SEED,
    "balance.augmentation.flip": SHARE,
    "balance.augmentation.crop": number(least=0, below=1),
    "balance.augmentation.stretch": number(least=0),
    "balance.augmentation.brightness": SHARE,
    "balance.augmentation.contrast": SHARE,
    "balance.augmentation.saturation": SHARE,
    "balance.augmentation.hue": SHARE,
    "balance.augmentation.blur": SHARE,
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
    "images": TEXT,
    "profiles": TEXT.or_null(),
    "max_failed_share": SHARE,
    "labeler.language": word("en", "ko"),
    "labeler.max_side_px": whole(64),
    "labeler.jpeg_quality": whole(1, 95),
    "labeler.concurrency": whole(1),
    "labeler.max_cost_usd": number(least=0).or_null(),
    "labeler.audit": TEXT.or_null(),
    "labeler.file": TEXT,
    "labeler.folder": TEXT.or_null(),
    "labeler.model": TEXT.or_null(),
    "labeler.mode": word("now", "batch"),
    "labeler.api": word("responses", "chat"),
    "labeler.base_url": TEXT,
    "labeler.key_env": TEXT.or_null(),
    "labeler.effort": TEXT.or_null(),
    "labeler.detail": word("low", "high", "auto").or_null(),
    "labeler.temperature": number(least=0).or_null(),
    "labeler.max_output_tokens": whole(1),
    "labeler.store": Rule("false, or null", lambda value: value is False or value is None),
    "labeler.timeout_s": number(above=0),
    "labeler.connect_timeout_s": number(above=0),
    "labeler.requests_per_min": whole(1).or_null(),
    "labeler.tokens_per_min": whole(1).or_null(),
    "labeler.max_failures_in_row": whole(1),
    "labeler.invalid_attempts": whole(1),
    "labeler.retry.max_attempts": whole(1),
    "labeler.retry.first_attempts": whole(1),
    "labeler.retry.max_total_s": number(least=0),
    "labeler.retry.initial_s": number(above=0),
    "labeler.retry.max_s": number(above=0),
    "labeler.retry.jitter_s": number(least=0),
    "labeler.estimate.num_photos": whole(1),
    "labeler.estimate.bytes_per_token": whole(1),
    "labeler.estimate.output_tokens": whole(0),
    "labeler.warn_days": whole(0),
    "labeler.price.input": number(least=0).or_null(),
    "labeler.price.cached": number(least=0).or_null(),
    "labeler.price.output": number(least=0).or_null(),
    "labeler.batch.price_factor": number(above=0),
    "labeler.batch.max_bytes": whole(1),
    "labeler.batch.max_requests": whole(1, 50_000),
    "labeler.batch.max_queued_tokens": whole(1),
    "labeler.batch.poll_s": number(above=0),
    "labeler.batch.max_rounds": whole(1),
    "labeler.batch.file_expires_s": whole(3600, 2592000),
    "audit.confidence": number(above=0, below=1),
    "audit.num_resamples": whole(100),
    "audit.seed": SEED,
    "audit.dpi": whole(1),
    "sweep": TEXT,
    "profile": Rule("a profile id, or several such as [A,B]", lambda value: value is not None and value != []),
    "runs": Rule("a folder, or several such as [A,B]", lambda given: isinstance(given, str | list)).or_null(),
    "out": TEXT.or_null(),
    "source": TEXT,
    "kind": word("auto", "tables", "classes", "parquet", "huggingface"),
    "metadata": TEXT.or_null(),
    "couples": TEXT.or_null(),
    "image_root": TEXT.or_null(),
    "attributes": NAMES,
    "classes": NAMES.or_null(),
    "columns.label": TEXT.or_null(),
    "ids": word("stem", "path"),
    "photos": word("copy", "link"),
    "leave_out.visual_quality": LIST,
    "on_bad_image": word("error", "exclude"),
    "min_side_px": whole(1).or_null(),
    "max_source_pixels": whole(1),
    "duplicates.hash_size": whole(4, 32),
    "duplicates.max_phash_bits": whole(0),
    "duplicates.max_dhash_bits": whole(0),
    "duplicates.across_splits": word("error", "leave_out"),
    "duplicates.block": whole(1),
    "page.thumbnail_px": whole(16),
    "page.max_groups": whole(0),
    "num_workers": whole(1),
    "max_faults_shown": whole(1),
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
    "report.bands": BANDS,
    "report.min_group": whole(1),
    "report.hub_k": whole(1),
    "report.num_hubs": whole(0),
    "report.num_queries": whole(0),
    "report.num_answers": whole(1),
    "report.thumbnail_px": whole(16),
    "report.num_resamples": whole(100),
    "report.num_flips": whole(100),
    "report.seed": SEED,
    "model": TEXT,
    "query": TEXT,
    "k": whole(1),
    "path": word("image", "caption", "both").or_null(),
    "where": TEXT.or_null(),
    "side": TEXT.or_null(),
    "mode": word("similar", "mutual"),
    "exposure_cap": whole(1).or_null(),
    "max_pairs": whole(1),
    "page.num_users": whole(0),
    "card.by": TEXT.or_null(),
    "card.bands": BANDS,
    "card.min_group": whole(1),
    "card.confidence": number(above=0, below=1),
    "card.num_resamples": whole(100),
    "card.seed": SEED,
    "app.host": TEXT,
    "app.port": whole(1, 65535),
    "app.k": whole(1),
    "app.max_upload_mb": number(above=0),
    "app.num_shown": whole(1),
    "app.max_values": whole(2),
    "app.map.max_points": whole(2),
    "app.map.perplexity": number(above=0),
    "app.map.seed": SEED,
}
