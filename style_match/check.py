"""The values of a config, judged before torch is imported: all faults together, each with its remedy.

An option without a rule of its own must be of the kind that its YAML gives it, so that a part that is added needs no
line here.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from style_match import for_couples
from style_match.errors import UserError
from style_match.options import find, nearest
from style_match.rules import RULES
from style_match.secret import hide
from style_match.spelling import cut
from style_match.values import ANYTHING, FLAG, LIST, TEXT, Rule, number, whole

MAX_SHOWN = 83  # characters of a path in a message, with the dots that replace its end

# Options of lightning.Trainer that a run sets itself -> what it does instead.
OF_TRAINER = {
    "callbacks": "checkpoints and early stopping on val/mrr",
    "default_root_dir": "hydra.run.dir",
    "enable_checkpointing": "best.ckpt and last.ckpt",
    "enable_model_summary": "none is printed",
    "enable_progress_bar": "write progress=false",
    "gradient_clip_algorithm": "by the norm over all parameters",
    "logger": "write logger=csv, wandb or tensorboard",
    "max_steps": "write trainer.max_epochs",
    "num_nodes": "a head is trained on one machine",
    "plugins": "checkpoints are written whole",
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
    if step == "evaluate" and not get("run") and str(get("head._target_")) != "style_match.head.identity.Identity":
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
    clipped = get("trainer.gradient_clip_val")
    if get("optimizer.fused") and get("trainer.precision") == "16-mixed" and clipped:
        yield (
            "trainer.precision=16-mixed: its gradients are scaled until after the fused step, too late to be clipped: "
            "write optimizer.fused=false too, or trainer.precision=bf16-mixed."
        )
    yield from for_couples.faults(config, step)
    if step == "train" and (task := get("data.task")):
        draws = {"style_match.sampler.pair.PairSampler": "couple", "style_match.sampler.pk.PKSampler": "style"}
        drawn = draws.get(str(get("sampler._target_")), task)
        if drawn != task:
            sampler, what = {"couple": "pair", "style": "pk"}, {"couple": "couples", "style": "classes"}
            yield (
                f"sampler={sampler[drawn]} draws {what[drawn]}, but data={get('data.name')} holds {what[task]}: "
                f"write sampler={sampler[task]}."
            )


def _take_pictures(loggers: DictConfig) -> bool:
    return any(name not in ("csv", "log_images", "images") for name in loggers)
