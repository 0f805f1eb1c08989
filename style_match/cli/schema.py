"""The values of a config, judged before torch is imported: all faults together, each with its remedy.

An option without a rule of its own must be of the kind that its YAML gives it, so that a part that is added needs no
line here.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from style_match.cli.words import find, nearest
from style_match.utils.distributed import read_share
from style_match.utils.errors import UserError
from style_match.utils.secrets import hide
from style_match.utils.text import cut

# Kinds of values that an option may have, each with the words that ask for it.


LARGEST = 10**9  # default upper bound of numbers


@dataclass(frozen=True)
class Rule:
    """`wanted` completes "write ..."; `words` are those that may be written, where there are only some.

    `largest`: the greatest number that holds, which `wanted` does not name.
    """

    wanted: str
    holds: Callable[[Any], bool]
    words: tuple[str, ...] = ()
    largest: float | None = None

    def or_null(self) -> "Rule":
        holds = lambda value: value is None or self.holds(value)  # noqa: E731
        return Rule(f"{self.wanted}, or null", holds, self.words, self.largest)

    def wanted_for(self, value: Any) -> str:
        """`wanted`, with `largest` where the value is above it."""
        above = self.largest is not None and is_number(value) and abs(value) > self.largest
        return f"{self.wanted} (at most {self.largest:,})" if above else self.wanted


def is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isinstance(value, int) or math.isfinite(value)  # an int may be too large for a float


def whole(least: int | None = None, most: int | None = None, *, largest: int = LARGEST) -> Rule:
    """A whole number; `largest` bounds it where `most` is None, and is named only to those who exceed it."""
    bounds = [f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else ""]
    wanted = "a whole number" + (" of " + " and ".join(filter(None, bounds)) if any(bounds) else "")
    return Rule(
        wanted,
        lambda value: (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (least is None or value >= least)
            and (value <= most if most is not None else abs(value) <= largest)
        ),
        largest=largest if most is None else None,
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
            and abs(value) <= LARGEST
        ),
        largest=LARGEST,
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


# What may be written for each option: rules that need nothing but the value.
#
# An option without a rule here must be of the kind that its YAML gives it (`style_match.cli.schema`).


RULES: dict[str, Rule] = {
    "seed": SEED,
    "split.seed": SEED,
    "split.fractions": FRACTIONS,
    "split.folds": whole(2, largest=10**6).or_null(),
    "split.fold": whole(0).or_null(),
    "split.store": TEXT.or_null(),
    "run": TEXT.or_null(),
    "ckpt_path": TEXT.or_null(),
    "data.root": TEXT.or_null(),
    "data.image_root": TEXT.or_null(),
    "data.label_column": TEXT.or_null(),
    "encode": word("cached", "online"),
    "threads": whole(1, largest=1024).or_null(),
    "progress": FLAG,
    "debug": FLAG,
    "data.on_bad_image": word("error", "exclude"),
    "data.max_source_pixels": whole(1),
    "data.num_workers": whole(0, largest=256),
    "data.world_seed": SEED,
    "data.num_couples": whole(1, largest=10**7),
    "data.num_photos": whole(1, largest=10**7),
    "data.size_px": whole(1, largest=4096),
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
    "backbone.layer": whole(1, largest=1000).or_null(),
    "backbone.token_budget": whole(1),
    "backbone.num_workers": whole(0, largest=256),
    "pooling.parts": PARTS,
    "share": Rule(
        "which share of how many, such as 1/4 to 4/4 for four", lambda share: read_share(share) is not None
    ).or_null(),
    "features.root": TEXT.or_null(),
    "features.shard_rows": whole(1, largest=10**6),
    "index.root": TEXT.or_null(),
    "index.query_block": whole(1, largest=10**6),
    "index.row_block": whole(1),
    "index.kind": word("flat", "hnsw"),
    "index.m": whole(2, largest=1024),
    "index.ef_construction": whole(1, largest=10**6),
    "index.ef_search": whole(1, largest=10**6),
    "index.scan_share": SHARE,
    "index.rebuild_share": number(above=0, most=1),
    "index.recall_k": whole(1),
    "index.recall_queries": whole(1),
    "index.url": TEXT.or_null(),
    "index.collection": TEXT.or_null(),
    "index.batch": whole(1, largest=10**6),
    "index.timeout_s": number(above=0),
    "head.dim": whole(1, largest=2**16),
    "head.hidden_dim": whole(1, largest=2**16),
    "head.shrinkage": number(above=0),
    "head.strength": number(above=0),
    "head.direction": word("both", "left_to_right", "right_to_left"),
    "head.num": whole(1, largest=1000),
    "head.weight": SHARE,
    "loss.temperature": number(above=0),
    "loss.text_weight": number(least=0),
    "loss.text_temperature": number(above=0),
    "loss.margin": number(above=0),
    "text.attributes": Rule(
        "a list of different attributes of metadata.jsonl, such as [caption]",
        lambda keys: NAMES.holds(keys) and bool(keys),
    ),
    "text.parts": whole(0, largest=10_000),
    "text.part_share": SHARE,
    "text.path_margin": SHARE,
    "text.system": TEXT.or_null(),
    "text.pooling": Rule(
        f"a list of different ones of {', '.join(POOLINGS[:3])}, such as [mean]",
        lambda parts: isinstance(parts, list) and 0 < len(parts) == len({*parts} & {*POOLINGS[:3]}),
    ),
    "text.ks": KS,
    "text.head": word("own", "shared"),
    "text.own.hidden_dim": whole(1, largest=2**16),
    "text.fitted.rank": whole(1, largest=2**16),
    "text.fitted.shrinkage": number(above=0),
    "loss.reducer": word("avg_non_zero", "mean"),
    "sampler.batch_size": whole(2, largest=10**6),
    "sampler.num_classes": whole(2, largest=10**6),
    "sampler.num_samples": whole(2, largest=10**6),
    "sampler.num_batches": whole(1, largest=10**7).or_null(),
    "balance.cap": Rule(
        "a whole number of at least 2, median, or null",
        lambda cap: cap is None or cap == "median" or whole(2).holds(cap),
        ("median",),
    ),
    "balance.views": whole(0, largest=1000),
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
    "optimizer.fused": FLAG.or_null(),
    "scheduler.eta_min": number(least=0),
    "trainer.max_epochs": whole(1, largest=10**7),
    "trainer.precision": word("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"),
    "trainer.devices": whole(1, largest=1024),
    "trainer.gradient_clip_val": number(above=0).or_null(),
    "trainer.log_every_n_steps": whole(1),
    "trainer.max_loss_items": whole(2),
    "trainer.checkpoint_every_s": number(least=0),
    "trainer.early_stopping.patience": whole(0),
    "trainer.early_stopping.min_delta": number(least=0),
    "evaluation.ks": KS.or_null(),
    "evaluation.default_ks": KS,
    "evaluation.confidence": number(above=0, below=1),
    "evaluation.num_resamples": whole(100, largest=10**6),
    "evaluation.seed": SEED,
    "evaluation.block": whole(1, largest=10**6),
    "evaluation.csls_k": whole(1).or_null(),
    "picture.tsne.perplexity": number(above=0),
    "picture.tsne.max_points": whole(2, largest=10**6),
    "picture.tsne.dpi": whole(1, largest=2000),
    "picture.report.dpi": whole(1, largest=2000),
    "picture.report.num_queries": whole(0, largest=10_000),
    "logger.wandb.mode": word("auto", "online", "offline"),
    "logger.wandb.finish_timeout_s": number(above=0),
    "logger.wandb.max_table_rows": whole(1),
    "logger.images.num_queries": whole(1, largest=10_000),
    "logger.images.num_answers": whole(1, largest=10_000),
    "logger.images.side_px": whole(16, largest=4096),
    "images": TEXT,
    "profiles": TEXT.or_null(),
    "profiles_levels": whole(0),
    "max_failed_share": SHARE,
    "labeler.language": word("en", "ko"),
    "labeler.max_side_px": whole(64, largest=16_384),
    "labeler.jpeg_quality": whole(1, 95),
    "labeler.concurrency": whole(1, largest=1000),
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
    "labeler.max_retries": whole(0, largest=100),
    "labeler.price.input": number(least=0).or_null(),
    "labeler.price.cached": number(least=0).or_null(),
    "labeler.price.output": number(least=0).or_null(),
    "labeler.batch.max_queued_tokens": whole(1),
    "labeler.batch.poll_s": number(above=0),
    "audit.confidence": number(above=0, below=1),
    "audit.num_resamples": whole(100, largest=10**6),
    "audit.seed": SEED,
    "audit.dpi": whole(1, largest=2000),
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
    "duplicates.block": whole(1, largest=10**6),
    "page.thumbnail_px": whole(16, largest=4096),
    "page.max_groups": whole(0),
    "num_workers": whole(1, largest=256),
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
    "report.num_queries": whole(0, largest=10_000),
    "report.num_answers": whole(1, largest=10_000),
    "report.thumbnail_px": whole(16, largest=4096),
    "report.num_resamples": whole(100, largest=10**6),
    "report.num_flips": whole(100, largest=10**7),
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
    "page.num_users": whole(0, largest=10_000),
    "card.by": TEXT.or_null(),
    "card.bands": BANDS,
    "card.min_group": whole(1),
    "card.confidence": number(above=0, below=1),
    "card.num_resamples": whole(100, largest=10**6),
    "card.seed": SEED,
    "app.host": TEXT,
    "app.port": whole(1, 65535),
    "app.k": whole(1),
    "app.max_upload_mb": number(above=0),
    "app.num_shown": whole(1),
    "app.max_values": whole(2),
    "app.map.max_points": whole(2, largest=10**6),
    "app.map.perplexity": number(above=0),
    "app.map.seed": SEED,
}


# Choices that only couples, or only classes, have a use for, judged before torch is imported.


# Heads that a couple's sides go through in two ways, and heads that are fitted on couples and then serve anybody.
TELL_SIDES = {
    f"style_match.models.head.{name}" for name in ("linear_models.CCA", "linear_models.Ridge", "two_heads.TwoHeads")
}
FITTED_ON_COUPLES = {"style_match.models.head.linear_models.PairLDA"}


def couple_faults(config: DictConfig, step: str) -> Iterator[str]:
    """What does not go together with the couples, or the classes, that the data holds, one line each."""
    task = OmegaConf.select(config, "data.task")
    if step == "train" and "balance" in config:
        yield from _balance_faults(config, task)
    if task != "style":
        return
    needed = TELL_SIDES | (FITTED_ON_COUPLES if step == "train" else set())
    if found := sorted(targets_of(config.get("head")) & needed):
        yield (
            f"The head {found[0]} needs couples, but data={config.data.name} holds classes: write head=mlp, linear, "
            "whitened or centred."
        )
    if OmegaConf.select(config, "evaluation.csls_k") is not None:
        yield (
            f"evaluation.csls_k is for couples, but data={config.data.name} holds classes: write "
            "evaluation.csls_k=null."
        )


def _balance_faults(config: DictConfig, task: str | None) -> Iterator[str]:
    balance, data = config.balance, f"data={OmegaConf.select(config, 'data.name')}"
    if balance.views and OmegaConf.select(config, "prompt.image") is False:
        yield (
            f"balance.views={balance.views}: with prompt={config.prompt.name} no photo is seen: write prompt=image or "
            "image_metadata, or balance.views=0."
        )
    if task != "couple":
        return
    for option, off in (("cap", "null"), ("fill", "false")):
        if balance[option]:
            written = str(balance[option]).lower()
            yield f"balance.{option}={written} is for classes, but {data} holds couples: write balance.{option}={off}."
    if balance.views and balance.augment == "small":
        yield (
            f"balance.views={balance.views}: couples have no small classes, whose photos alone balance.augment=small "
            "gives views: write balance.augment=all."
        )


def targets_of(node: Any) -> set[str]:
    """Every `_target_` of a part and of the parts in it."""
    if not OmegaConf.is_dict(node):
        return set()
    below = [targets_of(value) for value in node.values()]
    return {str(node.get("_target_"))}.union(*below)


MAX_SHOWN = 83  # characters of a path in a message, with the dots that replace its end

# Options of lightning.Trainer that other options stand for.
OF_TRAINER = {
    "callbacks": "add +callbacks.NAME._target_=CLASS",
    "default_root_dir": "set hydra.run.dir",
    "gradient_clip_algorithm": "gradients are clipped by the norm over all parameters",
    "logger": "set logger=csv, wandb, tensorboard or none",
}


def check(config: DictConfig, base: DictConfig | None = None, *, step: str = "train") -> None:
    """Raise one `UserError` with all that `faults` finds."""
    if found := faults(config, base, step=step):
        raise UserError("\n".join(found))


def faults(config: DictConfig, base: DictConfig | None = None, *, step: str = "train") -> list[str]:
    """What is wrong with the values of a config, one line each.

    Args:
        config: composed, with or without its `hydra` node.
        base: the same before any value was changed on the command line: it tells of which kind each option is.
        step: the step that will read it; some choices go together only where they are used.
    """
    before = OmegaConf.to_container(base if base is not None else config, resolve=False)
    found = []
    for path, raw in leaves(OmegaConf.to_container(config, resolve=False), is_leaf=lambda path: _is_leaf(path, before)):
        if raw == "???":
            found.append(_needed(config, path))
            continue
        if "${hydra:" in str(raw):
            continue  # known when the job runs
        try:
            value = _resolved(config, path)
        except OmegaConfBaseException as error:
            found.append(f"{path}={raw}: {str(error).splitlines()[0]}.")
            continue
        rule = RULES.get(path) or rule_like(find(before, path))
        if not rule.holds(value):
            # a value from the environment, such as a key, is not repeated
            found.append(_fault(path, raw if "${" in str(raw) else value, rule))
    return found or list(_together(config, step))


def leaves(
    tree: Any, prefix: str = "", *, is_leaf: Callable[[str], bool] = lambda path: False
) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of the options of a config, without `hydra` and what Hydra instantiates by.

    Args:
        is_leaf: whether what is at a path is one value, even if it is a dict.
    """
    for name, below in tree.items():
        path = f"{prefix}{name}"
        if isinstance(below, dict) and below and not is_leaf(path):
            if prefix or name != "hydra":
                yield from leaves(below, f"{path}.", is_leaf=is_leaf)
        elif name not in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
            yield path, below


def _is_leaf(path: str, before: Any) -> bool:
    """Whether an option has one value, by its rule or by the value that its YAML gives it."""
    return path in RULES or not isinstance(find(before, path, {}), dict | None)


def _resolved(config: DictConfig, path: str) -> Any:
    value = OmegaConf.select(config, path, throw_on_resolution_failure=True)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def rule_like(value: Any) -> Rule:
    """What may stand where a YAML has `value`."""
    if value is None or (isinstance(value, str) and "${" in value):
        return ANYTHING
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, int):
        return whole()
    if isinstance(value, float):
        return number()
    if isinstance(value, dict):
        return Rule("its options one by one, or null", lambda given: given is None or isinstance(given, dict))
    return LIST if isinstance(value, list) else TEXT


def path_faults(config: DictConfig, options: Iterable[str]) -> Iterator[str]:
    """What is wrong with the paths of a config before anything is looked for there, one line each."""
    for option in sorted(options):
        try:
            value = _resolved(config, option)
        except OmegaConfBaseException:  # said by `faults`
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and (fault := _path_fault(each)):
                yield f"{option}={cut(hide(each), MAX_SHOWN)}: {fault}. Name another path."


def _path_fault(path: str) -> str | None:
    try:
        place = Path(path).expanduser()
        if S_ISDIR(os.stat(place).st_mode) and not os.access(place, os.R_OK | os.X_OK):
            return "the folder cannot be read (Permission denied)"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except RuntimeError:
        return f"there is no user {Path(path).parts[0].removeprefix('~')} here"
    except OSError as error:
        return str(error.strerror)
    except ValueError as error:  # a NUL
        return str(error)
    return None


def _fault(path: str, value: Any, rule: Rule) -> str:
    meant = nearest(str(value), rule.words)
    guess = f" Did you mean {path}={meant}?" if meant else ""
    return f"{path}={_written(value)}:{guess} Write {rule.wanted_for(value)}."


def _needed(config: DictConfig, path: str) -> str:
    group = path.split(".")[0]
    choice = OmegaConf.select(config, f"hydra.runtime.choices.{group}") or OmegaConf.select(config, f"{group}.name")
    by = f" by {group}={choice}" if choice else ""
    wanted = "FOLDER" if path.endswith(("root", "sweep", "source", "images", "out", "run", "model")) else "VALUE"
    return f"{path} is needed{by}: write {path}={wanted}"


def _written(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _together(config: DictConfig, step: str) -> Iterator[str]:
    """Values that are right one by one but do not go together."""
    get = lambda path: OmegaConf.select(config, path)  # noqa: E731
    if get("backbone.name") is not None and get("backbone.path") is None:  # a matcher folder knows its own
        yield "backbone.path=null: Write a text."
    least, most = get("backbone.min_pixels"), get("backbone.max_pixels")
    if least is not None and most is not None and least > most:
        yield f"backbone.min_pixels={least} is above backbone.max_pixels={most}."
    if "mean_image" in (get("pooling.parts") or [get("pooling.name")]) and get("prompt.image") is False:
        prompt, pooling = get("prompt.name"), get("pooling.name")
        yield f"pooling={pooling} has no image to look at with prompt={prompt}: write prompt=image or another pooling."
    folds, fold = get("split.folds"), get("split.fold")
    if folds is not None and fold is None:
        yield f"split.folds={folds}: which one? Write split.fold=0 to {folds - 1} too."
    elif folds is None and fold is not None:
        yield f"split.fold={fold}: of how many? Write split.folds=5 too."
    elif folds is not None and fold >= folds:
        yield f"split.fold={fold}: there are split.folds={folds}; write one from 0 to {folds - 1}."
    if get("report.bands") is not None and get("report.by") is None:
        yield "report.bands: of which column? Write report.by=COLUMN too."
    if get("card.bands") is not None and get("card.by") is None:
        yield "card.bands: of which column? Write card.by=COLUMN too."
    if get("exposure_cap") is not None and get("query") != "all":
        yield f"exposure_cap={get('exposure_cap')} is over all users: write query=all too, or leave it out."
    everybody = [name for name in ("side", "metadata") if get(name) is not None] if get("query") == "all" else []
    for name in everybody:
        yield f"{name}={get(name)} is of one photo, and query=all asks for every profile: leave {name} out."
    index = str(get("index._target_") or "")
    compares_all = "mode=mutual" if get("mode") == "mutual" else None
    if get("query") == "all" and get("exposure_cap") is not None:
        compares_all = compares_all or f"exposure_cap={get('exposure_cap')}"
    if compares_all and index and not index.endswith(".Exact"):
        yield f"{compares_all} compares everybody with everybody, without an index: leave index out."
    if step == "train" and get("ckpt_path") not in (None, "last"):
        yield f"ckpt_path={get('ckpt_path')}: training goes on from a run's last one: write run=FOLDER ckpt_path=last."
    if get("ckpt_path") == "last" and not get("run"):
        yield "ckpt_path=last: of which run? Write run=FOLDER too."
    if (
        step == "evaluate"
        and not get("run")
        and str(get("head._target_")) != "style_match.models.head.identity.Identity"
    ):
        yield "A head without a run has no trained weights: write run=FOLDER, or head=identity for the backbone alone."
    if get("logger.log_images") and not _take_pictures(config.logger):
        yield (
            "logger.log_images=true: CSV takes no pictures: write logger=wandb, logger=tensorboard, or both with "
            "logger=[csv,wandb,tensorboard]."
        )
    shown, kept = get("logger.images.num_answers"), get("evaluation.num_answers")
    if get("logger.log_images") and shown > kept:
        yield f"logger.images.num_answers={shown} is above evaluation.num_answers={kept}: raise that one too."
    for name in sorted(set(config.get("trainer") or ()) & set(OF_TRAINER)):
        yield f"trainer.{name}: style_match decides it ({OF_TRAINER[name]}). Leave it out."
    for name in sorted(set(config.get("trainer") or ()) & set(OF_TRAINER)):
        yield f"trainer.{name} has no effect here: {OF_TRAINER[name]}."
    clipped = get("trainer.gradient_clip_val")
    if get("optimizer.fused") and get("trainer.precision") == "16-mixed" and clipped:
        yield (
            "trainer.precision=16-mixed: its gradients are scaled until after the fused step, too late to be clipped: "
            "write optimizer.fused=false too, or trainer.precision=bf16-mixed."
        )
    yield from couple_faults(config, step)
    if step == "train" and (task := get("data.task")):
        draws = {
            "style_match.data.sampler.pair.PairSampler": "couple",
            "style_match.data.sampler.pk.PKSampler": "style",
        }
        drawn = draws.get(str(get("sampler._target_")), task)
        if drawn != task:
            sampler, what = {"couple": "pair", "style": "pk"}, {"couple": "couples", "style": "classes"}
            yield (
                f"sampler={sampler[drawn]} draws {what[drawn]}, but data={get('data.name')} holds {what[task]}: "
                f"write sampler={sampler[task]}."
            )


def _take_pictures(loggers: DictConfig) -> bool:
    return any(name not in ("csv", "log_images", "images") for name in loggers)
