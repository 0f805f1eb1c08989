"""Choices that only couples, or only classes, have a use for, judged before torch is imported."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Heads that a couple's sides go through in two ways, and heads that are fitted on couples and then serve anybody.
TELL_SIDES = {f"style_match.head.{name}" for name in ("cca.CCA", "ridge.Ridge", "two_heads.TwoHeads")}
FITTED_ON_COUPLES = {"style_match.head.pair_lda.PairLDA"}


def faults(config: DictConfig, step: str) -> Iterator[str]:
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
