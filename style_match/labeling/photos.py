"""The photos to label: found in a folder or named by its profiles table, checked for consent, decoded, and encoded."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from style_match.data.fingerprints import Fingerprints, PhotoFacts
from style_match.data.image_paths import ImagePaths
from style_match.data.images import decode
from style_match.data.records import Faults, has_control_character
from style_match.data.tables import Table, read_table
from style_match.utils.errors import UserError
from style_match.utils.text import plain, shown

CONSENT = "consent"  # column of a profiles table
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")
# formats that style_match.data.images reads
SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
SUFFIXES += (".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif")
# folders that a NAS, a recycle bin, a file system or an archiver creates
SYSTEM_FOLDERS = {"@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot"}
SYSTEM_FOLDERS |= {"$recycle.bin", "recycler", "lost+found", "system volume information", "__macosx", "found.000"}
_REQUIRED = (("profile_id", "image"),)  # columns of a profiles table


@dataclass(frozen=True)
class Encoding:
    """How photos are encoded for sending.

    Attributes:
        max_side_px: of the longer side.
        jpeg_quality: 1 to 95.
        max_source_pixels: of the file; larger photos are refused.
    """

    max_side_px: int
    jpeg_quality: int
    max_source_pixels: int


def encode(source: Path | bytes, encoding: Encoding) -> bytes:
    """Return a JPEG with only the photo's pixels, in sRGB: no EXIF, location, comment, thumbnail or name.

    The same photo gives the same bytes. Raises UserError (BadImage) as `decode` does.
    """
    image = decode(source, max_source_pixels=encoding.max_source_pixels)
    if max(image.size) > encoding.max_side_px:
        image.thumbnail((encoding.max_side_px, encoding.max_side_px), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    pixels = Image.frombytes("RGB", image.size, image.tobytes())  # a new image without the file's metadata
    pixels.save(content, format="JPEG", quality=encoding.jpeg_quality)
    return content.getvalue()


def sent_size(facts: PhotoFacts, encoding: Encoding) -> tuple[int, int]:
    """Return about (width, height) in pixels of what `encode` returns."""
    shrink = min(1.0, encoding.max_side_px / max(facts.width, facts.height))
    return max(1, round(shrink * facts.width)), max(1, round(shrink * facts.height))


@dataclass(frozen=True)
class FoundPhotos:
    """Photos of a folder.

    Attributes:
        photos: image as in metadata.jsonl -> file.
        table: the profiles table.
        num_other: number of files that are not photos or are not named by the table.
        num_system: number of photos in system folders, which are ignored.
    """

    photos: dict[str, Path]
    table: Table | None
    num_other: int
    num_system: int = 0


def find_photos(
    images: Path,
    profiles: Path | None,
    *,
    skip: Sequence[Path],
    max_faults_shown: int,
    levels_up: int = 1,
    image_root: Path | None = None,
    remedy: str = "copy its target, or remove it",
) -> FoundPhotos:
    """Find the photos that the profiles table in `images` names; without a table, all image files below `images`.

    Args:
        profiles: a table elsewhere, which is read for consent but does not decide which photos there are; None: the
            one in `images`, or else in the nearest folder above.
        skip: files and folders of the step itself.
        levels_up: number of folders above `images` that are searched for a table.
        image_root: a folder that links to photos may point into.
        remedy: for a link that points elsewhere.

    Raises:
        UserError: The folder or the table does not exist or has faults, links point out of it, or there is no photo.
    """
    if not images.is_dir():
        what = "is a file, not a folder" if images.exists() else "the folder does not exist"
        raise UserError(f"images={images}: {what}. Name the folder of the photos.")
    if profiles is not None and (not profiles.is_file() or profiles.name not in ("profiles.csv", "profiles.parquet")):
        what = "the file does not exist" if not profiles.is_file() else "the name must be profiles.csv or .parquet"
        raise UserError(f"profiles={profiles}: {what}. Name a profiles.csv or profiles.parquet.")
    faults = Faults(images, max_faults_shown)
    files, num_other, num_system = _walk(images, {os.path.realpath(path) for path in skip}, image_root, remedy, faults)
    if profiles is None and _has_table(images):
        table = read_table(images, "profiles", _REQUIRED, faults)
        named = _named(images, table, faults) if table is not None else {}
        faults.raise_if_any()
        return FoundPhotos(named, table, num_other + len(set(files.values()) - set(named.values())), num_system)
    faults.raise_if_any()
    if not files:
        suffixes = ", ".join(SUFFIXES[:3])
        raise UserError(f"images={images}: contains no photos ({suffixes}, ...), but {num_other} other files.")
    parent = profiles.parent if profiles is not None else _above(images, levels_up)
    table = None
    if parent is not None:
        faults = Faults(parent, max_faults_shown)
        table = read_table(parent, "profiles", _REQUIRED, faults)
        faults.raise_if_any()
    return FoundPhotos(files, table, num_other, num_system)


def _has_table(folder: Path) -> bool:
    return any((folder / f"profiles{suffix}").is_file() for suffix in (".csv", ".parquet"))


def _above(images: Path, levels_up: int) -> Path | None:
    """Return the nearest folder above with a profiles table, along the path as given and along its real path."""
    paths = [Path(os.path.abspath(images)), images.resolve()]
    nearest = [next(filter(_has_table, list(path.parents)[:levels_up]), None) for path in paths]
    found = {folder.resolve(): folder for folder in nearest if folder is not None}
    if len(found) > 1:
        both = " and ".join(map(str, found.values()))
        raise UserError(f"images={images}: {both} each have a profiles table. Choose one with profiles=FILE.")
    return next(iter(found.values()), None)


def _walk(
    images: Path, skip: set[str], image_root: Path | None, remedy: str, faults: Faults
) -> tuple[dict[str, Path], int, int]:
    """Return image files by name, sorted; the number of other files; the number of images in system folders.

    Hidden files and folders are ignored.
    """
    allowed = [images, *([image_root] if image_root is not None else [])]
    files: dict[str, Path] = {}
    num_other = num_system = 0

    def refuse(error: OSError) -> None:
        faults.add(f"{error.filename}: cannot be read ({error.strerror}); fix its permissions or move it away")

    for folder, folders, names in os.walk(images, onerror=refuse):
        here = Path(folder)
        num_system += sum(_num_photos(here / name) for name in folders if is_system(name))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not is_system(name))
        for name in folders:  # os.walk does not follow links; those inside are found in place
            _points_outside(here / name, [images], remedy, faults)
        folders[:] = [name for name in folders if os.path.realpath(here / name) not in skip]
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or os.path.realpath(path) in skip:
                continue
            if not is_photo(name):
                num_other += 1
            elif _points_outside(path, allowed, remedy, faults):
                continue
            elif has_control_character(name) or not _is_utf8(str(path)):
                faults.add(f"{shown(str(path))} contains a control character or bytes that are no UTF-8; rename it")
            elif (other := files.setdefault(plain(path.relative_to(images).as_posix()), path)) != path:
                faults.add(f"{str(other)!a} and {str(path)!a} have names that look alike; rename or remove one")
    return files, num_other, num_system


def is_system(folder: str) -> bool:
    """Return whether a system creates folders of this name, with copies of photos in them."""
    return folder.lower() in SYSTEM_FOLDERS


def is_photo(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def system_folders_note(num_system: int) -> str:
    """Return the note about `FoundPhotos.num_system`."""
    photos = "1 photo in a system folder is" if num_system == 1 else f"{num_system} photos in system folders are"
    return f"{photos} ignored (such as @eaDir or #recycle)"


def _num_photos(folder: Path) -> int:
    return sum(is_photo(name) for _, _, names in os.walk(folder) for name in names)


def _points_outside(path: Path, allowed: Sequence[Path], remedy: str, faults: Faults) -> bool:
    if not path.is_symlink():
        return False
    target = path.resolve()
    outside = not any(target.is_relative_to(folder.resolve()) for folder in allowed)
    if outside:
        faults.add(f"{path} is a symbolic link out of the folder, to {target}; {remedy}")
    return outside


def _is_utf8(name: str) -> bool:
    return name.encode(errors="ignore").decode() == name


def _named(images: Path, table: Table, faults: Faults) -> dict[str, Path]:
    """Return the files that a table in `images` names."""
    paths = ImagePaths(images, (images,))
    found: dict[str, Path] = {}
    for row, record in table.records():
        image = record["image"]
        path, fault = paths.find(image) if image else (None, "the cell is empty; fill it in")
        if path is not None:
            found[image] = path
            continue
        what, option, _ = fault.partition("set data.image_root")
        remedy = f"set images to its folder and profiles to {table.path.name}" if option else ""
        faults.add(what + remedy, file=table.path.name, place=table.place(row), column="image")
    return found


def without_consent(
    table: Table | None, photos: Mapping[str, Path], pixels: Mapping[str, str], *, max_faults_shown: int
) -> dict[str, str]:
    """Return image -> the reason why it may not be labelled; empty without a table or a column `consent`.

    A photo that several profiles use, also as copies with equal pixels, needs the consent of all of them. A photo that
    no profile names has no consent.

    Args:
        photos: image -> file.
        pixels: image -> hash of its pixels.

    Raises:
        UserError: The column is spelled differently, cells are neither yes nor no, or rows of a profile disagree.
    """
    if table is None:
        return {}
    consent = _read_consent(table, max_faults_shown)
    if CONSENT not in table.header:
        return {}
    image_of = {os.path.realpath(path): image for image, path in photos.items()}
    paths = ImagePaths(table.path.parent, ())
    profiles_of: dict[str, list[str]] = {image: [] for image in photos}
    for _, record in table.records():
        # relative to the table's folder, as in a dataset folder, or else the name of the image itself
        places = paths.on_disk(record["image"]) or [table.path.parent / record["image"]]
        image = next((image_of[real] for real in map(os.path.realpath, places) if real in image_of), record["image"])
        if image in profiles_of:
            profiles_of[image].append(record["profile_id"])
    refusing: dict[str, str] = {}  # pixels -> first profile without consent
    for image, profiles in profiles_of.items():
        for profile in profiles:
            if not consent[profile]:
                refusing.setdefault(pixels[image], profile)
    found = {}
    for image, profiles in profiles_of.items():
        if pixels[image] in refusing:
            found[image] = f"profile {refusing[pixels[image]]} has not consented ({table.path.name})"
        elif not profiles:
            found[image] = f"no profile of {table.path.name} names it, so there is no consent"
    return found


def _read_consent(table: Table, max_faults_shown: int) -> dict[str, bool]:
    """Return profile -> whether it has consented; empty without the column."""
    faults, file = Faults(table.path.parent, max_faults_shown), table.path.name
    for name in table.header:
        if name != CONSENT and "".join(letter for letter in name.casefold() if letter.isalnum()) == CONSENT:
            faults.add(f"{shown(name)} is not read; rename the column to {CONSENT}", file=file, column=name)
    consent: dict[str, bool] = {}
    for row, record in table.records() if CONSENT in table.header else ():
        cell, profile, what = record[CONSENT].casefold(), record["profile_id"], ""
        if cell not in _YES + _NO:
            what = f"{shown(record[CONSENT])} is neither yes nor no; use yes, true, 1, no, false, 0 or nothing"
        elif consent.setdefault(profile, cell in _YES) != (cell in _YES):
            what = f"profile {shown(profile)} has consented in one row and not in another; make them agree"
        if what:
            faults.add(what, file=file, place=table.place(row), column=CONSENT)
    try:
        faults.raise_if_any()
    except UserError as error:
        raise UserError(f"{error}\nNothing was sent.") from None
    return consent


def consent_note(table: Table | None) -> str | None:
    """Return the note for a folder without information about consent; None if there is some."""
    if table is None:
        return "no profiles table was found, so consent was not checked (set profiles=FILE)"
    return None if CONSENT in table.header else f"{table.path} has no column {CONSENT}, so consent was not checked"


def check_photos(
    photos: Mapping[str, Path],
    fingerprints: Fingerprints,
    *,
    max_source_pixels: int,
    num_workers: int,
    progress: Callable[[int, int], object],
) -> dict[str, PhotoFacts]:
    """Hash every photo, and decode those whose bytes were not decoded before.

    Raises:
        UserError: Files cannot be read at all (permissions, HEIC without its reader); all of them are listed.
    """

    def inspect(path: Path) -> PhotoFacts | UserError:
        try:
            return fingerprints.photo(path, max_source_pixels=max_source_pixels)
        except UserError as error:
            return error

    facts: dict[str, PhotoFacts] = {}
    unreadable = []
    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        for done, (image, found) in enumerate(zip(photos, pool.map(inspect, photos.values()), strict=True), start=1):
            progress(done, len(photos))
            if isinstance(found, UserError):
                unreadable.append(str(found))
            else:
                facts[image] = found
    if unreadable:
        raise UserError("\n  ".join([f"{len(unreadable)} of {len(photos)} photos cannot be read:", *unreadable]))
    return facts
