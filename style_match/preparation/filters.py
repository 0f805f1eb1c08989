"""`leave_out`: what each word of it leaves out, so that none does nothing in silence."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.data.faults import nearest
from style_match.errors import UserError
from style_match.preparation.labels import Labelled
from style_match.preparation.reading import classes_of
from style_match.targets import conf_dir

UNLABELLED = "unlabelled"  # the one that is a switch


def attributes_of(cfg: DictConfig) -> dict[str, list[str]]:
    """Attribute -> values whose photos are left out.

    Raises:
        UserError: it is no list.
    """
    given: Any = OmegaConf.to_container(cfg.leave_out, resolve=True)
    found: dict[str, list[str]] = {}
    for name, wanted in given.items():
        if name == UNLABELLED:
            continue
        if not isinstance(wanted, list):
            raise UserError(f"leave_out.{name}={wanted}: write a list, such as leave_out.{name}=[{wanted}]")
        found[name] = [str(value) for value in wanted]
    return found


def check_filters(cfg: DictConfig, labelled: Labelled) -> list[str]:
    """Sentences about filters and attributes that find nothing, where that may be so.

    Raises:
        UserError: a name or a value that the command line gave is not known.
    """
    source = labelled.source
    said = {name for each in labelled.metadata if each for name in each}
    known = [*dict.fromkeys([*source.header, *sorted(said)])]
    notes = []
    own: Any = OmegaConf.load(conf_dir() / "prepare.yaml")
    for name, wanted in attributes_of(cfg).items():
        usual = own.leave_out.get(name, [])
        if wanted and name not in known:
            if wanted != usual:
                there = f"there is {', '.join(known)}" if known else "there are neither"
                raise UserError(
                    f"leave_out.{name}: is no column of the table and no attribute of metadata.jsonl"
                    f"{nearest(name, known)}; {there}"
                )
            notes.append(f"{name} is not known, so nobody is left out for it")
            continue
        values = sorted({photo.columns.get(name, "") for photo in source.photos} - {""})
        for value in wanted:
            if value not in values:
                notes.append(_absent(name, value, values, [*classes_of(cfg, name), *usual]))
    if said:
        lacking = [name for name in cfg.attributes if name not in known and name not in own.attributes]
        notes += [f"attributes: no photo has {name}{nearest(name, known)}" for name in lacking]
    return notes


def _absent(name: str, value: str, values: Sequence[str], usual: Sequence[str]) -> str:
    """The sentence for a value that no photo has. Raises UserError where it is no known value either."""
    twins = [each for each in values if each.casefold() == value.casefold()]
    if value not in usual or twins:
        one_of = [*dict.fromkeys([*values, *usual])]
        hint = f" (did you mean {twins[0]!r}?)" if twins else nearest(value, one_of)
        raise UserError(f"leave_out.{name}={value}: no photo is that{hint}; known are {', '.join(one_of)}")
    return f"no photo is {value} (leave_out.{name})"


def left_out_by(columns: Mapping[str, str], leave_out: Mapping[str, Sequence[str]]) -> str:
    """The reason to leave a photo out, or ""."""
    return next((f"{name} is {columns[name]}" for name, wanted in leave_out.items() if columns.get(name) in wanted), "")
