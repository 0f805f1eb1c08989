"""Checks of the arguments of `MatchData`: lengths, shapes and positions. A wrong one is a ValueError that names it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")


def check_lengths(
    task: str, num_profiles: int, *, people: Sequence[Any], labels: Sequence[Any], split: Mapping[str, Any]
) -> None:
    """Check what has one entry per profile, and the names of the splits.

    Raises:
        ValueError: an unknown task, another number of people or labels than profiles, a missing split.
    """
    if task not in ("couple", "style"):
        raise ValueError(f'task must be "couple" or "style", not {task!r}')
    if len(people) != num_profiles:
        raise ValueError(f"people must have one entry per profile ({num_profiles}), not {len(people)}")
    if (task == "style" or len(labels)) and len(labels) != num_profiles:
        raise ValueError(f"labels must have one entry per profile ({num_profiles}), not {len(labels)}")
    if missing := [name for name in SPLITS if name not in split]:
        raise ValueError(f"split must have {', '.join(SPLITS)}; {', '.join(missing)} is missing")


def check_photos(num_photos: int, num_views: int, *, features: Any, rows: Sequence[Any] | None) -> None:
    """Check what has one entry per photo and view.

    Raises:
        ValueError: features that are no float tensor (P + views, D), or rows of another length.
    """
    if features is not None:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        wanted = num_photos + num_views
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != wanted:
            raise ValueError(f"features must be a tensor of shape ({wanted}, D), not {shape}")
        if not features.is_floating_point():
            raise ValueError(f"features must be floating-point numbers, not {features.dtype}")
    if rows is not None and len(rows) not in (0, num_photos):
        raise ValueError(f"rows must have one entry per photo ({num_photos}), not {len(rows)}")


def pairs(couples: Any, num_profiles: int) -> Tensor:
    """(C, 2) long: the couples, as (left, right) positions of profiles.

    Two sequences `(lefts, rights)` would be read as two couples where each has two entries, so only tuples are taken
    for couples, or a tensor or array that has its shape.

    Raises:
        ValueError: anything else, a position out of range, or a couple of one profile with itself.
    """
    if hasattr(couples, "shape"):
        given = str(tuple(couples.shape))
        is_pairs = len(couples.shape) == 2 and couples.shape[1] == 2
    else:
        couples = list(couples)
        lengths = {len(each) if hasattr(each, "__len__") else None for each in couples}
        inner = f", {lengths.pop()}" if len(lengths) == 1 and None not in lengths else ""
        types = ", ".join(sorted({type(each).__name__ for each in couples}))
        given = f"({len(couples)}{inner or ','}) of {types}"
        is_pairs = all(isinstance(each, tuple) and len(each) == 2 for each in couples)
    if not is_pairs:
        raise ValueError(
            f"couples must be a sequence of (left, right) tuples or a tensor of shape (C, 2), not {given}; two "
            "sequences are written list(zip(lefts, rights))"
        )
    if not len(couples):
        return torch.empty(0, 2, dtype=torch.long)
    found = positions("couples", couples, num_profiles)
    if (same := found[:, 0] == found[:, 1]).any():
        row = int(same.nonzero()[0])
        raise ValueError(f"couples[{row}] is the profile {int(found[row, 0])} with itself")
    return found


def positions(name: str, values: Any, num: int) -> Tensor:
    """`values` as a long tensor of positions below `num`.

    Raises:
        ValueError: values that are no integers, or are out of range.
    """
    try:
        found = torch.as_tensor(values if hasattr(values, "shape") else list(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be integer positions: {error}") from error
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise ValueError(f"{name} must be integer positions, not {found.dtype}")
    found = found.long()
    if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < num:
        wrong = int(found.min()) if int(found.min()) < 0 else int(found.max())
        raise ValueError(f"{name} must be positions from 0 to {num - 1}, not {wrong}")
    return found
