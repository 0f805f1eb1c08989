"""The values of a config, judged before torch is imported: all faults together, each with its remedy.

An option without a rule of its own must be of the kind that its YAML gives it, so that a part that is added needs no
line here.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from style_match.errors import UserError
from style_match.options import find, nearest


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
RULES: dict[str, Rule] = {
    "seed": SEED,
    "split.seed": SEED,
    "split.fractions": FRACTIONS,
    "encode": word("cached", "online"),
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
    "features.root": TEXT.or_null(),
    "features.shard_rows": whole(1),
    "head.dim": whole(1),
    "head.hidden_dim": whole(1),
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
    "picture.tsne.perplexity": number(above=0),
    "picture.tsne.max_points": whole(2),
    "picture.tsne.dpi": whole(1),
    "picture.report.dpi": whole(1),
    "picture.report.num_queries": whole(0),
    "logger.wandb.mode": word("auto", "online", "offline"),
    "logger.wandb.connect_timeout_s": number(above=0),
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
    for path, raw in _leaves(OmegaConf.to_container(config, resolve=False)):
        if raw == "???":
            found.append(_needed(config, path))
            continue
        try:
            value = _resolved(config, path)
        except OmegaConfBaseException as error:
            found.append(f"{path}={raw}: {str(error).splitlines()[0]}.")
            continue
        rule = RULES.get(path) or _rule_like(find(before, path))
        if not rule.holds(value):
            found.append(_fault(path, value, rule))
    return found or list(_together(config, step))


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in tree.items():
        if isinstance(below, dict) and below:
            if prefix or name != "hydra":
                yield from _leaves(below, f"{prefix}{name}.")
        elif name not in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
            yield f"{prefix}{name}", below


def _resolved(config: DictConfig, path: str) -> Any:
    value = OmegaConf.select(config, path, throw_on_resolution_failure=True)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _rule_like(value: Any) -> Rule:
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


def _fault(path: str, value: Any, rule: Rule) -> str:
    meant = nearest(str(value), rule.words)
    guess = f" Did you mean {path}={meant}?" if meant else ""
    return f"{path}={_written(value)}:{guess} Write {rule.wanted}."


def _needed(config: DictConfig, path: str) -> str:
    group = path.split(".")[0]
    choice = OmegaConf.select(config, f"hydra.runtime.choices.{group}") or OmegaConf.select(config, f"{group}.name")
    by = f" by {group}={choice}" if choice else ""
    return f"{path} is needed{by}: write {path}={'FOLDER' if path.endswith('root') else 'VALUE'}"


def _written(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _together(config: DictConfig, step: str) -> Iterator[str]:
    """Values that are right one by one but do not go together."""
    get = lambda path: OmegaConf.select(config, path)  # noqa: E731
    least, most = get("backbone.min_pixels"), get("backbone.max_pixels")
    if least is not None and most is not None and least > most:
        yield f"backbone.min_pixels={least} is above backbone.max_pixels={most}."
    if get("pooling.name") == "mean_image" and get("prompt.image") is False:
        prompt = get("prompt.name")
        yield f"pooling=mean_image has no image to look at with prompt={prompt}: write prompt=image or another pooling."
    if step == "train" and get("ckpt_path") not in (None, "last"):
        yield f"ckpt_path={get('ckpt_path')}: training goes on from a run's last one: write run=FOLDER ckpt_path=last."
    if get("ckpt_path") == "last" and not get("run"):
        yield "ckpt_path=last: of which run? Write run=FOLDER too."
    if step == "evaluate" and not get("run") and str(get("head._target_")) != "style_match.head.identity.Identity":
        yield "A head without a run has no trained weights: write run=FOLDER, or head=identity for the backbone alone."
    if step == "train" and (task := get("data.task")):
        draws = {"style_match.sampler.pair.PairSampler": "couple", "style_match.sampler.pk.PKSampler": "style"}
        drawn = draws.get(str(get("sampler._target_")), task)
        if drawn != task:
            sampler, what = {"couple": "pair", "style": "pk"}, {"couple": "couples", "style": "classes"}
            yield (
                f"sampler={sampler[drawn]} draws {what[drawn]}, but data={get('data.name')} holds {what[task]}: "
                f"write sampler={sampler[task]}."
            )
