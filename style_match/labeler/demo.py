"""labeler=demo: what is said about a drawn figure comes from what was drawn. Knows synthetic photos only."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from style_match import progress
from style_match.data.fingerprint import Fingerprints
from style_match.demo import words
from style_match.demo.captions import Description, caption, groomed_parts, look_kind
from style_match.demo.dataset import couple_profiles, sources_sha256, style_profiles
from style_match.demo.look import Look
from style_match.demo.world import WorldParams
from style_match.drawing import draw_demo
from style_match.errors import UserError
from style_match.files import cache_root
from style_match.labeler.answer import Answer, Estimate, Progress, Record, Status, Task
from style_match.labeler.replay import recorded, tell_all
from style_match.labeler.request import Request

_MARKER = "demo.json"
_IMPRESSION = ("차분함", "다정함", "쾌활함")  # as words.IMPRESSION
_NOT_DRAWN = "was not drawn by the demo; for photos of people write labeler=openai or labeler=compatible"


class Demo:
    """Photos are recognised by their bytes, whatever they are called now.

    Args:
        folder: the demo dataset folder that the photos come from; null: those in the cache, and where none of them
            holds the photos the demos of the configs, which are drawn then.

    Raises:
        UserError: `folder` is no demo folder, or was drawn by another version.
    """

    def __init__(self, *, folder: str | None, task: Task):
        self._folder = None if folder is None else Path(folder).expanduser()
        self._task = task
        self._looks: dict[str, Look] | None = None  # by sha256
        if self._folder is not None and _specification(self._folder) is None:
            raise UserError(
                f"labeler.folder={folder}: no {_MARKER} of this version is in it. Name a folder of the demo."
            )

    def at_work(self, requests: Sequence[Request]) -> frozenset[str]:
        return frozenset()

    def identity(self) -> dict[str, Any]:
        return {"labeler": "demo", "sources": sources_sha256(), "language": self._task.language}

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        return None

    def preview(self, request: Request) -> dict[str, Any]:
        return {"labeler": "demo", "drawn": self._said(request)}

    def label(self, requests: Sequence[Request], record: Record, progress: Progress) -> None:
        tell_all(requests, self._answer, record, progress)

    def _answer(self, request: Request) -> Answer:
        said = self._said(request)
        return recorded(self._task.schema, said, _NOT_DRAWN) if said else Answer(Status.ERROR, detail=_NOT_DRAWN)

    def _said(self, request: Request) -> dict[str, Any] | None:
        if self._looks is None:
            self._looks = self._find(request.sha256)
        look = self._looks.get(request.sha256)
        return None if look is None else describe(look, self._task.language)

    def _find(self, wanted: str) -> dict[str, Look]:
        """The looks behind the photos of all folders at hand; more are drawn where `wanted` is in none of them."""
        fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
        folders = [self._folder] if self._folder is not None else sorted((cache_root() / "demo").glob("*/"))
        looks = {photo: look for folder in folders for photo, look in _looks(folder, fingerprints)}
        if wanted not in looks and self._folder is None:
            drawn = [self._draw(name) for name in ("demo_styles", "demo_couples")]
            looks |= {photo: look for folder in drawn for photo, look in _looks(folder, fingerprints)}
        return looks

    def _draw(self, name: str) -> Path:
        from hydra import compose

        progress.say(f"drawing the photos of data={name}, to compare these with")
        return draw_demo(compose("embed", [f"data={name}"]).data, show=self._task.show)


def describe(look: Look, language: str) -> dict[str, str]:
    """Every attribute of both schemas for one look, in English or Korean."""
    say = Description(look, language)
    korean = language == "ko"
    impression = (_IMPRESSION if korean else words.IMPRESSION)[look.smile]
    reserved = ("신중함" if korean else "reserved") if look.eyewear == "sun" else ""
    features = [say.hair(), say.skin(), *([say.say(words.ACCESSORY["beard"])] if look.beard else [])]
    return {
        "fashion_style": look.style,
        "shot_type": look.shot_type,
        "visual_quality": look.visual_quality,
        "appearance_type": look_kind(look),
        "style_vibe": f"{say.look_phrase()}, {say.outfit()}",
        "personality_impression": ", ".join(filter(None, (impression, reserved))),
        "grooming_level": ("low", "medium", "high")[min(2, len(groomed_parts(look)))],
        "photo_style": look.shot_type,
        "image_quality": look.visual_quality,
        "physical_features": ", ".join(features),
        "caption": caption(look, language),
    }


def _looks(folder: Path, fingerprints: Fingerprints) -> Iterator[tuple[str, Look]]:
    spec = _specification(folder)
    if spec is None:
        return
    world: dict[str, Any] = dict(world_seed=spec["world_seed"], params=WorldParams(**spec["params"]))
    if spec["kind"] == "couples":
        couples = couple_profiles(num_couples=spec["num_couples"], **world)
        profiles = [profile for couple in couples for profile in couple]
    else:
        profiles = style_profiles(num_photos=spec["num_photos"], **world)
    for profile in profiles:
        if (path := folder / profile.image).is_file():
            yield fingerprints.sha256(path), profile.look


def _specification(folder: Path) -> dict[str, Any] | None:
    """What demo.json says; None where there is none, or another version drew and would tell other looks."""
    try:
        spec = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        return spec if spec["sources_sha256"] == sources_sha256() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
