"""One command of `style_match.forget`: whom it is about, the list, the removal, what is left to say."""

import csv
import difflib
import hashlib
import html
import io
import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig

from style_match.backbone.feature_key import owner_of, row_address
from style_match.backbone.feature_store import find_rows, remove_rows
from style_match.cli.run_config import NODES
from style_match.cli.targets import conf_dir
from style_match.curation.duplicates import MEMO
from style_match.curation.forgotten import Journal, Person, write_forgotten
from style_match.data.fingerprints import Fingerprints
from style_match.data.images import COLOUR_POLICY, DECODE_POLICY
from style_match.data.metadata import FILE_NAME, metadata_name, parse_line
from style_match.data.metadata import FILE_NAME as METADATA
from style_match.data.photos import ImagePaths
from style_match.data.prompt import render
from style_match.data.records import DUPLICATES, MAX_SHOWN, Faults
from style_match.data.splits import alone
from style_match.data.tables import csv_layout, read_table
from style_match.labeling.ledger import FILE_NAME as LEDGER
from style_match.labeling.outputs import DRY_RUN, FAILED, is_dry_run
from style_match.serving.index.folder import absent
from style_match.serving.web.running import running_apps
from style_match.utils.cache import Memo
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root, read_cell, read_yaml, remove_unfinished, write_whole
from style_match.utils.text import cut, other_case, plain, plain_keys_and_values, stored_forms

# Takes lines out of tables and leaves all others byte for byte as they are.


_ID_COLUMNS = ("profile_id", "female_id", "male_id", "left_id", "right_id")
_IMAGE_COLUMNS = ("image", "file_name")  # the second of image folders of Hugging Face
_NO_NAMES = ("image", "kind", "file", "row", "line", "status", "attempts", "split")  # of rejected.csv and failed.csv
Cells = dict[str, str]


class Lines:
    """Says which rows and objects are of somebody; texts are compared as `plain`.

    Attributes:
        stored_ids: the ids in every form that something stored may have them.
    """

    def __init__(self, profile_ids: Collection[str], images: Collection[str]):
        self.ids = {plain(each) for each in profile_ids}
        self.stored_ids = {form for each in self.ids for form in stored_forms(each)}
        self.images = {PurePosixPath(plain(image)) for image in images}
        self.names = {*map(plain, profile_ids), *map(plain, images)}

    def has_id(self, cells: Cells) -> bool:
        """Of a table of profiles, couples or splits, or of one about photos: an id or an image."""
        if any(plain(cells.get(column, "")) in self.ids for column in _ID_COLUMNS):
            return True
        return any(PurePosixPath(plain(cells.get(column, ""))) in self.images for column in _IMAGE_COLUMNS)

    def mentions(self, cells: Cells) -> bool:
        """Of a list of what was left out or failed: its image, or an id or an image as a word of another cell."""
        if PurePosixPath(plain(cells.get("image", ""))) in self.images:
            return True
        return any(self.in_text(cell) for column, cell in cells.items() if column not in _NO_NAMES)

    def in_text(self, text: str) -> bool:
        """Whether an id or an image stands in the text, not as a part of a longer word or path."""
        text = plain(text)
        return any(_stands_in(name, text) for name in self.names)

    def in_file(self, path: Path) -> bool:
        """As `in_text`, of a file's text as it stands, in a page (escaped) or in JSON."""
        text = plain(path.read_bytes().decode("utf-8", errors="replace"))
        return any(
            _stands_in(form, text)
            for name in self.names
            for form in {name, html.escape(name), json.dumps(name, ensure_ascii=False)[1:-1]}
            | {json.dumps(stored)[1:-1] for stored in stored_forms(name)}
        )

    def has_image(self, line: str) -> bool:
        """Of metadata.jsonl; of a broken line whether it mentions an image."""
        try:
            about = plain_keys_and_values(json.loads(line))
            name = next(about[key] for key in _IMAGE_COLUMNS if key in about)
            return PurePosixPath(name) in self.images
        except (ValueError, RecursionError, TypeError, StopIteration):
            line = plain(line)
            return any(_stands_in(json.dumps(str(image), ensure_ascii=False)[1:-1], line) for image in self.images)


def _stands_in(name: str, text: str) -> bool:
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(name) : at + len(name) + 1]
        if not (before.isalnum() or before in ("_", "-")) and not (after.isalnum() or after in ("_", "-")):
            return True
        at = text.find(name, at + 1)
    return False


def drop_rows(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    """Removes the rows of a CSV or Parquet table for which it holds; returns how many.

    Raises:
        UserError: the file cannot be read as such, or written.
    """
    if path.suffix == ".parquet":
        return _drop_parquet(path, is_theirs, dry_run=dry_run)
    text = _text(path)
    separator, above = csv_layout(text.removeprefix("\ufeff"), (*_ID_COLUMNS, *_IMAGE_COLUMNS))
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] | None = None
    kept, dropped, began = [], 0, 0
    try:
        for cells in reader:
            raw, began = lines[began : reader.line_num], reader.line_num
            if header is None and reader.line_num > above and any(map(plain, cells)):
                header = [plain(read_cell(cell)) for cell in cells]
            elif header and cells and is_theirs(dict(zip(header, map(read_cell, cells), strict=False))):
                dropped += 1
                continue
            kept += raw
    except csv.Error as error:
        raise UserError(
            f"{path}, line {began + 1}: is not CSV ({error}); mend it first. Nobody is forgotten yet."
        ) from error
    if dropped and not dry_run:
        write_whole(path, "".join(kept))
    return dropped


def drop_lines(
    path: Path, is_theirs: Callable[[str], bool], *, dry_run: bool, note: Callable[[str, str], object] | None = None
) -> int:
    """Removes the lines of a text file for which it holds; returns how many.

    Args:
        note: is told the text as it was and as it will be, before it is written.
    """
    text = _text(path)
    lines = io.StringIO(text, newline="\n").readlines()
    kept = [line for line in lines if not is_theirs(line.lstrip("\ufeff"))]
    if len(kept) < len(lines) and not dry_run:
        if note is not None:
            note(text, "".join(kept))
        write_whole(path, "".join(kept))
    return len(lines) - len(kept)


def _drop_parquet(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}); mend it first.") from error
    columns = {
        plain(name): table[name].to_pylist()
        for name in table.column_names
        if plain(name) in _ID_COLUMNS + _IMAGE_COLUMNS
    }
    records = [dict(zip(columns, map(str, cells), strict=True)) for cells in zip(*columns.values(), strict=True)]
    stays = [not is_theirs(cells) for cells in records]
    if not all(stays) and not dry_run:
        sink = pa.BufferOutputStream()
        parquet.write_table(table.filter(pa.array(stays)), sink)
        write_whole(path, sink.getvalue().to_pybytes())
    return stays.count(False)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: save it as UTF-8 first. Nobody is forgotten yet.") from error


# Who is to be forgotten: every profile of one person, their photos, and the names other files know them by.


_NUM_NEAREST = 3


@dataclass(frozen=True)
class Row:
    """A row of the profiles table; no path where there is no such file inside the folder."""

    profile_id: str
    image: str
    path: Path | None
    sha256: str | None
    user_id: str
    group: str


@dataclass(frozen=True)
class Table:
    """The profiles as they stand, photos that are left out too, and the metadata of each image."""

    rows: tuple[Row, ...]
    metadata: Mapping[PurePosixPath, dict[str, Any]]


def read(root: Path, image_root: Path, fingerprints: Fingerprints) -> Table:
    """Reads the profiles table and hashes every photo.

    Raises:
        UserError: there is no readable profiles table, or a photo cannot be read.
    """
    faults = Faults(root, MAX_SHOWN)
    table = read_table(root, "profiles", (("profile_id", "image"),), faults)
    faults.raise_if_any()
    assert table is not None  # what could not be read has left a fault
    images = ImagePaths(image_root, (root, image_root), root)
    rows = []
    for _, record in table.records():
        path = images.find(record["image"])[0] if record["image"] else None
        sha256 = fingerprints.sha256(path) if path is not None else None
        user_id, group = record.get("user_id", ""), record.get(DUPLICATES, "")
        rows.append(Row(record["profile_id"], record["image"], path, sha256, user_id, group))
    return Table(tuple(rows), _metadata_of(root))


def find(table: Table, asked: Sequence[str], *, near_copies: bool, place: str) -> tuple[list[Row], list[str]]:
    """The rows of the person behind the profiles `asked`, and sentences about rows that are near and stay.

    A profile is of the same person where it shares a `user_id`, or a photo's bytes and does not name another user.

    Args:
        near_copies: profiles of the same `duplicate_group` go, too.

    Raises:
        UserError: a profile that is not there.
    """
    known = {row.profile_id for row in table.rows}
    for profile_id in asked:
        if profile_id not in known:
            near = difflib.get_close_matches(profile_id, known, n=_NUM_NEAREST, cutoff=0.4)
            hint = f"; the nearest are {', '.join(map(cut, near))}" if near else ""
            if twin := other_case(profile_id, sorted(known)):
                hint = f", but {cut(twin)}: upper and lower case count"
            raise UserError(f"profile={cut(profile_id)}: no such profile in {place}{hint}.")
    ids = set(asked)
    while True:
        theirs = [row for row in table.rows if row.profile_id in ids]
        more = {row.profile_id for row in table.rows if any(_same(row, each, near_copies) for each in theirs)}
        if more <= ids:
            break
        ids |= more
    others = [row for row in table.rows if row.profile_id not in ids]
    notes = [
        f"profile {profile_id} goes with {', '.join(asked)}: the same user_id, the same photo or a copy of it"
        for profile_id in sorted(ids - set(asked))
    ]
    groups = {row.group for row in theirs} - {""}
    if near := sorted({row.profile_id for row in others if row.group in groups}):
        notes.append(
            f"profile {', '.join(near)} has a near copy of one of the photos and stays: near_copies=true forgets it"
        )
    return theirs, notes


def _same(row: Row, theirs: Row, near_copies: bool) -> bool:
    if row.user_id and theirs.user_id:
        if row.user_id == theirs.user_id:
            return True
    elif row.sha256 is not None and row.sha256 == theirs.sha256:
        return True
    return near_copies and bool(row.group) and row.group == theirs.group


def describe(table: Table, asked: Sequence[str], theirs: Sequence[Row], notes: Iterable[str]) -> Person:
    """The person of these rows."""
    ids = {row.profile_id for row in theirs}
    others = [row for row in table.rows if row.profile_id not in ids]
    shared = {row.sha256 for row in others} | {str(row.path) for row in others}
    own = [row for row in theirs if row.path is not None and not {row.sha256, str(row.path)} & shared]
    kept = sorted({row.image for row in theirs if row.path is not None} - {row.image for row in own})
    absent = sorted({row.image for row in theirs if row.path is None})
    notes = list(notes)
    if kept:
        notes.append(f"{', '.join(kept)} and its features stay: a profile with another user_id has the same photo")
    if absent:
        notes.append(f"no file {', '.join(absent)} inside the folder: look for that photo yourself")
    links = [row.image for row in own if row.path is not None and row.path.stat().st_nlink > 1]
    if links:
        notes.append(
            f"{', '.join(links)} has another name outside the rows (a hard link): that file stays unless it is in here"
        )
    hashes = {row.sha256: row.path for row in own if row.sha256 is not None and row.path is not None}
    names = {
        metadata_name(form, table.metadata.get(PurePosixPath(row.image)))
        for row in theirs
        for form in stored_forms(row.profile_id)
    }
    return Person(
        asked=tuple(asked),
        profile_ids=tuple(sorted(ids)),
        images=tuple(sorted({row.image for row in theirs} - {row.image for row in others})),
        paths=tuple(sorted({str(row.path) for row in own})),
        sha256=tuple(sorted(hashes)),
        sizes=tuple(sorted({path.stat().st_size for path in hashes.values()})),
        seen=tuple(sorted({*hashes, *names})),
        addresses=(),
        notes=tuple(notes),
    )


def _metadata_of(root: Path) -> dict[PurePosixPath, dict[str, Any]]:
    """Of the lines that can be read."""
    found = {}
    path = root / FILE_NAME
    for line in path.read_text(encoding="utf-8-sig", errors="replace").split("\n") if path.is_file() else ():
        about = parse_line(line)
        if not isinstance(about, str):
            found[PurePosixPath(about.pop("image"))] = about
    return found


# What is written down: a journal while somebody is being forgotten, and afterwards that it was done.


# Files in which somebody still is: copies of a photo under any name, and texts that mention them.


_MAX_TEXT_BYTES = 2**26
_MIN_LETTERS = 3  # shorter ids, and those of digits alone, stand everywhere
_OWN = ("forgotten.json", ".forget.json")
_PHOTOS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def copies(person: Person, folders: Iterable[Path]) -> set[Path]:
    """Files below the folders with the bytes of one of the photos.

    Raises:
        UserError: a file cannot be read.
    """
    hashes, sizes = set(person.sha256), set(person.sizes)
    return {path for path in _files(folders) if _size(path) in sizes and _sha256(path) in hashes}


def mentions(person: Person, folder: Path, *, leave_out: Collection[Path]) -> list[Path]:
    """Files below the folder, but for photos and what is below `leave_out`, in whose text an id or an image stands."""
    ids = [each for each in person.profile_ids if len(each) >= _MIN_LETTERS and not each.isdigit()]
    lines = Lines(ids, person.images)
    found = []
    for path in _files([folder]):
        if path.name in _OWN or any(path.is_relative_to(each) for each in leave_out) or _size(path) > _MAX_TEXT_BYTES:
            continue
        with open(path, "rb") as file:
            is_photo = file.read(4).startswith(_PHOTOS)
        if not is_photo and lines.in_file(path):
            found.append(path)
    return sorted(found)


def has_pictures(page: Path) -> bool:
    """Whether photos are written into an HTML page; charts are PNG."""
    return b"data:image/jpeg" in page.read_bytes()


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    """Regular files below the folders, links not followed."""
    for top in dict.fromkeys(folders):
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): whether it is a copy cannot be told.") from error


# Folders that may hold what the labeler wrote about somebody, and what their photos are called there.


def places(person: Person, root: Path, image_root: Path) -> Iterator[tuple[Path, Lines]]:
    """The dataset folder, that of its photos, every one above a photo of the person in them, every one with a ledger.

    Raises:
        UserError: a ledger cannot be read.
    """
    tops = list(dict.fromkeys((root, image_root)))
    theirs = {*map(Path, person.paths), *copies(person, tops)}
    below = {folder for path in theirs for folder in path.parents if any(folder.is_relative_to(top) for top in tops)}
    below |= {path.parent for top in tops for path in top.rglob(LEDGER)}
    for folder in [*tops, *sorted(below - {*tops})]:
        base = _photos_of(folder)
        names = {path.relative_to(base).as_posix() for path in theirs if path.is_relative_to(base)}
        yield folder, Lines(person.profile_ids, {*person.images} if base == root else names)


def _photos_of(folder: Path) -> Path:
    """What the photos in the folder's metadata.jsonl are relative to: the ledger tells where it is another folder."""
    path = folder / LEDGER
    if not path.is_file():
        return folder
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT value FROM note WHERE name = 'images'").fetchone()
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read ({error}): mend it, or delete it, first.") from error
    return Path(os.path.normpath(folder / row[0])) if row else folder


# Addresses of feature rows that older versions wrote: under every prompt that this configuration and runs tell of.


_OPTIONS = ("image", "system", "instruction", "template")


def known_prompts(configs: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[str, ...]]]:
    """The prompts of conf/prompt and of runs' configs, and what may be left out of the metadata: a label column."""
    prompts = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((conf_dir() / "prompt").glob("*.yaml"))
    ]
    leave_out: list[tuple[str, ...]] = [(), ("fashion_style",)]
    for config in configs:
        if _is_prompt(prompt := config.get("prompt")):
            prompts.append(prompt)
        data = config.get("data")
        if isinstance(data, dict) and isinstance(column := data.get("label_column"), str):
            leave_out.append((column,))
    return prompts, list(dict.fromkeys(leave_out))


def addresses(table: Table, rows: Iterable[Row], configs: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Hex addresses of the rows of these photos under all known prompts."""
    prompts, leave_out = known_prompts(configs)
    found = set()
    for row, prompt, hidden in itertools.product(rows, prompts, leave_out):
        metadata = table.metadata.get(PurePosixPath(row.image)) if prompt["metadata"] else None
        if (prompt["metadata"] and metadata is None) or (prompt["image"] and row.sha256 is None):
            continue
        try:
            text = render(metadata=metadata, leave_out=hidden, **{name: prompt[name] for name in _OPTIONS})
        except UserError:  # nothing was computed from it either
            continue
        for policy in (DECODE_POLICY, COLOUR_POLICY):
            found.add(row_address(row.sha256 if prompt["image"] else None, policy, text))
    return tuple(sorted(found))


def configs_below(roots: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """(folder, config) of every run below the roots; files that are no config of a run are passed over."""
    found = []
    for path in sorted({path for root in roots for path in root.rglob("config.yaml")}):
        try:
            config = read_yaml(path)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(config, dict) and "data" in config:
            sound = {name: node for name, node in config.items() if name not in NODES or isinstance(node, dict)}
            found.append((path.parent, sound))
    return found


def _is_prompt(node: Any) -> bool:
    if not isinstance(node, dict) or not {*_OPTIONS, "metadata"} <= node.keys():
        return False
    texts = [node[name] for name in ("instruction", "template")] + ([node["system"]] if node["system"] else [])
    return all(isinstance(text, str) for text in texts)


# Which matchers were trained on somebody, and what runs keep of them.


SEEN = "seen.txt"
_TABLES = ("ranks.parquet", "answers.parquet", "tsne.parquet")
_TEXTS = ("rejected.csv", "report.html")
_LOGGERS = ("wandb", "tensorboard")


@dataclass(frozen=True)
class Kept:
    """Files of runs, or pages about them, that hold somebody; `loggers` are folders with pictures of photos."""

    files: tuple[Path, ...]
    loggers: tuple[Path, ...]


def trained_on(hashes: Collection[str], roots: Iterable[Path]) -> list[Path]:
    """Folders below the roots, of runs and of exported matchers, that were trained or selected on one of the photos.

    Args:
        hashes: sha256 (hex) of photos, or `metadata_name`s: what seen.txt lists.
    """
    wanted = set(hashes)
    return sorted(path.parent for path in _below(roots, SEEN) if wanted & set(path.read_text("utf-8").split("\n")))


def of_this_data(
    root: Path, hashes: Collection[str], configs: Iterable[tuple[Path, Mapping[str, Any]]], roots: Iterable[Path]
) -> list[Path]:
    """Run folders whose config names the dataset folder, or that were trained on one of its photos.

    Args:
        hashes: of all photos of the folder.
        configs: folder and config of each run.
    """
    named = {folder for folder, config in configs if names_folder(config, root)}
    return sorted(named | set(trained_on(hashes, roots)))


def names_folder(config: Mapping[str, Any], root: Path) -> bool:
    """Whether the config of a run reads this dataset folder."""
    data = config.get("data")
    place = data.get("root") if isinstance(data, dict) else None
    return isinstance(place, str) and Path(place).expanduser().resolve() == root.resolve()


def kept_in(
    folders: Iterable[Path], configs: Mapping[Path, Mapping[str, Any]], roots: Iterable[Path], lines: Lines
) -> Kept:
    """What the runs of this data keep: embeddings, ranks and answers by id, pages, pictures for loggers.

    Args:
        folders: the runs of this data.
        roots: also below them recommendations that mention the person, and pages of style_match.report that do or that
            show photos.
    """
    files, loggers = set(), []
    for folder in folders:
        files |= {
            folder / name
            for name in _TABLES
            if (folder / name).is_file() and _in_table(folder / name, lines.stored_ids)
        }
        files |= {folder / name for name in _TEXTS if (folder / name).is_file() and lines.in_file(folder / name)}
        path = folder / "embeddings.safetensors"
        files |= {path} if path.is_file() and _in_header(path, lines.stored_ids) else set()
        if (configs.get(folder, {}).get("logger") or {}).get("log_images"):
            loggers += [folder / name for name in _LOGGERS if (folder / name).is_dir()]
    for path in _below(roots, "recommendations.*"):
        holds = _in_table(path, lines.stored_ids) if path.suffix == ".parquet" else lines.in_file(path)
        files |= {path} if holds else set()
    if files or loggers:
        pages = _below(roots, "report.html")
        # a report's thumbnails cannot be told from each other, and its charts mention no id
        files |= {path for path in pages if path.parent not in folders and (has_pictures(path) or lines.in_file(path))}
    return Kept(tuple(sorted(files)), tuple(loggers))


def _in_table(path: Path, ids: Collection[str]) -> bool:
    import pyarrow as pa
    from pyarrow import compute, parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}): delete it, or mend it, first.") from error
    texts = [table[name] for name in table.column_names if pa.types.is_string(table[name].type)]
    return any(compute.any(compute.is_in(column, value_set=pa.array(sorted(ids)))).as_py() for column in texts)


def _in_header(path: Path, ids: Collection[str]) -> bool:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            about = json.loads(file.read(length)).get("__metadata__", {})
            return any(set(ids) & set(json.loads(value)) for name, value in about.items() if name.endswith("ids"))
        except (ValueError, OverflowError, AttributeError, TypeError) as error:
            raise UserError(f"{path} is no readable safetensors file ({error}): delete it first.") from error


def _below(roots: Iterable[Path], name: str) -> set[Path]:
    return {path.resolve() for root in roots for path in root.rglob(name) if path.is_file()}


# Where somebody's data can be, in the order in which it is removed: what is computed from it first, photos last.


LISTS = ("rejected.csv", FAILED)  # of prepare and label: what was left out or failed, and why
PAGES = ("prepared.html", DRY_RUN)


@dataclass(frozen=True)
class Step:
    """One place. `do(dry_run=...)` removes, or only counts, what is there, and may be called again.

    Attributes:
        where: the place, without a word of the person.
        what: is counted.
    """

    where: str
    what: str
    do: Callable[..., int]


def steps(
    person: Person, root: Path, image_root: Path, splits: Iterable[Path], features: Path, fingerprints: Fingerprints
) -> Iterator[Step]:
    """Every place that has files of the dataset folder `root`, its photos, its stored splits and its features."""
    lines = Lines(person.profile_ids, person.images)
    yield Step(str(features), "rows of features", partial(_features, features, person))
    yield Step("indexes", "indexes", partial(_indexes, root, person))
    where = dict(places(person, root, image_root))
    for folder in where:
        if (ledger := folder / LEDGER).is_file():
            yield Step(str(ledger), "answers of the labeler", partial(_ledger, ledger, person))
    tables = sorted(path for path in root.iterdir() if path.suffix in (".csv", ".parquet") and path.name not in LISTS)
    for path in tables:  # couples, and others that tell of profiles
        if path.stem != "profiles":
            yield Step(path.name, "rows", partial(drop_rows, path, lines.has_id))
    for folder, named in where.items():
        if (path := folder / METADATA).is_file():
            yield Step(_said(path, root), "lines", partial(_metadata, path, named))
    for path in tables:
        if path.stem == "profiles":
            yield Step(path.name, "rows", partial(drop_rows, path, lines.has_id))
    for path in sorted({path for folder in splits for path in folder.glob("*.csv")}):
        yield Step(str(path), "rows of a split", partial(_split, path, lines))
    for folder, named in where.items():
        for path in [folder / name for name in LISTS if (folder / name).is_file()]:
            yield Step(_said(path, root), "rows", partial(drop_rows, path, named.mentions))
        for path in [folder / name for name in PAGES]:
            yield Step(_said(path, root), "files", partial(_page, path, named))
    yield Step("photos", "files", partial(_photos, person, root, image_root))
    yield Step("remembered hashes", "entries", partial(fingerprints.forget, [*map(Path, person.paths)], person.sha256))
    yield Step("remembered looks of photos", "entries", partial(_looks, cache_root() / MEMO, person))
    yield Step("unfinished files", "files", partial(_unfinished, [root, root / "splits", root / "photos", *where]))


def _said(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _features(root: Path, person: Person, *, dry_run: bool) -> int:
    owners = {*person.sha256, *map(owner_of, person.stored_ids)}
    found = (find_rows if dry_run else remove_rows)(root, owners, person.addresses)
    return sum(each.rows for each in found)


def _indexes(root: Path, person: Person, *, dry_run: bool) -> int:
    from style_match.serving.index.folder import delete_everywhere, known_indexes

    if dry_run:
        try:
            return sum(known.data_root == root.resolve() for known in known_indexes())
        except UserError:  # it is said by what is left, and ends the removal once all else is done
            return 0
    said = delete_everywhere(root, person.stored_ids)
    if failed := [line for line in said if "NOT deleted" in line]:
        raise UserError("\n".join(["An index still holds the person:", *failed]))
    return len(said)


def _ledger(path: Path, person: Person, *, dry_run: bool) -> int:
    """Answers about photos with these bytes, and the requests they answered."""
    from style_match.labeling.ledger import Ledger

    marks = ", ".join("?" * len(person.sha256))
    where = f"FROM answer WHERE sha256 IN ({marks})"
    with Ledger(path.parent) as held:  # nobody labels meanwhile, and the file is a sound ledger
        try:
            with closing(sqlite3.connect(held.path, isolation_level=None)) as database:
                (count,) = database.execute(f"SELECT count(*) {where}", person.sha256).fetchone()
                if not dry_run:
                    database.execute("PRAGMA secure_delete = ON")
                    database.execute(f"DELETE FROM asked WHERE key IN (SELECT key {where})", person.sha256)
                    database.execute(f"DELETE {where}", person.sha256)
                    database.execute("VACUUM")
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise UserError(f"{path} cannot be changed ({error}): run the same command again.") from error
    return count


def _metadata(path: Path, lines: Lines, *, dry_run: bool) -> int:
    """The labeler, which overwrites nothing written by others, is told that this is its file still."""
    if dry_run or not path.with_name(LEDGER).is_file():
        return drop_lines(path, lines.has_image, dry_run=dry_run)
    from style_match.labeling.ledger import Ledger

    with Ledger(path.parent) as held:

        def note(before: str, after: str) -> None:
            was, will_be = (hashlib.sha256(text.encode()).hexdigest() for text in (before, after))
            if held.has_written(was):
                held.will_write(will_be)

        return drop_lines(path, lines.has_image, dry_run=False, note=note)


def _split(path: Path, lines: Lines, *, dry_run: bool) -> int:
    """Everybody else stays where they are."""
    if dry_run:
        return drop_rows(path, lines.has_id, dry_run=True)
    with alone(path.parent):
        return drop_rows(path, lines.has_id, dry_run=False)


def _page(path: Path, lines: Lines, *, dry_run: bool) -> int:
    """A page that shows pictures may show this person, and the labeler's example is of anybody."""
    if path.name == DRY_RUN:
        is_theirs = is_dry_run(path)  # else it is a photo of that name
    else:
        is_theirs = path.is_file() and (has_pictures(path) or lines.in_file(path))
    if not is_theirs:
        return 0
    if not dry_run:
        path.unlink()
    return 1


def _photos(person: Person, root: Path, image_root: Path, *, dry_run: bool) -> int:
    found = {path for path in map(Path, person.paths) if path.is_file()} | copies(person, (root, image_root))
    for path in () if dry_run else sorted(found):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{path} cannot be removed ({error.strerror}): mend that, then the command goes on."
            ) from error
    return len(found)


def _looks(path: Path, person: Person, *, dry_run: bool) -> int:
    """What style_match.prepare remembers of the photos: sizes and perceptual hashes."""
    if not path.is_file():
        return 0
    memo = Memo(path)
    try:
        return memo.count([], person.sha256) if dry_run else memo.remove([], person.sha256)
    finally:
        memo.close()


def _unfinished(folders: Iterable[Path], *, dry_run: bool) -> int:
    """What killed processes left half written."""
    folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    found = [
        path for folder in folders for path in (*folder.glob(".*.[0-9]*.tmp"), *folder.glob(".style_match_*.jsonl"))
    ]
    if not dry_run:
        for folder in folders:
            remove_unfinished(folder)
        for path in found:
            path.unlink(missing_ok=True)
    return len(found)


DEFAULT_RUNS = "runs"


class Forgetting:
    """Finds the person when it is made; removes nothing before `remove`.

    Args:
        cfg: conf/forget.yaml.

    Raises:
        UserError: no such folder or profile, a table that cannot be read; another forgetting was interrupted here.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.root = _folder(cfg.data.root, "data.root")
        self.image_root = self.root if cfg.data.image_root is None else _folder(cfg.data.image_root, "data.image_root")
        self.features = Path(cfg.features.root).expanduser() if cfg.features.root else cache_root() / "features"
        self.fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
        self.runs = self._run_roots()
        self.configs = dict(configs_below(self.runs))
        self.journal = Journal(self.root)
        asked = _ids(cfg.profile)
        begun = self.journal.read()
        table = read(self.root, self.image_root, self.fingerprints)
        if begun is None:
            place = f"the profiles of {self.root}"
            theirs, notes = find(table, asked, near_copies=cfg.near_copies, place=place)
            self.person = self._describe(table, asked, theirs, notes)
            self.of_data = self._runs_of(table)
            self.lines = [(each.where, each.what, each.do(dry_run=True)) for each in self._steps]
        else:
            self.person, self.lines = begun
            if set(map(plain, self.person.asked)) != set(asked):
                raise UserError(
                    f"{self.root}: forgetting profile={_written(self.person.asked)} was interrupted. Finish it first: "
                    f"give that command again."
                )
            self.of_data = self._runs_of(table)

    def show(self) -> None:
        """Print what `remove` would do."""
        self._print("would be removed", self._left(but=[where for where, _, count in self.lines if count]))
        print("dry_run=true: nothing was removed")

    def remove(self) -> None:
        """Remove it all, a place at a time, and write forgotten.json.

        Raises:
            UserError: places from which the person could not be removed, all of them; the others are done.
        """
        trained, work = self._trained(), self._steps
        self.journal.write(self.person, self.lines)
        failed = []
        for step in work:
            try:
                step.do(dry_run=False)
            except UserError as error:
                failed.append(str(error))
        if failed:
            raise UserError(
                "\n".join(
                    [
                        *failed,
                        "All else is removed. Correct this, then give the same command again: it finishes the rest.",
                    ]
                )
            )
        left = self._left()
        lines = [line for line in self.lines if line[2]]
        path = write_forgotten(self.root, self.person, lines, trained=trained, left=left)
        self.journal.close()
        self._print("removed", left)
        print(f"written: {path}")

    @cached_property
    def _steps(self) -> list[Step]:
        stores = {self.root / "splits"}
        for config in self.configs.values():
            store = config.get("split", {}).get("store")
            if names_folder(config, self.root) and isinstance(store, str) and store:
                stores.add(Path(store).expanduser())
        places = steps(self.person, self.root, self.image_root, sorted(stores), self.features, self.fingerprints)
        of_runs = self._kept.files if self.cfg.runs_too else ()
        return [*places, *(Step(str(path), "files", partial(_unlink, path)) for path in of_runs)]

    @cached_property
    def _kept(self) -> Kept:
        return kept_in(self.of_data, self.configs, self.runs, Lines(self.person.profile_ids, self.person.images))

    def _runs_of(self, table: Table) -> list[Path]:
        hashes = {row.sha256 for row in table.rows if row.sha256 is not None}
        return of_this_data(self.root, {*hashes, *self.person.seen}, self.configs.items(), self.runs)

    def _describe(self, table: Table, asked: Sequence[str], theirs: Sequence[Row], notes: Sequence[str]) -> Person:
        person = describe(table, asked, theirs, notes)
        own = [row for row in theirs if row.sha256 in person.sha256 or row.sha256 is None]
        return Person(**{**vars(person), "addresses": addresses(table, own, self.configs.values())})

    def _trained(self) -> list[str]:
        return [str(folder) for folder in trained_on(self.person.seen, self.runs)]

    def _left(self, but: Sequence[str] = ()) -> list[str]:
        """What is not removed, without a word that tells the person; not the places `but`."""
        lines = Lines(self.person.profile_ids, self.person.images)
        owners = {*self.person.sha256, *map(owner_of, self.person.stored_ids)}
        left = [
            f"{found.folder}: {found.unknown} rows of an older version do not tell whose they are. Those under the "
            "prompts of conf/prompt and of the runs were looked for; to be sure delete this folder, its rows are made "
            "anew"
            for found in find_rows(self.features, owners, self.person.addresses)
            if found.unknown
        ]
        if not self.cfg.runs_too:
            left += [f"{path}: holds the person; runs_too=true removes it" for path in self._kept.files]
        left += [f"{path}: pictures for a logger that may show the person" for path in self._kept.loggers]
        left += self._absent_indexes()
        found = mentions(self.person, self.root, leave_out=[*self.of_data, *(self.root / where for where in but)])
        names = [str(path.relative_to(self.root)) for path in found]
        names = ["a file whose name tells the person" if lines.in_text(name) else name for name in names]
        left += [f"{name} mentions the person: look at it yourself" for name in names]
        if (self.root / "prepared.json").is_file():
            left.append(
                "the source that prepared.json names: forget the person there too, if it has a profiles.csv; else "
                "delete the photo and its line of metadata.jsonl there (a labels.sqlite keeps the answer until it is "
                "deleted). Under the same id prepare does not bring it back here; under another id it would"
            )
        return left

    def _absent_indexes(self) -> list[str]:
        try:
            return [f"index {line}" for line in absent(self.root)]
        except UserError as error:
            return [str(error)]

    def _print(self, title: str, left: Sequence[str]) -> None:
        print(f"profile {', '.join(self.person.profile_ids)} of {self.root}")
        for note in self.person.notes:
            print(f"note: {note}")
        print(f"{title}:")
        for where, what, count in self.lines:
            if count:
                print(f"  {where}: {count} {what}")
        for app in running_apps(self.root):
            print(f"running app: {app} shows this folder; before its next answer it reads the folder again")
        trained = self._trained()
        print(f"trained or selected on them: {len(trained)} runs and matchers (listed, not removed; train them anew)")
        for folder in trained:
            print(f"  {folder}")
        for line in left:
            print(f"not removed: {line}")

    def _run_roots(self) -> list[Path]:
        named = [self.cfg.runs] if isinstance(self.cfg.runs, str) else list(self.cfg.runs or [])
        roots = []
        for name in named:
            path = Path(str(name)).expanduser()
            if path.is_dir():
                roots.append(path.resolve())
            elif name != DEFAULT_RUNS:
                raise UserError(f"runs={name}: there is no such folder.")
        if (self.root / DEFAULT_RUNS).is_dir():
            roots.append((self.root / DEFAULT_RUNS).resolve())
        return list(dict.fromkeys(roots))


def _ids(value: Any) -> list[str]:
    given = list(value) if isinstance(value, ListConfig | list) else [value]
    for each in given:
        if not isinstance(each, str) or not plain(each):  # 1_2 in a YAML would be somebody else's 12
            raise UserError(f"profile={each}: is no id. In a YAML, write an id in quotes.")
    return list(dict.fromkeys(map(plain, given)))


def _written(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"[{','.join(ids)}]"


def _folder(path: str, option: str) -> Path:
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{option}={path}: there is no such folder.")
    return folder


def _unlink(path: Path, *, dry_run: bool) -> int:
    there = path.is_file()
    if there and not dry_run:
        path.unlink()
    return int(there)
