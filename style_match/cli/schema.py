"""The values of a config, checked before torch is imported: all faults together, each with its remedy.

An option without a rule in `RULES` must be of the kind that its YAML gives it, so that a new part needs no line here.
Options of `trainer`, `callbacks` and `logger` are checked by the classes that take them.
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

from style_match.cli.quoting import PATHS
from style_match.cli.words import OPEN, as_tree, find, nearest
from style_match.utils.distributed import read_share
from style_match.utils.errors import UserError
from style_match.utils.secrets import hide
from style_match.utils.text import cut

LARGEST = 10**9  # of a number without an upper bound of its own
MAX_SHOWN = 83  # characters of a path in a message
POOLINGS = ("mean", "eos", "mean_text", "mean_image")  # those that the feature store always holds
LEFT_OUT = ("unfinished", "failed", "foreign", "lacking")


@dataclass(frozen=True)
class Rule:
    """What an option may be; `wanted` completes "must be ...", `words` are the allowed words if there are only some."""

    wanted: str
    holds: Callable[[Any], bool]
    words: tuple[str, ...] = ()

    def or_null(self) -> "Rule":
        return Rule(f"{self.wanted} or null", lambda value: value is None or self.holds(value), self.words)


def whole(least: int | None = None, most: int | None = None) -> Rule:
    """Return an integer within bounds, which are included."""
    return Rule(_within("an integer", least=least, most=most), lambda v: type(v) is int and _holds(v, least, most))


def number(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> Rule:
    """Return a finite number; `above` and `below` are excluded, `least` and `most` included."""
    return Rule(
        _within("a number", above=above, least=least, below=below, most=most),
        lambda v: (
            is_number(v) and _holds(v, least, most) and (above is None or v > above) and (below is None or v < below)
        ),
    )


def word(*words: str) -> Rule:
    return Rule(f"{', '.join(words[:-1])} or {words[-1]}", lambda value: value in words, words)


def is_number(value: Any) -> bool:
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _holds(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (value <= most if most is not None else abs(value) <= LARGEST)


def _within(kind: str, **bounds: float | None) -> str:
    sign = {"above": ">", "least": ">=", "below": "<", "most": "<="}
    given = [f"{sign[name]} {bound:,}" for name, bound in bounds.items() if bound is not None]
    return f"{kind} {' and '.join(given)}".strip()


def _items(what: str, is_item: Callable[[Any], bool], such_as: str, *, least: int = 1) -> Rule:
    """Return a list of distinct items."""
    return Rule(
        f"a list of distinct {what}, such as {such_as}",
        lambda value: (
            isinstance(value, list)
            and len(value) >= least
            and all(map(is_item, value))
            and len(set(map(str, value))) == len(value)
        ),
    )


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("a text", lambda value: not isinstance(value, list | dict | bool | None))
LIST = Rule("a list, such as [1,5]", lambda value: isinstance(value, list))
NODE = Rule("a node of options (set them one by one) or null", lambda value: isinstance(value, dict | None))
ANYTHING = Rule("anything", lambda value: True)
SHARE = number(least=0, most=1)
SEED = whole(0, 2**32 - 1)
NAMES = _items("names", TEXT.holds, "[Street,Chic]", least=0)
KS = _items("integers >= 1", whole(1).holds, "[1,5,10]")
BANDS = Rule(
    "a list of increasing numbers, such as [18,25,35],",
    lambda v: (
        isinstance(v, list) and bool(v) and all(map(is_number, v)) and all(low < high for low, high in pairwise(v))
    ),
)
FRACTIONS = Rule(
    "three numbers > 0 (train, val, test) that sum to 1, such as [0.7,0.15,0.15]",
    lambda parts: (
        isinstance(parts, list)
        and len(parts) == 3
        and all(map(number(above=0).holds, parts))
        and math.isclose(sum(parts), 1, abs_tol=1e-6)
    ),
)

_RULES: tuple[tuple[Rule, str], ...] = (
    (SEED, "seed split.seed data.world_seed balance.view_seed evaluation.seed audit.seed report.seed card.seed"),
    (SHARE, "head.weight text.path_margin max_failed_share balance.augmentation.flip"),
    (number(above=0), "head.shrinkage head.strength loss.temperature loss.text_temperature"),
    (number(above=0), "loss.margin optimizer.lr app.max_upload_mb"),
    (number(above=0).or_null(), "trainer.gradient_clip_val"),
    (number(above=0, below=1), "evaluation.confidence report.confidence report.alpha"),
    (number(least=0, below=1), "balance.augmentation.crop"),
    (number(least=0), "loss.text_weight optimizer.weight_decay"),
    (number(least=0).or_null(), "labeler.max_cost_usd labeler.temperature labeler.price.input labeler.price.cached"),
    (number(least=0).or_null(), "labeler.price.output"),
    (number(least=0), "labeler.timeout_s labeler.batch.poll_s"),
    (whole(0), "report.num_hubs report.num_queries picture.report.num_queries page.num_users balance.views"),
    (whole(0).or_null(), "split.fold"),
    (whole(0, 256), "data.num_workers backbone.num_workers"),
    (whole(1), "data.max_source_pixels data.num_couples data.num_photos backbone.token_budget features.shard_rows"),
    (whole(1), "trainer.max_epochs head.num logger.images.num_queries logger.images.num_answers max_source_pixels"),
    (whole(1), "labeler.concurrency max_faults_shown report.min_seeds report.min_group"),
    (whole(1), "report.hub_k report.num_answers k app.k"),
    (whole(1).or_null(), "backbone.min_pixels backbone.max_pixels backbone.layer sampler.num_batches exposure_cap"),
    (whole(1).or_null(), "evaluation.csls_k min_side_px"),
    (whole(1, 256), "num_workers"),
    (whole(1, 1024).or_null(), "threads"),
    (whole(1, 2000), "picture.tsne.dpi picture.report.dpi"),
    (whole(1, 2**16), "head.dim head.hidden_dim text.own.hidden_dim"),
    (whole(1, 95), "labeler.jpeg_quality"),
    (whole(1, 65_535), "app.port"),
    (whole(2), "sampler.batch_size sampler.num_classes sampler.num_samples"),
    (whole(2).or_null(), "split.folds report.gallery"),
    (whole(16, 4096), "logger.images.side_px page.thumbnail_px"),
    (whole(100), "evaluation.num_resamples report.num_resamples"),
    (FLAG.or_null(), "optimizer.fused picture.report.thumbnails"),
    (TEXT, "model images sweep source labeler.file app.host"),
    (TEXT.or_null(), "run ckpt_path data.root data.image_root data.label_column split.store features.root index.root"),
    (TEXT.or_null(), "backbone.path backbone.revision index.url index.collection text.system profiles labeler.audit"),
    (TEXT.or_null(), "labeler.folder labeler.model labeler.key_env labeler.effort out metadata couples image_root"),
    (TEXT.or_null(), "columns.label columns.split report.by report.against where side card.by"),
    (LIST, "leave_out.visual_quality"),
    (NAMES, "attributes"),
    (NAMES.or_null(), "classes"),
    (KS, "evaluation.default_ks text.ks"),
    (KS.or_null(), "evaluation.ks"),
    (FRACTIONS, "split.fractions"),
    (BANDS.or_null(), "report.bands card.bands"),
    (_items("attributes of metadata.jsonl", TEXT.holds, "[caption]"), "text.attributes"),
    (_items(f"poolings of {', '.join(POOLINGS)}", lambda v: v in POOLINGS, "[mean,eos]"), "pooling.parts"),
    (_items(f"poolings of {', '.join(POOLINGS[:3])}", lambda v: v in POOLINGS[:3], "[mean]"), "text.pooling"),
    (
        Rule(
            f"a list of {', '.join(LEFT_OUT)}, such as [unfinished,failed]",
            lambda words: isinstance(words, list) and all(each in LEFT_OUT for each in words),
            LEFT_OUT,
        ),
        "report.leave_out",
    ),
    (word("cached", "online"), "encode"),
    (word("error", "exclude"), "data.on_bad_image on_bad_image"),
    (word("auto", "fp32", "bf16", "fp16"), "backbone.dtype"),
    (word("sdpa", "eager", "flash_attention_2"), "backbone.attention"),
    (word("pil", "torchvision"), "backbone.image_backend"),
    (word("flat", "hnsw"), "index.kind"),
    (word("both", "left_to_right", "right_to_left"), "head.direction"),
    (word("own", "shared"), "text.head"),
    (word("avg_non_zero", "mean"), "loss.reducer"),
    (word("small", "all"), "balance.augment"),
    (word("auto", "online", "offline"), "logger.wandb.mode"),
    (word("en", "ko"), "labeler.language"),
    (word("now", "batch"), "labeler.mode"),
    (word("responses", "chat"), "labeler.api"),
    (word("low", "high", "auto").or_null(), "labeler.detail"),
    (word("auto", "tables", "classes", "parquet", "huggingface"), "kind"),
    (word("stem", "path"), "ids"),
    (word("copy", "link"), "photos"),
    (word("error", "leave_out"), "duplicates.across_splits"),
    (word("image", "caption", "both").or_null(), "path"),
    (word("similar", "mutual"), "mode"),
    (Rule("false or null", lambda value: value is False or value is None), "labeler.store"),
    (Rule("a profile id, or several such as [A,B]", lambda value: value is not None and value != []), "profile"),
    (Rule("a folder, or several such as [A,B]", lambda value: isinstance(value, str | list)).or_null(), "runs"),
    (Rule("N/M, from 1/4 to 4/4 for four shares,", lambda v: read_share(v) is not None).or_null(), "share"),
    (
        Rule("auto, cpu, cuda, cuda:N or mps", lambda v: bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(v)))),
        "backbone.device",
    ),
    (
        Rule(
            "an integer from 1 to 1,024, a list of devices or auto",
            lambda v: v == "auto" or isinstance(v, list) or whole(1, 1024).holds(v),
        ),
        "trainer.devices",
    ),
    (
        Rule("an integer >= 2, median or null", lambda v: v in (None, "median") or whole(2).holds(v), ("median",)),
        "balance.cap",
    ),
)
# Rules by option; those of other options follow from the values in their YAMLs (`rule_like`).
RULES: dict[str, Rule] = {option: rule for rule, options in _RULES for option in options.split()}


def rule_like(value: Any) -> Rule:
    """Return what may be set where a YAML has `value`."""
    if value is None or (isinstance(value, str) and "${" in value):
        return ANYTHING
    kinds = ((bool, FLAG), (int, whole()), (float, number()), (dict, NODE), (list, LIST))
    return next((rule for kind, rule in kinds if isinstance(value, kind)), TEXT)


def check(config: DictConfig, base: DictConfig | None = None, *, step: str = "train") -> None:
    """Raise one `UserError` with all that `faults` finds."""
    if found := faults(config, base, step=step):
        raise UserError("\n".join(found))


def faults(config: DictConfig, base: DictConfig | None = None, *, step: str = "train") -> list[str]:
    """Return what is wrong with the values of a config, one line each.

    Args:
        config: Composed, with or without its `hydra` node.
        base: The same before values are set on the command line; gives the kind of each option.
        step: The step that will read it.
    """
    before = as_tree(base if base is not None else config)
    found = []
    for path, raw in leaves(as_tree(config), is_leaf=lambda path: _is_leaf(path, before)):
        if raw == "???":
            found.append(_required(config, path))
            continue
        rule = RULES.get(path) or rule_like(find(before, path))
        if path.partition(".")[0] in OPEN and path not in RULES and rule is not NODE:
            continue
        try:
            value = _resolved(config, path)
        except OmegaConfBaseException as error:
            found.append(f"{path}={raw}: {str(error).splitlines()[0]}.")
            continue
        if not rule.holds(value):
            # a value from the environment, such as a key, is not repeated
            found.append(_fault(path, raw if "${" in str(raw) else value, rule))
    return found or list(_combined_faults(config, step))


def leaves(
    tree: Any, prefix: str = "", *, is_leaf: Callable[[str], bool] = lambda path: False
) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of the options of a config, without `hydra` and what Hydra instantiates by.

    Args:
        is_leaf: Whether the value at a path is one value, even if it is a dict.
    """
    for name, below in tree.items():
        path = f"{prefix}{name}"
        if isinstance(below, dict) and below and not is_leaf(path):
            if prefix or name != "hydra":
                yield from leaves(below, f"{path}.", is_leaf=is_leaf)
        elif name not in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
            yield path, below


def path_faults(config: DictConfig, options: Iterable[str] = PATHS) -> Iterator[str]:
    """Paths of a config that cannot exist or cannot be read, one line each."""
    for option in sorted(options):
        try:
            value = _resolved(config, option)
        except OmegaConfBaseException:  # reported by `faults`
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and (fault := _path_fault(each)):
                yield f"{option}={cut(hide(each), MAX_SHOWN)}: {fault}. Choose another path."


def _path_fault(path: str) -> str | None:
    try:
        place = Path(path).expanduser()
        if S_ISDIR(os.stat(place).st_mode) and not os.access(place, os.R_OK | os.X_OK):
            return "the folder cannot be read (Permission denied)"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except RuntimeError:
        return f"there is no user {Path(path).parts[0].removeprefix('~')}"
    except (OSError, ValueError) as error:  # ValueError: a NUL
        return getattr(error, "strerror", None) or str(error)
    return None


def _is_leaf(path: str, before: Any) -> bool:
    """Return whether an option has one value, by its rule or by the value that its YAML gives it."""
    return path in RULES or not isinstance(find(before, path, {}), dict | None)


def _resolved(config: DictConfig, path: str) -> Any:
    value = OmegaConf.select(config, path, throw_on_resolution_failure=True)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _fault(path: str, value: Any, rule: Rule) -> str:
    wanted = rule.wanted
    if is_number(value) and abs(value) > LARGEST and "<=" not in wanted:
        wanted += f" (at most {LARGEST:,})"
    meant = nearest(str(value), rule.words)
    return f"{path} must be {wanted} (got {as_typed(value)})." + (f" Did you mean {path}={meant}?" if meant else "")


def _required(config: DictConfig, path: str) -> str:
    group = path.split(".")[0]
    choice = OmegaConf.select(config, f"hydra.runtime.choices.{group}") or OmegaConf.select(config, f"{group}.name")
    value = "FOLDER" if path.endswith(("root", "sweep", "source", "images", "out", "run", "model")) else "VALUE"
    return f"{path} is required{f' by {group}={choice}' if choice else ''}. Set {path}={value}."


def as_typed(value: Any) -> str:
    """Return a value as it is set on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# Values that are right one by one but do not go together.

# Heads that treat the two sides of couples differently, and heads that are fitted on couples and then take anybody.
TELL_SIDES = {
    f"style_match.models.head.{name}" for name in ("linear_models.CCA", "linear_models.Ridge", "two_heads.TwoHeads")
}
FITTED_ON_COUPLES = {"style_match.models.head.linear_models.PairLDA"}
# sampler -> what it draws, for which choice of `sampler`
_SAMPLERS = {
    "style_match.data.sampler.pair.PairSampler": ("couple", "couples", "pair"),
    "style_match.data.sampler.pk.PKSampler": ("style", "classes", "pk"),
    "style_match.data.sampler.plain.PlainSampler": ("style", "classes", "plain"),
}


def targets_of(node: Any) -> set[str]:
    """Return every `_target_` of a part and of the parts in it."""
    if not OmegaConf.is_dict(node):
        return set()
    return {str(node.get("_target_"))}.union(*map(targets_of, node.values()))


def _combined_faults(config: DictConfig, step: str) -> Iterator[str]:
    def get(path: str) -> Any:
        return OmegaConf.select(config, path)

    def column(node: str) -> Iterator[str]:
        if get(f"{node}.bands") is not None and get(f"{node}.by") is None:
            yield f"{node}.bands needs a column: set {node}.by=COLUMN."

    if get("backbone.name") is not None and get("backbone.path") is None:  # only a matcher has one of its own
        yield "backbone.path must be a folder or a Hub id (got null)."
    least, most = get("backbone.min_pixels"), get("backbone.max_pixels")
    if least is not None and most is not None and least > most:
        yield f"backbone.min_pixels={least} exceeds backbone.max_pixels={most}."
    if "mean_image" in (get("pooling.parts") or [get("pooling.name")]) and get("prompt.image") is False:
        yield (
            f"pooling={get('pooling.name')} needs image tokens, but prompt={get('prompt.name')} has none. "
            "Use prompt=image or another pooling."
        )
    folds, fold = get("split.folds"), get("split.fold")
    if folds is not None and (fold is None or fold >= folds):
        yield f"split.folds={folds} needs split.fold, an integer from 0 to {folds - 1} (got {as_typed(fold)})."
    elif folds is None and fold is not None:
        yield f"split.fold={fold} needs split.folds, such as split.folds=5."
    yield from column("report")
    yield from column("card")
    yield from _query_faults(get)
    if step == "train" and get("ckpt_path") not in (None, "last"):
        yield f"ckpt_path={get('ckpt_path')}: training resumes only from run=FOLDER ckpt_path=last."
    if get("ckpt_path") == "last" and not get("run"):
        yield "ckpt_path=last needs the run to resume: set run=FOLDER."
    if step == "evaluate" and not get("run") and get("head._target_") != "style_match.models.head.identity.Identity":
        yield "A head has trained weights only in a run: set run=FOLDER, or head=identity for the frozen backbone."
    if get("logger.log_images"):
        if not set(config.logger) - {"csv", "log_images", "images"}:
            yield "logger.log_images=true needs a logger that takes images: set logger=wandb or logger=tensorboard."
        shown, stored = get("logger.images.num_answers"), get("evaluation.num_answers")
        if shown > stored:
            yield f"logger.images.num_answers={shown} exceeds evaluation.num_answers={stored}. Raise both."
    if get("optimizer.fused") and get("trainer.precision") == "16-mixed" and get("trainer.gradient_clip_val"):
        yield (
            "trainer.precision=16-mixed cannot clip gradients with a fused optimizer. Set optimizer.fused=false or "
            "trainer.precision=bf16-mixed."
        )
    yield from _task_faults(config, step, get)


def _query_faults(get: Callable[[str], Any]) -> Iterator[str]:
    """Options of `recommend` that depend on whether everybody is queried."""
    cap, everybody = get("exposure_cap"), get("query") == "all"
    if cap is not None and not everybody:
        yield f"exposure_cap={cap} needs query=all."
    for name in ("side", "metadata"):
        if everybody and get(name) is not None:
            yield f"{name}={get(name)} describes one photo. Drop it, or query=all."
    all_pairs = "mode=mutual" if get("mode") == "mutual" else f"exposure_cap={cap}" if everybody and cap else None
    index = str(get("index._target_") or "")
    if all_pairs and index and not index.endswith(".Exact"):
        yield f"{all_pairs} compares all pairs of profiles without an index. Drop index."


def _task_faults(config: DictConfig, step: str, get: Callable[[str], Any]) -> Iterator[str]:
    """Choices that need couples, or classes, and data that holds the others."""
    task, data = get("data.task"), f"data={get('data.name')}"
    if task == "style":
        couples = sorted(
            targets_of(config.get("head")) & (TELL_SIDES | (FITTED_ON_COUPLES if step == "train" else set()))
        )
        if couples:
            yield f"{couples[0]} needs couples, but {data} has classes. Use head=mlp, linear, whitened or centred."
        if get("evaluation.csls_k") is not None:
            yield f"evaluation.csls_k needs couples, but {data} has classes. Set evaluation.csls_k=null."
    if step != "train" or not task:
        return
    drawn, what, _ = _SAMPLERS.get(str(get("sampler._target_")), (task, "", ""))
    if drawn != task:
        fitting = next(choice for kind, _, choice in _SAMPLERS.values() if kind == task)
        yield f"The sampler draws {what}, but {data} has none. Use sampler={fitting}."
    if get("balance.views") and get("prompt.image") is False:
        views, prompt = get("balance.views"), get("prompt.name")
        yield f"balance.views={views} needs photos, which prompt={prompt} drops. Set it to 0."
    if task == "couple":
        for option, off in (("cap", "null"), ("fill", "false")):
            if value := get(f"balance.{option}"):
                yield f"balance.{option}={as_typed(value)} needs classes, but {data} has couples. Set it to {off}."
        if get("balance.views") and get("balance.augment") == "small":
            yield f"balance.augment=small needs classes, but {data} has couples. Set balance.augment=all."
