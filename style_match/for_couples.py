"""Choices that only couples have a use for, judged before torch is imported."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Heads that a couple's sides go through in two ways, and heads that are fitted on couples and then serve anybody.
TELL_SIDES = {f"style_match.head.{name}" for name in ("cca.CCA", "ridge.Ridge", "two_heads.TwoHeads")}
FITTED_ON_COUPLES = {"style_match.head.pair_lda.PairLDA"}


def faults(config: DictConfig, step: str) -> Iterator[str]:
    """What does not go together with data that holds classes, one line each."""
    if OmegaConf.select(config, "data.task") != "style":
        return
    needed = TELL_SIDES | (FITTED_ON_COUPLES if step == "train" else set())
    if found := sorted(_targets(config.get("head")) & needed):
        yield (
            f"The head {found[0]} needs couples, but data={config.data.name} holds classes: write head=mlp, linear, "
            "whitened or centred."
        )
    if OmegaConf.select(config, "evaluation.csls_k") is not None:
        yield (
            f"evaluation.csls_k is for couples, but data={config.data.name} holds classes: write "
            "evaluation.csls_k=null."
        )


def _targets(node: Any) -> set[str]:
    """Every `_target_` of a part and of the parts in it."""
    if not OmegaConf.is_dict(node):
        return set()
    below = [_targets(value) for value in node.values()]
    return {str(node.get("_target_"))}.union(*below)
