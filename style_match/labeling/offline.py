"""Labelers that send nothing: `labeler=replay` reads recorded answers, `labeler=demo` knows the drawn figures."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose

from style_match.data.fingerprints import Fingerprints
from style_match.data.metadata import parse_line
from style_match.data.records import Faults
from style_match.data.schema import Schema
from style_match.data.tables import read_text
from style_match.labeling.answers import Answer, Estimate, Progress, Recorder, Request, Status, Task
from style_match.labeling.ledger import FILE_NAME, read_values
from style_match.synthetic import captions
from style_match.synthetic.captions import Description, caption, groomed_parts, look_kind
from style_match.synthetic.dataset import couple_profiles, draw_demo, sources_sha256, style_profiles
from style_match.synthetic.world import Look, WorldParams
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root
from style_match.utils.progress import say
from style_match.utils.text import shown

_STORE_AT_ONCE = 256
_NOT_DRAWN = "is not a figure of the demo; for photos of people use labeler=openai or labeler=compatible"
_DEMO_FILE = "demo.json"
_IMPRESSION_KO = ("차분함", "다정함", "쾌활함")  # in the order of captions.IMPRESSION


class OfflineLabeler:
    """Base of labelers that look answers up; subclasses define `identity` and `_find`."""

    schema: Schema
    missing: str  # the reason why a photo has no answer

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        """Return None: nothing is paid."""
        return None

    def preview(self, request: Request) -> dict[str, Any]:
        """Return the answer."""
        return {"answer": self._find(request)}

    def label(self, requests: Sequence[Request], recorder: Recorder, progress: Progress) -> None:
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
            return Answer(Status.ANSWERED, self.schema.check(values))
        except ValueError as error:
            return Answer(Status.INVALID, detail=str(error))

    def _find(self, request: Request) -> dict[str, Any] | None:
        raise NotImplementedError


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
        self.schema = task.schema
        self._by_name: Mapping[str, dict[str, Any]] = {}
        self._by_photo: Mapping[str, dict[str, Any]] = {}
        if content.startswith(b"SQLite format 3\0"):
            if path.resolve() == (task.out / FILE_NAME).resolve():
                raise UserError(f"labeler.file={file} is the ledger of out itself. Set another out.")
            self._by_photo = read_values(path)
        else:
            self._by_name = _read_lines(path, Faults(path.parent, task.max_faults_shown))
        self._identity = {"labeler": "replay", "file": hashlib.sha256(content).hexdigest()}

    def identity(self) -> dict[str, Any]:
        return self._identity

    def _find(self, request: Request) -> dict[str, Any] | None:
        names = (image for image in request.images if image in self._by_name)
        return self._by_photo.get(request.sha256) or self._by_name.get(next(names, ""))


def _read_lines(path: Path, faults: Faults) -> dict[str, dict[str, Any]]:
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

    missing = _NOT_DRAWN

    def __init__(self, *, folder: str | None, task: Task) -> None:
        self.schema, self._task = task.schema, task
        self._folder = None if folder is None else Path(folder).expanduser()
        self._looks: dict[str, Look] | None = None  # by sha256
        if self._folder is not None and _read_demo(self._folder) is None:
            raise UserError(
                f"labeler.folder={folder}: contains no {_DEMO_FILE} of this version. Name a folder of the demo."
            )

    def identity(self) -> dict[str, Any]:
        return {"labeler": "demo", "sources": sources_sha256(), "language": self._task.language}

    def _find(self, request: Request) -> dict[str, Any] | None:
        if self._looks is None:
            self._looks = self._find_looks(request.sha256)
        look = self._looks.get(request.sha256)
        return None if look is None else describe(look, self._task.language)

    def _find_looks(self, sha256: str) -> dict[str, Look]:
        """Return the looks of all folders at hand; the demos of the configs are drawn if `sha256` is in none."""
        fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
        folders = [self._folder] if self._folder is not None else sorted((cache_root() / "demo").glob("*/"))
        looks = {photo: look for folder in folders for photo, look in _looks(folder, fingerprints)}
        if sha256 not in looks and self._folder is None:
            drawn = [self._draw(name) for name in ("demo_styles", "demo_couples")]
            looks |= {photo: look for folder in drawn for photo, look in _looks(folder, fingerprints)}
        return looks

    def _draw(self, name: str) -> Path:
        say(f"drawing data={name} to compare the photos with it")
        return draw_demo(compose("embed", [f"data={name}"]).data, show=self._task.show)


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


def _looks(folder: Path, fingerprints: Fingerprints) -> Iterator[tuple[str, Look]]:
    """Yield (sha256 of the photo, look) of a demo folder."""
    demo = _read_demo(folder)
    if demo is None:
        return
    world: dict[str, Any] = dict(world_seed=demo["world_seed"], params=WorldParams(**demo["params"]))
    if demo["kind"] == "couples":
        couples = couple_profiles(num_couples=demo["num_couples"], **world)
        profiles = [profile for couple in couples for profile in couple]
    else:
        profiles = style_profiles(num_photos=demo["num_photos"], **world)
    for profile in profiles:
        if (path := folder / profile.image).is_file():
            yield fingerprints.sha256(path), profile.look


def _read_demo(folder: Path) -> dict[str, Any] | None:
    """Return demo.json; None if there is none, or if another version with other looks wrote it."""
    try:
        demo = json.loads((folder / _DEMO_FILE).read_text(encoding="utf-8"))
        return demo if demo["sources_sha256"] == sources_sha256() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
