"""The photos that are to be labelled: found in a folder or named by its profiles table, hashed and decoded once."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from style_match.data.fingerprints import Fingerprints, PhotoFacts
from style_match.data.images import DECODE_POLICY, decode
from style_match.data.photos import ImagePaths
from style_match.data.records import Faults, has_control_character
from style_match.data.tables import Table, read_table
from style_match.utils.errors import UserError
from style_match.utils.text import plain, shown

# A photo as it leaves the machine: small, upright, pixels only.


@dataclass(frozen=True)
class Encoding:
    """Options of `labeler`; all of them are part of a request's key.

    Attributes:
        max_side_px: of the longer side of what is sent.
        jpeg_quality: 1 to 95.
        max_source_pixels: of the photo's file.
    """

    max_side_px: int
    jpeg_quality: int
    max_source_pixels: int

    def identity(self, policy: str = DECODE_POLICY) -> dict[str, object]:
        """What changes the bytes; `policy` is that of the photo (`PhotoFacts.decode_policy`)."""
        options = asdict(self)
        del options["max_source_pixels"]  # it decides whether a photo is read, not what is sent
        return {**options, "decode": policy}


def encode(source: Path | bytes, encoding: Encoding) -> bytes:
    """A JPEG of the photo's pixels alone: in sRGB, with no EXIF, place, comment, thumbnail or name.

    The same photo gives the same bytes. Raises UserError (BadImage) as `decode` does.
    """
    from PIL import Image

    image = decode(source, max_source_pixels=encoding.max_source_pixels)
    if max(image.size) > encoding.max_side_px:
        image.thumbnail((encoding.max_side_px, encoding.max_side_px), Image.Resampling.LANCZOS)
    pixels = Image.frombytes("RGB", image.size, image.tobytes())  # a new image: none of the file's own words come along
    content = io.BytesIO()
    pixels.save(content, format="JPEG", quality=encoding.jpeg_quality)
    return content.getvalue()


# Who allowed their photos to be labelled: the column `consent` of a profiles table.


COLUMN = "consent"
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


def without_consent(
    table: Table | None, photos: Mapping[str, Path], identity: Mapping[str, str], *, max_faults_shown: int
) -> dict[str, str]:
    """image -> why it may not be labelled; empty where there is no table or no such column.

    A photo that several profiles use, also as copies with equal pixels, needs the consent of all of them; a photo that
    no profile names has nobody's.

    Args:
        photos: image -> file.
        identity: image -> hash of its pixels, equal for copies of one photo.

    Raises:
        UserError: a column that is called consent but for its writing, cells that are neither yes nor no, rows of one
            profile that disagree.
    """
    if table is None:
        return {}
    faults = Faults(table.path.parent, max_faults_shown)
    _refuse_other_writing(table, faults)
    if COLUMN not in table.header:
        return {}
    consent = _read_consent(table, faults)
    file_of = {os.path.realpath(path): image for image, path in photos.items()}
    images = ImagePaths(table.path.parent, ())
    profiles_of: dict[str, list[str]] = {image: [] for image in photos}
    for _, record in table.records():
        # relative to the table's folder, as in every dataset folder, or else as the photos are called here
        places = images.on_disk(record["image"]) or [table.path.parent / record["image"]]
        image = next((file_of[real] for real in map(os.path.realpath, places) if real in file_of), record["image"])
        if image in profiles_of:
            profiles_of[image].append(record["profile_id"])
    refusing: dict[str, str] = {}  # hash -> the first profile that does not consent
    for image, profiles in profiles_of.items():
        for profile in profiles:
            if not consent[profile]:
                refusing.setdefault(identity[image], profile)
    found = {}
    for image, profiles in profiles_of.items():
        if identity[image] in refusing:
            found[image] = f"profile {refusing[identity[image]]} has not consented ({table.path.name})"
        elif not profiles:
            found[image] = f"no profile of {table.path.name} names it, so nobody has consented"
    return found


def said_of(table: Table | None) -> str | None:
    """What is said where nobody's consent is known; None where it is."""
    if table is None:
        return "no profiles table was found, so consent was not checked (profiles=FILE names one)"
    return None if COLUMN in table.header else f"{table.path} has no column {COLUMN}, so consent was not checked"


def _refuse_other_writing(table: Table, faults: Faults) -> None:
    """A column that its author takes for `consent` must not be passed over."""
    for name in table.header:
        if name != COLUMN and "".join(sign for sign in name.casefold() if sign.isalnum()) == COLUMN:
            faults.add(f"{shown(name)} is not read; call the column {COLUMN}", file=table.path.name, column=name)
    _raise(faults)


def _raise(faults: Faults) -> None:
    try:
        faults.raise_if_any()
    except UserError as error:
        raise UserError(f"{error}\nNothing was sent.") from None


def _read_consent(table: Table, faults: Faults) -> dict[str, bool]:
    consent: dict[str, bool] = {}
    for row, record in table.records():
        cell, profile = record[COLUMN].casefold(), record["profile_id"]
        where = dict(file=table.path.name, place=table.place(row), column=COLUMN)
        if cell not in _YES + _NO:
            faults.add(
                f"{shown(record[COLUMN])} is neither yes nor no; write yes, true, 1, no, false, 0 or nothing", **where
            )
        elif consent.setdefault(profile, cell in _YES) != (cell in _YES):
            faults.add(
                f"profile {shown(profile)} has consented in one row and not in another; make them agree", **where
            )
    _raise(faults)
    return consent


# of the formats that style_match.data.images reads
SUFFIXES: tuple[str, ...] = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
)
SUFFIXES += (".pnm", ".avif", ".heic", ".heif")
# What a NAS, a recycle bin, a file system or an archiver makes beside the photos; hidden folders are never looked into.
SYSTEM_FOLDERS = {
    "@eadir",
    "@tmp",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "lost+found",
    "system volume information",
    "__macosx",
    "found.000",
    "@sharebin",
}
_AHEAD = 256  # files that wait for a thread


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        photos: image as metadata.jsonl writes it -> file.
        num_other: files that are no photos or are not named.
        num_system: image files in folders that a system makes for itself, which are passed over.
    """

    photos: dict[str, Path]
    table: Table | None
    num_other: int
    num_system: int = 0


@dataclass(frozen=True)
class Checked:
    """What the photos are.

    Attributes:
        sha256: image -> hash of the file.
        identity: image -> hash of its pixels, or of the file where it cannot be decoded.
        bad: image -> what is wrong with it.
        policies: image -> its decode policy.
        without_profile: images whose embedded colour profile is passed over.
    """

    sha256: dict[str, str]
    identity: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    without_profile: list[str] = field(default_factory=list)


def find_photos(
    images: Path,
    profiles: Path | None,
    *,
    skip: Sequence[Path],
    max_faults_shown: int,
    levels_up: int = 1,
    image_root: Path | None = None,
    remedy: str = "copy what it leads to, or remove it",
) -> Found:
    """The photos of `images`: those that its profiles table names, where it has one, else all image files below it.

    Args:
        profiles: a table elsewhere, which is read for its profiles but does not say which photos there are; None: the
            one in `images`, or else in the nearest folder above it that has one.
        skip: files and folders that are this step's own.
        levels_up: how many folders above `images` are looked into.
        image_root: a folder that links to photos may lead into.
        remedy: for a link that leads elsewhere.

    Raises:
        UserError: no such folder, links that lead out of it, no photo, a fault in the table, two tables above a link.
    """
    if not images.is_dir():
        what = "is a file, not a folder" if images.exists() else "there is no such folder"
        raise UserError(f"images={images}: {what}. Name the folder of the photos.")
    faults = Faults(images, max_faults_shown)
    files, num_other, num_system = _walk(images, {os.path.realpath(path) for path in skip}, image_root, remedy, faults)
    if profiles is None and _has_table(images):
        table = _read(images, faults)
        named = _named(images, table, faults)
        faults.raise_if_any()
        num_other += len(set(files.values()) - set(named.values()))
        return Found(named, table, num_other, num_system)
    faults.raise_if_any()
    if not files:
        raise UserError(
            f"images={images}: no photo is below it ({num_other} other files). Photos are called "
            f"{', '.join(SUFFIXES[:3])} and so on."
        )
    if profiles is not None and not profiles.is_file():
        raise UserError(f"profiles={profiles}: there is no such file. Name a profiles.csv or profiles.parquet.")
    if profiles is not None and profiles.name not in ("profiles.csv", "profiles.parquet"):
        raise UserError(f"profiles={profiles}: the file has to be called profiles.csv or profiles.parquet.")
    parent = profiles.parent if profiles is not None else _above(images, levels_up)
    if parent is None:
        return Found(files, None, num_other, num_system)
    faults = Faults(parent, max_faults_shown)
    table = _read(parent, faults)
    faults.raise_if_any()
    return Found(files, table, num_other, num_system)


def _above(images: Path, levels_up: int) -> Path | None:
    """The nearest folder above with a profiles table; a link has two ways up, by its own place and by what it names."""
    found: dict[str, Path] = {}
    for start in (os.path.abspath(images), os.path.realpath(images)):
        folder = next((each for each in list(Path(start).parents)[:levels_up] if _has_table(each)), None)
        if folder is not None:
            found.setdefault(os.path.realpath(folder), folder)
    if len(found) > 1:
        both = " and ".join(map(str, found.values()))
        raise UserError(f"images={images}: {both} have a profiles table each. Name the one that counts: profiles=FILE.")
    return next(iter(found.values()), None)


def _has_table(folder: Path) -> bool:
    return any(os.path.isfile(folder / f"profiles{suffix}") for suffix in (".csv", ".parquet"))


def _read(folder: Path, faults: Faults) -> Table | None:
    return read_table(folder, "profiles", (("profile_id", "image"),), faults)


def _walk(
    images: Path, skip: set[str], image_root: Path | None, remedy: str, faults: Faults
) -> tuple[dict[str, Path], int, int]:
    """Image files by their names below `images`, sorted; how many others; how many images in folders of a system.

    Hidden files are none of these.
    """
    real = os.path.realpath(images)
    allowed = (real, os.path.realpath(image_root)) if image_root is not None else (real,)
    files: dict[str, Path] = {}
    num_other = num_system = 0

    def refuse(error: OSError) -> None:
        faults.add(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions or move it away")

    for folder, folders, names in os.walk(images, onerror=refuse):
        here = Path(folder)
        num_system += sum(map(_num_photos, (here / name for name in folders if is_system(name))))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not is_system(name))
        for name in [name for name in folders if (here / name).is_symlink()]:
            _refuse_way_out(
                here / name, (real,), remedy, faults
            )  # a link inside is passed over: its photos are found in place
        folders[:] = [name for name in folders if os.path.realpath(here / name) not in skip]
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or os.path.realpath(path) in skip:
                continue
            if path.suffix.lower() not in SUFFIXES:
                num_other += 1
            elif _refuse_way_out(path, allowed, remedy, faults):
                continue
            elif has_control_character(name) or not _is_text(str(path)):
                faults.add(f"{shown(str(path))} holds a control character or bytes that are no UTF-8; rename it")
            elif (other := files.setdefault(plain(path.relative_to(images).as_posix()), path)) != path:
                faults.add(f"{str(other)!a} and {str(path)!a} have names that look alike; rename or remove one")
    return files, num_other, num_system


def is_system(folder: str) -> bool:
    """Whether a folder of this name is one that a system makes for itself, with copies of photos in it."""
    return folder.lower() in SYSTEM_FOLDERS


def is_photo(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def said_system(num_system: int) -> str:
    """The sentence about photos of `Found.num_system`."""
    photos = "1 photo in a system folder is" if num_system == 1 else f"{num_system} photos in system folders are"
    return f"{photos} passed over (such as @eaDir or #recycle)"


def _num_photos(folder: Path) -> int:
    return sum(is_photo(name) for _, _, names in os.walk(folder) for name in names)


def _refuse_way_out(path: Path, allowed: Sequence[str], remedy: str, faults: Faults) -> bool:
    target = os.path.realpath(path)
    out = path.is_symlink() and not any(target.startswith(folder.rstrip(os.sep) + os.sep) for folder in allowed)
    if out:
        faults.add(f"{path} is a symbolic link out of the folder, to {target}; {remedy}")
    return out


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(images: Path, table: Table | None, faults: Faults) -> dict[str, Path]:
    if table is None:
        return {}
    paths = ImagePaths(images, (images,))
    found: dict[str, Path] = {}
    for row, record in table.records():
        if not record["image"]:
            faults.add("the cell is missing; fill it in", file=table.path.name, place=table.place(row), column="image")
            continue
        path, fault = paths.find(record["image"])
        if path is None:
            if "set data.image_root" in fault:
                fault = fault.partition("set data.image_root")[0]
                fault += f"give its folder as images and {table.path.name} as profiles"
            faults.add(fault, file=table.path.name, place=table.place(row), column="image")
        else:
            found[record["image"]] = path
    return found


def check_photos(
    photos: dict[str, Path],
    fingerprints: Fingerprints,
    *,
    max_source_pixels: int,
    num_workers: int,
    progress: Callable[[int, int], object],
) -> Checked:
    """Hashes every photo, and decodes each whose bytes were not decoded before.

    Raises UserError listing those that cannot be read at all (no permission, HEIC without its reader).
    """

    def inspect(path: Path) -> PhotoFacts | UserError:
        try:
            return fingerprints.photo(path, max_source_pixels=max_source_pixels)
        except UserError as error:
            return error

    checked = Checked({})
    unreadable = []
    images = list(photos)
    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        for start in range(0, len(images), _AHEAD):
            some = images[start : start + _AHEAD]
            for image, facts in zip(some, pool.map(inspect, [photos[image] for image in some]), strict=True):
                if isinstance(facts, UserError):
                    unreadable.append(str(facts))
                    continue
                checked.sha256[image], checked.policies[image] = facts.sha256, facts.decode_policy
                checked.identity[image] = facts.pixels or facts.sha256
                if facts.colour_fault:
                    checked.without_profile.append(image)
                if not facts.ok:
                    checked.bad[image] = facts.fault.replace("data.max_source_pixels", "max_source_pixels")
            progress(start + len(some), len(images))
    if unreadable:
        raise UserError("\n  ".join([f"{len(unreadable)} of {len(images)} photos could not be read:", *unreadable]))
    return checked
