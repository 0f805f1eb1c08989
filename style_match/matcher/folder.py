"""The matcher folder: its files, read and checked without torch.

matcher.json says everything that decides a vector; its `digest` covers itself and the hashes of the other files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.bounded import read_json
from style_match.errors import UserError
from style_match.matcher.shape import refuse_other_shape
from style_match.targets import conf_dir, refuse_unnamed

FORMAT = 1
ABOUT, HEAD, CARD, SEEN = "matcher.json", "head.safetensors", "README.md", "seen.txt"
TEXT = "text.safetensors"  # of a head of its own for texts
KEYS = {"name", "task", "synthetic", "sides", "label_column", "classes", "head", "backbone", "prompt", "pooling"}
# where a node of the config is in matcher.json
SLOTS = {"head.options": "head", "text.head.options": "text.own", "text.options": "text"}
KEYS |= {"text", "data", "features", "run", "files"}


@dataclass(frozen=True)
class MatcherFolder:
    """A matcher folder whose files are whole; `about` is matcher.json."""

    path: Path
    about: dict[str, Any]

    @property
    def identity(self) -> str:
        """What tells this matcher from every other: sha256 (hex) over all that decides its vectors and its origin."""
        return self.about["digest"]

    @property
    def name(self) -> str:
        """The name of its run and the beginning of its identity, for messages."""
        return f"{self.about['name']} ({self.identity[:8]})"

    @property
    def sides(self) -> tuple[str, str] | None:
        """What the two sides of couples are called; None for styles."""
        return tuple(self.about["sides"]) if self.about["sides"] else None

    @property
    def tells_sides(self) -> bool:
        """Whether the head treats the two sides in two ways."""
        return self.about["head"]["tells_sides"]


def read_matcher(folder: str | Path, config_dirs: Iterable[str | Path] = ()) -> MatcherFolder:
    """Read a matcher folder and check every byte of it but the model card's.

    Args:
        folder: written by `style_match.export`.
        config_dirs: folders of one's own YAMLs, for heads and poolings that this package does not have.

    Raises:
        UserError: no matcher folder, of a newer format, damaged, not as exports write it, or naming code that no YAML
            names in that place.
    """
    path = Path(folder).expanduser()
    file = path / ABOUT
    if not path.is_dir():
        raise UserError(f"model={folder}: there is no such folder. `python -m style_match.export run=RUN out=FOLDER`.")
    if not file.is_file():
        what = "is a run folder; export it first" if (path / "config.yaml").is_file() else f"has no {ABOUT}"
        raise UserError(
            f"model={folder} {what}. A matcher folder is written by `python -m style_match.export run=RUN out=FOLDER`."
        )
    about = _read_json(file)
    if about.get("format") != FORMAT:
        newer = isinstance(about.get("format"), int) and about["format"] > FORMAT
        remedy = "Install a newer style_match." if newer else "Export it again."
        raise UserError(f"{file} has the format {about.get('format')!r}; this style_match reads {FORMAT}. {remedy}")
    if not about.keys() >= KEYS or about.get("digest") != digest(about):
        raise UserError(f"{file} was changed or damaged after it was exported (its digest differs): export it again.")
    refuse_other_shape(about, file)
    for name, sha256 in about["files"].items():
        if name not in (HEAD, SEEN, TEXT):
            raise UserError(f"{file} names the file {name!r}, which no matcher folder has: export it again.")
        if not (path / name).is_file():
            raise UserError(f"{path / name} is missing: export the matcher again.")
        if hashlib.sha256((path / name).read_bytes()).hexdigest() != sha256:
            raise UserError(
                f"{path / name} was changed or damaged (its sha256 is not what {ABOUT} says): export again."
            )
    refuse_unnamed(about, file, [conf_dir(), *(Path(each).expanduser() for each in config_dirs)], slots=SLOTS)
    return MatcherFolder(path, about)


def digest(about: Mapping[str, Any]) -> str:
    """sha256 (hex) over matcher.json without its own digest."""
    rest = {key: value for key, value in about.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON ({error}): export the matcher again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} does not hold a JSON object: export the matcher again.")
    return content
