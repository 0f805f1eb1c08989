"""Labelers that send nothing: `labeler=replay` reads recorded answers, `labeler=demo` knows the drawn figures."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import compose

from style_match.data.fingerprints import Fingerprints
from style_match.data.metadata import parse_line
from style_match.data.records import Faults
from style_match.data.tables import read_text
from style_match.labeling.answers import Answer, Estimate, Request, Status, Task
from style_match.labeling.ledger import FILE_NAME, read_values
from style_match.labeling.recorder import Recorder
from style_match.synthetic import captions
from style_match.synthetic.captions import Description, caption, groomed_parts, look_kind
from style_match.synthetic.dataset import couple_profiles, draw_demo, sources_sha256, style_profiles
from style_match.synthetic.world import Look, WorldParams
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root
from style_match.utils.progress import Advance, say
from style_match.utils.text import shown

_STORE_AT_ONCE = 256
_DEMO_FILE = "demo.json"
_IMPRESSION_KO = ("차분함", "다정함", "쾌활함")  # in the order of captions.IMPRESSION


class OfflineLabeler(ABC):
    """Base of labelers that look answers up."""

    task: Task
    missing: str  # the reason why a photo has no answer

    @abstractmethod
    def identity(self) -> dict[str, Any]: ...

    @abstractmethod
    def _find(self, request: Request) -> dict[str, Any] | None: ...

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        """Return None: nothing is paid."""
        return None

    def preview(self, request: Request) -> dict[str, Any]:
        """Return the answer."""
        return {"answer": self._find(request)}

    def label(self, requests: Sequence[Request], recorder: Recorder, progress: Advance) -> None:
        """Store the answers."""
        for start in range(0, len(requests), _STORE_AT_ONCE):
            some = requests[start : start + _STORE_AT_ONCE]
            recorder.store([(request, self._answer(request)) for request in some])
            progress(start + len(some), len(requests))

    def _answer(self, request: Request) -> Answer:
        values = self._find(request)
        if values is None:
            return Answer(Status.ERROR, detail=self.missing)
        try:
            return Answer(Status.ANSWERED, self.task.schema.check(values))
        except ValueError as error:
            return Answer(Status.INVALID, detail=str(error))


class Replay(OfflineLabeler):
    """Reads answers from a metadata.jsonl (by the name of the image) or a labels.sqlite (by the bytes of the photo).

    Args:
        file: one of them.

    Raises:
        UserError: The file cannot be read, has broken or duplicate lines, or is the ledger of `out` itself.
    """

    missing = "the file has no answer for it"

    def __init__(self, *, file: str, task: Task) -> None:
        path = Path(file).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"labeler.file={file}: cannot be read ({error.strerror}). Name a metadata.jsonl or labels.sqlite."
            ) from error
        self.task, self._file = task, hashlib.sha256(content).hexdigest()
        if not content.startswith(b"SQLite format 3\0"):
            self._answers = _read_lines(path, Faults(path.parent, task.max_faults_shown))
        elif path.resolve() == (task.out / FILE_NAME).resolve():
            raise UserError(f"labeler.file={file} is the ledger of out itself. Set another out.")
        else:
            self._answers = read_values(path)  # by sha256

    def identity(self) -> dict[str, Any]:
        return {"labeler": "replay", "file": self._file}

    def _find(self, request: Request) -> dict[str, Any] | None:
        return next((self._answers[name] for name in (request.sha256, *request.images) if name in self._answers), None)


def _read_lines(path: Path, faults: Faults) -> dict[str, dict[str, Any]]:
    """Return the answers of a metadata.jsonl by image."""
    found: dict[str, dict[str, Any]] = {}
    line_of: dict[str, int] = {}
    for line, content in enumerate((read_text(path, faults) or "").split("\n"), start=1):
        if not content.strip():
            continue
        values = parse_line(content)
        if isinstance(values, str):
            faults.add(values, file=path.name, place=f"line {line}")
            continue
        image = values.pop("image")
        if (first := line_of.setdefault(image, line)) != line:
            what = f"image {shown(image)} already has an answer in line {first}; remove one"
            faults.add(what, file=path.name, place=f"line {line}")
        found[image] = values
    faults.raise_if_any()
    if not found:
        raise UserError(f"labeler.file={path} contains no answers. Name a metadata.jsonl or labels.sqlite.")
    return found


class Demo(OfflineLabeler):
    """Describes drawn figures, which are recognised by the bytes of their photos.

    Args:
        folder: the demo folder of the photos; None: those in the cache, and if none of them has the photos, the demos
            of the configs, which are drawn then.

    Raises:
        UserError: `folder` is not a demo folder, or was drawn by another version.
    """

    missing = "is not a figure of the demo; for photos of people use labeler=openai or labeler=compatible"

    def __init__(self, *, folder: str | None, task: Task) -> None:
        self.task = task
        self._folders = sorted((cache_root() / "demo").glob("*/")) if folder is None else [Path(folder).expanduser()]
        self._may_draw = folder is None
        if folder is not None and not looks_of(self._folders[0]):
            raise UserError(
                f"labeler.folder={folder}: contains no {_DEMO_FILE} of this version. Name a folder of the demo."
            )

    def identity(self) -> dict[str, Any]:
        return {"labeler": "demo", "sources": sources_sha256(), "language": self.task.language}

    def _find(self, request: Request) -> dict[str, Any] | None:
        if request.sha256 not in self._looks and self._may_draw:
            self._may_draw = False
            self._looks.update(_by_photo([self._draw(name) for name in ("demo_styles", "demo_couples")]))
        look = self._looks.get(request.sha256)
        return None if look is None else describe(look, self.task.language)

    @cached_property
    def _looks(self) -> dict[str, Look]:
        return _by_photo(self._folders)

    def _draw(self, name: str) -> Path:
        say(f"drawing data={name} to compare the photos with it")
        return draw_demo(compose("embed", [f"data={name}"]).data, show=self.task.show)


def describe(look: Look, language: str) -> dict[str, str]:
    """Return every attribute of both schemas for one look, in English or Korean."""
    words = Description(look, language)
    is_korean = language == "ko"
    impression = (_IMPRESSION_KO if is_korean else captions.IMPRESSION)[look.smile]
    reserved = ("신중함" if is_korean else "reserved") if look.eyewear == "sun" else ""
    features = [words.hair(), words.skin(), *([words.say(captions.ACCESSORY["beard"])] if look.beard else [])]
    return {
        "fashion_style": look.style,
        "shot_type": look.shot_type,
        "visual_quality": look.visual_quality,
        "appearance_type": look_kind(look),
        "style_vibe": f"{words.look_phrase()}, {words.outfit()}",
        "personality_impression": ", ".join(filter(None, (impression, reserved))),
        "grooming_level": ("low", "medium", "high")[min(2, len(groomed_parts(look)))],
        "photo_style": look.shot_type,
        "image_quality": look.visual_quality,
        "physical_features": ", ".join(features),
        "caption": caption(look, language),
    }


def _by_photo(folders: Sequence[Path]) -> dict[str, Look]:
    """Return sha256 of a photo -> look."""
    fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
    found = ((folder / image, look) for folder in folders for image, look in looks_of(folder).items())
    return {fingerprints.sha256(path): look for path, look in found if path.is_file()}


def looks_of(folder: Path) -> dict[str, Look]:
    """Return image -> look of a demo folder; empty if it is none, or if a version with other looks wrote it."""
    try:
        demo = json.loads((folder / _DEMO_FILE).read_text(encoding="utf-8"))
        if demo["sources_sha256"] != sources_sha256():
            return {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    world: dict[str, Any] = dict(world_seed=demo["world_seed"], params=WorldParams(**demo["params"]))
    if demo["kind"] == "couples":
        couples = couple_profiles(num_couples=demo["num_couples"], **world)
        profiles = [profile for couple in couples for profile in couple]
    else:
        profiles = list(style_profiles(num_photos=demo["num_photos"], **world))
    return {profile.image: profile.look for profile in profiles}
