"""The profiles of a dataset folder as a matcher's inputs: same prompts, same store, same rows as in training."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from style_match.data.couples import gender_of
from style_match.data.folder import PROFILES, DatasetFolder
from style_match.data.people import people_of
from style_match.drawing import draw_demo
from style_match.errors import UserError
from style_match.features.identity import Checkpoint
from style_match.inputs import Inputs
from style_match.matcher.folder import MatcherFolder
from style_match.matcher.vectors import Vectors
from style_match.prompt import render_all
from style_match.spelling import plain

if TYPE_CHECKING:
    from torch import Tensor, nn

    from style_match.backbone.qwen3_vl import Qwen3VL
    from style_match.matcher.matcher import StyleMatcher

UNKNOWN = -1


class MatcherInputs(Inputs):
    """`Inputs` of a matcher instead of a run.

    Args:
        data: options of `conf/data` that replace the matcher's own: root, task, image_root, on_bad_image, num_workers.
        features_root: folder of all feature stores; None for that of the cache.
        show: progress bars.
    """

    def __init__(self, matcher: "StyleMatcher", data: Mapping[str, Any], *, features_root: str | None, show: bool):
        about = matcher.folder.about
        super().__init__(
            OmegaConf.create(
                {
                    "data": {**about["data"]["options"], **data},
                    "backbone": {**about["backbone"]["options"], "device": matcher.device},
                    "prompt": about["prompt"],
                    "pooling": about["pooling"],
                    "features": {**about["features"], "root": features_root},
                    "progress": show,
                }
            )
        )
        self.matcher = matcher

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return self.matcher.checkpoint

    @cached_property
    def backbone(self) -> "Qwen3VL":
        return self.matcher.backbone

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        return self.render([photo.image for photo in self.folder.photos], self.folder.metadata)

    def render(self, images: list[str], metadata: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
        """The prompts of photos by name, without the label that was trained on.

        Raises:
            UserError: metadata that the prompt needs is missing or cannot be rendered.
        """
        label = self.matcher.folder.about["label_column"]
        return render_all(images, metadata, prompt=self.cfg.prompt, leave_out=(plain(label),) if label else ())


def demo_root(folder: MatcherFolder, root: str | Path | None, *, show: bool, num_workers: int = 0) -> Path:
    """The dataset folder asked for, or with None the synthetic one that the matcher was trained on, drawn if it lacks.

    Args:
        num_workers: processes that draw; 0: this one, which a script without a main guard needs.

    Raises:
        UserError: none is asked for, and the matcher was trained on a folder of photos.
    """
    if root is not None:
        return Path(root).expanduser()
    if (demo := folder.about["data"]["demo"]) is None:
        raise UserError(f"data.root=FOLDER is needed: {folder.path} was trained on photos, and tells nothing of where.")
    return draw_demo(OmegaConf.create({**demo, "num_workers": num_workers}), show=show)


def task_of(folder: MatcherFolder, root: Path) -> str:
    """How the folder is read: with its couples where a matcher of couples finds them, else its profiles alone."""
    has_couples = any((root / f"couples{suffix}").is_file() for suffix in (".csv", ".parquet"))
    return "couple" if folder.about["task"] == "couple" and has_couples else PROFILES


def sides_of(folder: DatasetFolder, sides: tuple[str, str] | None) -> np.ndarray:
    """(N,) 0 for left, 1 for right, UNKNOWN otherwise: from the couples, else from the column `gender`."""
    found = np.full(len(folder.profile_ids), UNKNOWN)
    if sides is None:
        return found
    if folder.couples and (folder.left_name, folder.right_name) != sides:
        raise UserError(
            f"{folder.couples_file} has the sides {folder.left_name} and {folder.right_name}, but the matcher was "
            f"trained on {sides[0]} and {sides[1]}: name the columns {sides[0]}_id and {sides[1]}_id."
        )
    of_couples = {couple.left_id: 0 for couple in folder.couples} | {couple.right_id: 1 for couple in folder.couples}
    for row, profile_id in enumerate(folder.profile_ids):
        gender = gender_of(folder.columns[profile_id].get("gender", ""))
        if profile_id in of_couples:
            found[row] = of_couples[profile_id]
        elif gender in sides:
            found[row] = sides.index(gender)
    return found


def named_sides(folder: MatcherFolder, side: str | Sequence[str] | None, names: Sequence[str]) -> "Tensor | None":
    """(len(names),) long of photos, 0 for left, 1 for right; None where the head does not tell sides.

    Raises:
        UserError: the head tells sides, and one is missing or unknown.
    """
    import torch

    if not folder.tells_sides or folder.sides is None:
        return None
    left, right = folder.sides
    given = [side] * len(names) if side is None or isinstance(side, str) else list(side)
    if len(given) != len(names):
        raise UserError(f"There are {len(names)} photos, but sides of {len(given)}: give one name for all, or a list.")
    for name, one in zip(names, given, strict=True):
        if one not in folder.sides:
            what = "its side is not given" if one is None else f"the side {one!r} is not known"
            raise UserError(
                f"{name}: {what}, but the head of {folder.path} treats {left} and {right} profiles in two ways: "
                f'give side="{left}" or side="{right}".'
            )
    return torch.tensor([folder.sides.index(one) for one in given])


def embedded(inputs: MatcherInputs, head: "nn.Module") -> Vectors:
    """The profiles of the inputs' dataset folder, each the mean over its photos.

    Raises:
        UserError: the head tells sides, and nothing tells that of a profile.
    """
    import torch

    from style_match.head.apply import embed

    matcher, folder = inputs.matcher.folder, inputs.folder
    sides = sides_of(folder, matcher.sides)
    if matcher.tells_sides and (unknown := np.flatnonzero(sides == UNKNOWN)).size:
        names = ", ".join(folder.profile_ids[row] for row in unknown[:5].tolist())
        left, right = matcher.sides or ("", "")
        raise UserError(
            f"{folder.profiles_file} does not tell the side of {len(unknown)} profiles ({names}), which the head of "
            f"{matcher.path} needs: fill in the column gender, or add couples with {left}_id and {right}_id."
        )
    row_of = {profile_id: row for row, profile_id in enumerate(folder.profile_ids)}
    photo_profile = torch.tensor([row_of[photo.profile_id] for photo in folder.photos])
    side = torch.from_numpy(sides)[photo_profile] if matcher.tells_sides else None
    people = people_of(folder)
    return Vectors(
        profile_ids=folder.profile_ids,
        embeddings=embed(head, inputs.features, photo_profile, side).numpy(),
        columns=tuple(folder.columns[profile_id] for profile_id in folder.profile_ids),
        people=np.array([people[profile_id] for profile_id in folder.profile_ids]),
        sides=sides,
        matcher=matcher.identity,
        photos=tuple(
            tuple(str(photo.path) for photo in folder.photos_of(profile_id)) for profile_id in folder.profile_ids
        ),
        person_of_photo={
            folder.photo_sha256[photo.image]: people[photo.profile_id]
            for photo in folder.photos
            if photo.image in folder.photo_sha256
        },
        side_names=matcher.sides,
    )
