"""The matcher folder: reading and checking its files (without torch), finding its backbone, writing it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import BaseModel, Field, ValidationError

from style_match.backbone.checkpoint import (
    Checkpoint,
    check_checkpoint,
    processing_files,
    resolve_checkpoint,
    weight_files,
)
from style_match.cli.run_config import SEEN, with_current_names
from style_match.cli.targets import conf_dir, refuse_unnamed
from style_match.data.fingerprints import Fingerprints
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root, read_json, write_whole
from style_match.utils.text import cut

FORMAT = 1
ABOUT, HEAD, CARD = "matcher.json", "head.safetensors", "README.md"
TEXT_FILE = "text.safetensors"  # weights of the text head, if it is not the head of the photos
OWN = frozenset({ABOUT, HEAD, CARD, SEEN, TEXT_FILE})
SLOTS = {"head.options": "head", "text.head.options": "text.own", "text.options": "text"}  # place -> node of a config
MAX_SHOWN = 83  # characters of a value in a message


Node: TypeAlias = dict[str, Any]
Size: TypeAlias = Annotated[int, Field(ge=1, le=2**20)]


class _DataOptions(BaseModel, extra="forbid"):
    image_root: None
    label_column: str | None
    max_source_pixels: Annotated[int, Field(ge=1)]
    num_workers: Annotated[int, Field(ge=0, le=256)]
    on_bad_image: Literal["error", "exclude"]


class _Demo(BaseModel):
    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    root: None


class _Data(BaseModel):
    options: _DataOptions
    demo: _Demo | None


class _Features(BaseModel, extra="forbid"):
    shard_rows: Annotated[int, Field(ge=1)]


class _Head(BaseModel):
    options: Node
    in_dim: Size
    dim: Size
    tells_sides: bool


class _About(BaseModel):
    """matcher.json. A folder of unknown origin does not choose where files are read or written."""

    name: str
    task: Literal["couple", "style"]
    sides: Annotated[list[str], Field(min_length=2, max_length=2)] | None
    label_column: str | None
    head: _Head
    backbone: Node
    prompt: Node
    pooling: Node
    text: Node | None
    data: _Data
    features: _Features
    run: Node
    files: dict[Literal["head.safetensors", "text.safetensors", "seen.txt"], str]


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

    @cached_property
    def trained_photos(self) -> frozenset[str]:
        """SHA-256 (hex) of the photos that its run was trained and selected on; empty if it does not know them."""
        path = self.path / SEEN
        return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()

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
    try:
        about = read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON ({error}). Export the matcher again.") from error
    if not isinstance(about, dict):
        raise UserError(f"{file} does not hold a JSON object. Export the matcher again.")
    if about.get("format") != FORMAT:
        newer = isinstance(about.get("format"), int) and about["format"] > FORMAT
        remedy = "Install a newer style_match." if newer else "Export it again."
        raise UserError(f"{file} has the format {about.get('format')!r}; this style_match reads {FORMAT}. {remedy}")
    if about.get("digest") != digest(about):
        raise UserError(f"{file} was changed or damaged after its export (its digest differs). Export it again.")
    about = with_current_names(about)
    try:
        _About.model_validate(about, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        value = "" if first["type"] == "missing" else f"={cut(str(first['input']), MAX_SHOWN)}"
        raise UserError(
            f"{file}: {place}{value}: {first['msg']}. Export the matcher again, or do not use it."
        ) from error
    for name, sha256 in about["files"].items():
        if not (path / name).is_file():
            raise UserError(f"{path / name} is missing. Export the matcher again.")
        if hashlib.sha256((path / name).read_bytes()).hexdigest() != sha256:
            raise UserError(
                f"{path / name} was changed or damaged (its sha256 is not that in {ABOUT}). Export it again."
            )
    refuse_unnamed(about, file, [conf_dir(), *(Path(each).expanduser() for each in config_dirs)], slots=SLOTS)
    return MatcherFolder(path, about)


def matcher_of(cfg: DictConfig) -> MatcherFolder:
    """Read the matcher folder that `model=` names; the YAMLs of `--config-dir` may name its code too."""
    sources = HydraConfig.get().runtime.config_sources
    return read_matcher(cfg.model, [each.path for each in sources if each.schema == "file"])


def digest(about: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of matcher.json without its digest."""
    rest = {key: value for key, value in about.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


# The backbone

REMEDY = "In Python: StyleMatcher.from_pretrained(FOLDER, backbone=PLACE)."


def hashes_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return name -> SHA-256 (hex) of every file of a checkpoint that decides a vector."""
    hashes = Fingerprints(cache_root() / "fingerprints.sqlite")
    files = (*weight_files(checkpoint.folder), *processing_files(checkpoint.folder))
    return {path.name: hashes.sha256(path.resolve()) for path in files}


def find_backbone(folder: MatcherFolder, path: str | Path | None) -> Checkpoint:
    """Find the backbone that a matcher was trained on, in its place in training or at `path`.

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
    expected, found = own["files"], hashes_of(checkpoint)
    if others := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        revision = f", revision {own['revision']}" if own["revision"] else ""
        raise UserError(
            f"The matcher {folder.path} was trained on the backbone {own['name']} ({own['path']}{revision}); {place} "
            f"is another one: different {', '.join(others[:3])}. Set backbone.path=PLACE to a place of that backbone. "
            f"{REMEDY}"
        )
    return checkpoint


# Writing


def refuse_other_content(out: Path, run_id: str) -> None:
    """Refuse a folder that holds anything but an earlier, perhaps unfinished, export of the same run.

    Raises:
        UserError: The path is a file, a folder with other content, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file. Set out to a folder.")
    top = next(each for each in (out, *out.absolute().parents) if each.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".style_match_", dir=top))
    except OSError as error:
        raise UserError(f"Cannot write out={out}: {error.strerror}. Set another out.") from error
    if not out.exists():
        return
    names = {path.name for path in out.iterdir()}
    if ABOUT not in names and names - OWN:
        raise UserError(f"out={out} is not empty and holds no matcher. Set another out.")
    if ABOUT not in names:
        return
    try:
        was = read_json(out / ABOUT)["run"]["id"]
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(f"out={out} holds a damaged matcher. Set another out, or delete that matcher.") from None
    if was != run_id:
        raise UserError(f"out={out} holds the matcher of another run. Set another out, or delete that matcher.")


def write_matcher(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files (name -> content) of a matcher folder, or write over those of an earlier export.

    An interrupted export can be repeated: matcher.json is written last.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in OWN - files.keys():  # left by the earlier export
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write out={out}: {error.strerror}. Set another out.") from error
    for name in sorted(files, key=lambda name: name == ABOUT):
        write_whole(out / name, files[name], remedy="Set another out.")
