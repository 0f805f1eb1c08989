"""labeler=demo: what is said about a drawn figure comes from what was drawn. Knows synthetic photos only."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from style_match.data.fingerprints import Fingerprints
from style_match.data.metadata import parse_line
from style_match.data.records import Faults
from style_match.data.schema import Schema
from style_match.data.tables import read_text
from style_match.labeling.answers import Answer, Estimate, Progress, Record, Request, Status, Task
from style_match.labeling.ledger import FILE_NAME, read_values
from style_match.synthetic import captions
from style_match.synthetic.captions import Description, caption, groomed_parts, look_kind
from style_match.synthetic.dataset import couple_profiles, draw_demo, sources_sha256, style_profiles
from style_match.synthetic.world import Look, WorldParams
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root
from style_match.utils.text import shown

# labeler=replay: answers from a file that recorded them, a metadata.jsonl or a ledger; nobody is asked.


_SQLITE = b"SQLite format 3\0"
_AT_ONCE = 256


class Replay:
    """Answers of a metadata.jsonl are found by the image's name, those of a labels.sqlite by the photo's bytes.

    Args:
        file: either of them.

    Raises:
        UserError: no such file, broken or doubled lines, the ledger that is being written.
    """

    def __init__(self, *, file: str, task: Task):
        path = Path(file).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            remedy = "Name a metadata.jsonl or labels.sqlite."
            raise UserError(f"labeler.file={file}: cannot be read ({error.strerror}). {remedy}") from error
        self._schema = task.schema
        self._by_name: Mapping[str, dict[str, Any]] = {}
        self._by_photo: Mapping[str, dict[str, Any]] = {}
        if content.startswith(_SQLITE):
            if path.resolve() == (task.out / FILE_NAME).resolve():
                raise UserError(f"labeler.file={file} is the ledger of out itself. Replay it into another out.")
            self._by_photo = read_values(path)
        else:
            self._by_name = _of_lines(path, Faults(path.parent, task.max_faults_shown))
        self._identity = {"labeler": "replay", "file": hashlib.sha256(content).hexdigest()}

    def at_work(self, requests: Sequence[Request]) -> frozenset[str]:
        return frozenset()

    def identity(self) -> dict[str, Any]:
        return self._identity

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        return None

    def preview(self, request: Request) -> dict[str, Any]:
        return {"labeler": "replay", "recorded": self._find(request)}

    def label(self, requests: Sequence[Request], record: Record, progress: Progress) -> None:
        tell_all(requests, self._answer, record, progress)

    def _answer(self, request: Request) -> Answer:
        return recorded(self._schema, self._find(request), "the file has no answer for it")

    def _find(self, request: Request) -> dict[str, Any] | None:
        names = (image for image in request.images if image in self._by_name)
        return self._by_photo.get(request.sha256) or self._by_name.get(next(names, ""))


def tell_all(
    requests: Sequence[Request], answer: Callable[[Request], Answer], record: Record, progress: Progress
) -> None:
    """Answers that cost nothing, stored some at a time."""
    for start in range(0, len(requests), _AT_ONCE):
        some = requests[start : start + _AT_ONCE]
        record.answered_all([(request, answer(request)) for request in some])
        progress(start + len(some), len(requests))


def recorded(schema: Schema, values: Mapping[str, Any] | None, lacking: str) -> Answer:
    """What is known about a photo as an answer: an error where nothing is, invalid where the schema asks for more."""
    if values is None:
        return Answer(Status.ERROR, detail=lacking)
    try:
        return Answer(Status.ANSWERED, schema.check(values))
    except ValueError as error:
        return Answer(Status.INVALID, detail=str(error))


def _of_lines(path: Path, faults: Faults) -> dict[str, dict[str, Any]]:
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
        if (earlier := line_of.setdefault(image, line)) != line:
            what = f"image {shown(image)} has an answer already in line {earlier}; remove one"
            faults.add(what, file=path.name, place=f"line {line}")
        found[image] = values
    faults.raise_if_any()
    if not found:
        raise UserError(f"labeler.file={path} holds no answers. Name a metadata.jsonl or labels.sqlite.")
    return found


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
    impression = (_IMPRESSION if korean else captions.IMPRESSION)[look.smile]
    reserved = ("신중함" if korean else "reserved") if look.eyewear == "sun" else ""
    features = [say.hair(), say.skin(), *([say.say(captions.ACCESSORY["beard"])] if look.beard else [])]
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
