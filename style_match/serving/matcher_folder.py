"""The matcher folder: reading and checking its files (without torch), finding its backbone, writing a new folder."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.backbone.checkpoint import (
    Checkpoint,
    check_checkpoint,
    processing_files,
    resolve_checkpoint,
    weight_files,
)
from style_match.backbone.feature_key import Hashes
from style_match.cli.run_config import SEEN, with_current_names
from style_match.cli.schema import FLAG, LIST, NAMES, RULES, TEXT, Rule, leaves, rule_like, whole, word
from style_match.cli.targets import conf_dir, refuse_unnamed
from style_match.cli.words import find
from style_match.utils.errors import UserError
from style_match.utils.files import read_json, write_whole
from style_match.utils.text import cut

# Names and kinds of the values of matcher.json. A folder of unknown origin that has others is refused.

ABSENT = object()
MAX_SHOWN = 83  # characters of a value in a message, with the dots that replace its end
NODE = Rule("an object", lambda value: isinstance(value, dict))
WORDS = Rule("a text", lambda value: isinstance(value, str))
NAME = Rule("a name without slashes", lambda value: isinstance(value, str) and bool(re.fullmatch(r"\w[\w.-]*", value)))
SIDES = Rule("two names", lambda value: isinstance(value, list) and len(value) == 2 and all(map(WORDS.holds, value)))
HASHES = Rule(
    "file names with their sha256", lambda value: isinstance(value, dict) and all(map(TEXT.holds, value.values()))
)
SHAPE: dict[str, Rule] = {
    "name": WORDS,
    "task": word("couple", "style"),
    "synthetic": FLAG,
    "sides": SIDES.or_null(),
    "label_column": WORDS.or_null(),
    "classes": NAMES.or_null(),
    "head": NODE,
    "head.options": NODE,
    "head.options._target_": WORDS,
    "head.in_dim": whole(1, 2**20),
    "head.dim": whole(1, 2**20),
    "head.tells_sides": FLAG,
    "backbone": NODE,
    "backbone.name": WORDS,
    "backbone.path": WORDS,
    "backbone.revision": WORDS.or_null(),
    "backbone.options": NODE,
    "backbone.files": HASHES,
    "prompt": NODE,
    "prompt.name": WORDS,
    "prompt.image": FLAG,
    "prompt.metadata": FLAG,
    "prompt.system": WORDS.or_null(),
    "prompt.instruction": WORDS,
    "prompt.template": WORDS,
    "pooling": NODE,
    "pooling.name": WORDS,
    "text": NODE.or_null(),
    "data": NODE,
    "data.options": NODE,
    "data.options.image_root": Rule("null", lambda value: value is None),
    "data.options.label_column": WORDS.or_null(),
    "data.demo": NODE.or_null(),
    "features": NODE,
    "run": NODE,
    "run.id": WORDS,
    "files": HASHES,
}
OF_TEXT: dict[str, Rule] = {
    "text.path": word("image", "caption", "both"),
    "text.head": NODE,
    "text.head.options": NODE.or_null(),
    "text.options": NODE,
    "text.options.attributes": LIST,
    "text.options.pooling": LIST,
    "text.options.template": WORDS,
    "text.options.system": WORDS.or_null(),
}
OF_TEXT_HEAD: dict[str, Rule] = {"text.head.in_dim": whole(1, 2**20), "text.head.dim": whole(1, 2**20)}
OF_DEMO: dict[str, Rule] = {
    "data.demo.name": NAME,
    "data.demo.task": word("couple", "style"),
    "data.demo.root": Rule("null", lambda value: value is None),
    "data.demo.world": NODE,
}
# Places of options of a config in matcher.json -> their group. The places in CLOSED have no other options, so that the
# folder cannot choose where files are read or written.
OPTIONS = {"features": "features", "data.options": "data", "data.demo": "data", "backbone.options": "backbone"}
OPTIONS |= {"head.options": "head", "text.options": "text", "pooling": "pooling"}
CLOSED = {
    "features": {"shard_rows"},
    "data.options": {"image_root", "label_column", "max_source_pixels", "num_workers", "on_bad_image"},
}


def refuse_other_shape(about: Mapping[str, Any], file: Path) -> None:
    """Check the names and kinds of the values of matcher.json.

    Raises:
        UserError: The first value that no export writes.
    """
    for path, value, wanted in _faults(about):
        fault = f"{path} is missing" if value is ABSENT else f"{path}={cut(str(value), MAX_SHOWN)} is not {wanted}"
        raise UserError(f"{file}: {fault}, so no export wrote it. Export the matcher again, or do not use it.")


def _faults(about: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    rules = SHAPE
    if isinstance(about.get("text"), dict):
        rules = rules | OF_TEXT | (OF_TEXT_HEAD if find(about, "text.head.options") else {})
    if isinstance(about.get("data"), dict) and isinstance(about["data"].get("demo"), dict):
        rules = rules | OF_DEMO
    for path, rule in rules.items():
        value = find(about, path, ABSENT)
        if value is ABSENT or not rule.holds(value):
            yield path, value, rule.wanted
    for place, names in CLOSED.items():
        for name in sorted(find(about, place).keys() - names):
            yield f"{place}.{name}", find(about, place)[name], f"one of the options {', '.join(sorted(names))}"
    for place, group in OPTIONS.items():
        for name, value in leaves(find(about, place) or {}):
            rule = RULES.get(f"{group}.{name}") or rule_like(None)
            if f"{place}.{name}" not in rules and not rule.holds(value):
                yield f"{place}.{name}", value, rule.wanted


# Reading. matcher.json holds everything that decides a vector; its `digest` covers itself and the hashes of the other
# files.

FORMAT = 1
ABOUT, HEAD, CARD = "matcher.json", "head.safetensors", "README.md"
TEXT_FILE = "text.safetensors"  # weights of the text head, if it is not the head of the photos
OWN = frozenset({ABOUT, HEAD, CARD, SEEN, TEXT_FILE})
KEYS = {"name", "task", "synthetic", "sides", "label_column", "classes", "head", "backbone", "prompt", "pooling"}
KEYS |= {"text", "data", "features", "run", "files"}
SLOTS = {"head.options": "head", "text.head.options": "text.own", "text.options": "text"}  # place -> node of a config


@dataclass(frozen=True)
class MatcherFolder:
    """A matcher folder whose files were checked.

    Attributes:
        path: The folder.
        about: Its matcher.json.
    """

    path: Path
    about: dict[str, Any]

    @property
    def identity(self) -> str:
        """SHA-256 (hex) of everything that decides its vectors, and of its origin."""
        return self.about["digest"]

    @property
    def name(self) -> str:
        """Name of its run and the first digits of its identity, for messages."""
        return f"{self.about['name']} ({self.identity[:8]})"

    @property
    def sides(self) -> tuple[str, str] | None:
        """Names of the left and right side of couples; None for styles."""
        return tuple(self.about["sides"]) if self.about["sides"] else None

    @property
    def tells_sides(self) -> bool:
        """Whether the head treats the two sides differently."""
        return self.about["head"]["tells_sides"]


def read_matcher(folder: str | Path, config_dirs: Iterable[str | Path] = ()) -> MatcherFolder:
    """Read a matcher folder and check all its files except the model card.

    Args:
        folder: Written by `style_match.export`.
        config_dirs: Folders of your own YAMLs, for heads and poolings that this package does not have.

    Raises:
        UserError: It is not a matcher folder, is of a newer format, is damaged, has values that no export writes, or
            names code that no YAML names in that place.
    """
    path = Path(folder).expanduser()
    file = path / ABOUT
    if not path.is_dir():
        raise UserError(
            f"model={folder}: there is no such folder. Make it with `python -m style_match.export run=RUN out=FOLDER`."
        )
    if not file.is_file():
        fault = "is a run folder; export it first" if (path / "config.yaml").is_file() else f"has no {ABOUT}"
        raise UserError(
            f"model={folder} {fault}. A matcher folder is written by `python -m style_match.export run=RUN out=FOLDER`."
        )
    about = _read_json(file)
    if about.get("format") != FORMAT:
        newer = isinstance(about.get("format"), int) and about["format"] > FORMAT
        remedy = "Install a newer style_match." if newer else "Export it again."
        raise UserError(f"{file} has the format {about.get('format')!r}; this style_match reads {FORMAT}. {remedy}")
    if not about.keys() >= KEYS or about.get("digest") != digest(about):
        raise UserError(f"{file} was changed or damaged after its export (its digest differs). Export it again.")
    about = with_current_names(about)
    refuse_other_shape(about, file)
    for name, sha256 in about["files"].items():
        if name not in (HEAD, SEEN, TEXT_FILE):
            raise UserError(f"{file} names the file {name!r}, which no matcher folder has. Export it again.")
        if not (path / name).is_file():
            raise UserError(f"{path / name} is missing. Export the matcher again.")
        if hashlib.sha256((path / name).read_bytes()).hexdigest() != sha256:
            raise UserError(
                f"{path / name} was changed or damaged (its sha256 is not that in {ABOUT}). Export it again."
            )
    refuse_unnamed(about, file, [conf_dir(), *(Path(each).expanduser() for each in config_dirs)], slots=SLOTS)
    return MatcherFolder(path, about)


def digest(about: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of matcher.json without its digest."""
    rest = {key: value for key, value in about.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON ({error}). Export the matcher again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} does not hold a JSON object. Export the matcher again.")
    return content


# The backbone

REMEDY = "In Python: StyleMatcher.from_pretrained(FOLDER, backbone=PLACE)."


def hashes_of(checkpoint: Checkpoint, hashes: Hashes) -> dict[str, str]:
    """Return name -> SHA-256 (hex) of every file of a checkpoint that decides a vector."""
    files = (*weight_files(checkpoint.folder), *processing_files(checkpoint.folder))
    return {path.name: hashes.sha256(path.resolve()) for path in files}


def find_backbone(folder: MatcherFolder, path: str | None, hashes: Hashes) -> Checkpoint:
    """Find the backbone that a matcher was trained on.

    Args:
        folder: The matcher folder.
        path: `package:...`, a folder or a hub id; None: its place in training. A hub id is looked up in the local cache
            first, at the commit of training.
        hashes: Known hashes of files.

    Raises:
        UserError: The backbone is not found, or is another one.
    """
    own = folder.about["backbone"]
    revision = own["revision"] if path in (None, own["path"]) else None
    place = str(path) if path is not None else own["path"]
    if path is None and Path(place).is_absolute() and not Path(place).is_dir():
        raise UserError(
            f"{folder.path} was trained on the backbone {own['name']} in {place}, which does not exist. Set "
            f"backbone.path=FOLDER to its new place. {REMEDY}"
        )
    try:
        checkpoint = resolve_checkpoint(place, revision, download=True)
    except UserError as error:
        raise UserError(f"{error} {REMEDY}") from error
    check_checkpoint(checkpoint.folder)
    if others := _others(own["files"], hashes_of(checkpoint, hashes)):
        raise UserError(
            f"The matcher {folder.path} was trained on the backbone {_name(own)}; {place} is another one: {others}. "
            f"Set backbone.path=PLACE to a place of that backbone. {REMEDY}"
        )
    return checkpoint


def _others(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Name the files that differ; empty if none does."""
    names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    faults = [f"{name} is {found.get(name, 'missing')[:12]}, not {wanted.get(name, 'there')[:12]}" for name in names]
    return "; ".join(faults[:2]) + (f" and {len(faults) - 2} more" if len(faults) > 2 else "")


def _name(backbone: Mapping[str, Any]) -> str:
    revision = f", revision {backbone['revision']}" if backbone["revision"] else ""
    return f"{backbone['name']} ({backbone['path']}{revision})"


# Writing


def refuse_other_content(out: Path, run_id: str) -> None:
    """Refuse a folder that holds more than an earlier export of the same run, or than a damaged matcher.

    Raises:
        UserError: The path is a file, a folder with other content, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file. Set out to a folder.")
    _refuse_unwritable(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / ABOUT).is_file():
        raise UserError(f"out={out} is not empty and holds no matcher. Set another out.")
    was = _read_about(out / ABOUT)
    if was is None and (others := sorted({path.name for path in out.iterdir()} - OWN)):
        raise UserError(
            f"out={out} holds a damaged matcher and other files ({', '.join(others[:3])}). Set another out, or move "
            "these files away; then the matcher is overwritten."
        )
    if was is not None and was["run"]["id"] != run_id:
        raise UserError(f"out={out} holds the matcher of another run. Set another out, or delete that matcher.")


def _refuse_unwritable(out: Path) -> None:
    """Try to make a folder in the place of the matcher, or in the nearest folder above it that exists."""
    top = next(each for each in (out, *out.absolute().parents) if each.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".style_match_", dir=top))
    except OSError as error:
        raise UserError(f"Cannot write out={out}: {error.strerror}. Set another out.") from error


def _read_about(file: Path) -> dict[str, Any] | None:
    """Read matcher.json; return None if it is damaged."""
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        return about if about["digest"] == digest(about) and "id" in about["run"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_matcher(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a new folder atomically, or over those of an earlier export.

    Args:
        out: The matcher folder.
        files: Name -> content.

    Raises:
        UserError: The folder cannot be written.
    """
    if (out / ABOUT).is_file():
        for name, content in files.items():
            write_whole(out / name, content, remedy="Set another out.")
        for name in OWN - files.keys():  # left by the earlier export
            (out / name).unlink(missing_ok=True)
        return
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        beside.mkdir(parents=True)
        for name, content in files.items():
            write_whole(beside / name, content, remedy="Set another out.")
        beside.rename(out)
    except OSError as error:
        raise UserError(f"Cannot write out={out}: {error.strerror}. Set another out.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
