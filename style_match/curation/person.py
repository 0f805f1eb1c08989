"""Who a person is: the profiles, photos and names behind the ids that `style_match.forget` is given."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig

from style_match.curation.rows import PersonNames
from style_match.curation.run_traces import Configs, read_configs, trained_on, uses_dataset
from style_match.data.fingerprints import Fingerprints, PhotoFacts, pixels_name
from style_match.data.image_paths import ImagePaths
from style_match.data.metadata import FILE_NAME as METADATA
from style_match.data.metadata import metadata_name, parse_line
from style_match.data.records import DUPLICATES, MAX_SHOWN, Faults, nearest
from style_match.data.tables import read_table
from style_match.labeling.photos import is_photo
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root
from style_match.utils.text import cut, stored_forms


@dataclass(frozen=True)
class Person:
    """Everything needed to find a person again after half of their data was removed.

    Attributes:
        requested: the ids on the command line.
        profile_ids: ids of all profiles of the person.
        images: their images as written in the profiles table, except those that another person has too.
        sha256: hashes of the photos' bytes, with the same exception.
        files: paths of the photos and of their exact copies.
        seen_names: names of the photos in seen.txt of a run.
        dataset_runs: folders of runs that use this dataset folder.
        notes: sentences for the user.
    """

    requested: tuple[str, ...]
    profile_ids: tuple[str, ...]
    images: tuple[str, ...]
    sha256: tuple[str, ...]
    files: tuple[Path, ...]
    seen_names: tuple[str, ...]
    dataset_runs: tuple[Path, ...]
    notes: tuple[str, ...]

    @classmethod
    def from_json(cls, text: str) -> "Person":
        """Read what `json.dumps(asdict(person), default=str)` wrote."""
        fields = {name: tuple(values) for name, values in json.loads(text).items()}
        paths = {name: tuple(map(Path, fields[name])) for name in ("files", "dataset_runs")}
        return cls(**{**fields, **paths})

    @property
    def names(self) -> PersonNames:
        """Finds rows and texts about the person."""
        return PersonNames(self.profile_ids, self.images)


@dataclass(frozen=True)
class Scope:
    """Where a person is looked for: dataset folder, folder of its photos, feature store, hashes, and runs."""

    root: Path
    image_root: Path
    features: Path
    fingerprints: Fingerprints
    runs: tuple[Path, ...]
    configs: Configs

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Scope":
        root = _folder("data.root", cfg.data.root)
        image_root = root if cfg.data.image_root is None else _folder("data.image_root", cfg.data.image_root)
        features = Path(cfg.features.root).expanduser() if cfg.features.root else cache_root() / "features"
        named = [cfg.runs] if isinstance(cfg.runs, str) else list(cfg.runs or [])
        folders = [_folder("runs", name) for name in named if name != "runs" or Path("runs").is_dir()]
        folders += [root / "runs"] if (root / "runs").is_dir() else []
        runs = tuple(dict.fromkeys(folder.resolve() for folder in folders))
        fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
        return cls(root, image_root, features, fingerprints, runs, read_configs(runs))


def _folder(name: str, path: Any) -> Path:
    folder = Path(str(path)).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{name}={path}: there is no such folder.")
    return folder


@dataclass(frozen=True)
class Row:
    """A row of the profiles table; `path` and `facts` are None where the photo is not inside the folder."""

    profile_id: str
    image: str
    path: Path | None
    facts: PhotoFacts | None
    user_id: str
    group: str  # of near copies

    @property
    def look(self) -> str | None:
        """What equal photos share: the hash of the pixels, or of the bytes where these are no image."""
        return None if self.facts is None else self.facts.pixels or self.facts.sha256

    def is_same_person(self, other: "Row", *, near_copies: bool) -> bool:
        """Whether the user_id is the same or, where a row has none, the photo; `near_copies` counts them, too."""
        if self.user_id and other.user_id:
            same = self.user_id == other.user_id
        else:
            same = self.look is not None and self.look == other.look
        return same or (near_copies and bool(self.group) and self.group == other.group)


def find_person(scope: Scope, requested: Sequence[str], *, near_copies: bool) -> Person:
    """Return the person behind the requested profiles: all their profiles, photos and names in runs.

    Raises:
        UserError: a profile does not exist, or a table or photo cannot be read.
    """
    rows = _read_rows(scope)
    known = {row.profile_id for row in rows}
    for each in requested:
        if each not in known:
            hint = nearest(each, sorted(known))
            raise UserError(f"profile={cut(each)}: no such profile in the profiles of {scope.root}{hint}.")
    ids, more = set[str](), {*requested}
    while more - ids:
        ids |= more
        theirs = [row for row in rows if row.profile_id in ids]
        more = {row.profile_id for row in rows for each in theirs if row.is_same_person(each, near_copies=near_copies)}
    others = [row for row in rows if row.profile_id not in ids]
    shared = {value for row in others for value in (row.look, row.path)} - {None}
    own = [row for row in theirs if row.path is not None and not {row.look, row.path} & shared]
    looks = {row.look for row in own if row.look is not None}
    copies = _copies(scope, [row.path for row in own if row.path is not None], looks)
    sha256, pixels = {facts.sha256 for facts in copies.values()}, {facts.pixels for facts in copies.values()} - {""}
    metadata = _read_metadata(scope.root)
    names = {
        metadata_name(form, metadata.get(PurePosixPath(row.image)))
        for row in theirs
        for form in stored_forms(row.profile_id)
    }
    all_hashes = {row.facts.sha256 for row in rows if row.facts is not None}
    dataset_runs = {folder for folder, config in scope.configs.items() if uses_dataset(config, scope.root)}
    dataset_runs |= {*trained_on(all_hashes | names, scope.runs)}
    return Person(
        requested=tuple(requested),
        profile_ids=tuple(sorted(ids)),
        images=tuple(sorted({row.image for row in theirs} - {row.image for row in others} - {""})),
        sha256=tuple(sorted(sha256)),
        files=tuple(sorted(copies)),
        seen_names=tuple(sorted(sha256 | names | {pixels_name(each) for each in pixels})),
        dataset_runs=tuple(sorted(dataset_runs)),
        notes=tuple(_notes(requested, theirs, others, own)),
    )


def _read_rows(scope: Scope) -> list[Row]:
    faults = Faults(scope.root, MAX_SHOWN)
    table = read_table(scope.root, "profiles", (("profile_id", "image"),), faults)
    faults.raise_if_any()
    assert table is not None  # an unreadable table is a fault
    images = ImagePaths(scope.image_root, (scope.root, scope.image_root), scope.root)
    rows = []
    for _, record in table.records():
        path = images.find(record["image"])[0] if record["image"] else None
        facts = None if path is None else scope.fingerprints.photo(path)
        user_id, group = record.get("user_id", ""), record.get(DUPLICATES, "")
        rows.append(Row(record["profile_id"], record["image"], path, facts, user_id, group))
    return rows


def _read_metadata(root: Path) -> dict[PurePosixPath, dict[str, Any]]:
    """Return the metadata of each image; broken lines are skipped."""
    path, found = root / METADATA, {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").split("\n") if path.is_file() else ():
        values = parse_line(line)
        if isinstance(values, dict):
            found[PurePosixPath(values.pop("image"))] = values
    return found


def _copies(scope: Scope, photos: Sequence[Path], looks: set[str]) -> dict[Path, PhotoFacts]:
    """Return the photos and their copies below the dataset folder and the folder of its photos.

    A copy is a file with the same bytes under any name, or a photo with the same pixels.
    """
    found = {path: scope.fingerprints.photo(path) for path in photos}
    sizes, sha256 = {path.stat().st_size for path in photos}, {facts.sha256 for facts in found.values()}
    for top in dict.fromkeys((scope.root, scope.image_root)):
        for folder, _, names in os.walk(top):
            for path in (Path(folder, name) for name in names):
                if path in found or not path.is_file():
                    continue
                same_bytes = path.stat().st_size in sizes and scope.fingerprints.sha256(path) in sha256
                facts = scope.fingerprints.photo(path) if same_bytes or is_photo(path.name) else None
                if facts is not None and (same_bytes or facts.pixels in looks):
                    found[path] = facts
    return found


def _notes(requested: Sequence[str], theirs: Sequence[Row], others: Sequence[Row], own: Sequence[Row]) -> Iterator[str]:
    for each in sorted({row.profile_id for row in theirs} - {*requested}):
        yield f"profile {each} belongs to {', '.join(requested)}: same user_id, same photo or a copy of it"
    groups = {row.group for row in theirs} - {""}
    if near := sorted({row.profile_id for row in others if row.group in groups}):
        yield f"profile {', '.join(near)} has a near copy of a photo and stays; near_copies=true removes it"
    found = {row.image for row in theirs if row.path is not None}
    if shared := sorted(found - {row.image for row in own}):
        yield f"{', '.join(shared)} and its features stay: a profile with another user_id has the same photo"
    if missing := sorted({row.image for row in theirs} - found - {""}):
        yield f"{', '.join(missing)} was not found inside the folder; delete that photo by hand"
